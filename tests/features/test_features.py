"""Features from outside of the core: loading, settings, services, migration lines, and switching off."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import inspect, text

from app import create_app
from app.components import components_of, feature_settings, service
from app.database import db
from app.database.migrations import upgrade_all
from app.settings import ConfigurationError, load_settings
from tests.conftest import API, NewDatabase, Person, problem, settings_for
from tests.features.notes import feature
from tests.features.notes.settings import NoteSettings, Spelling

NOTES = "tests.features.notes"
SECRET = "a-note-key-for-the-tests-0123456789-abcdef"
NewApp = Callable[..., AbstractContextManager[Flask]]


@pytest.fixture
def new_app(monkeypatch: pytest.MonkeyPatch) -> NewApp:
    """Return a function that makes an application with these FEATURES, and other options of create_app()."""

    @contextmanager
    def make(url: str, features: str = NOTES, **options: Any) -> Iterator[Flask]:
        monkeypatch.setenv("FEATURES", features)
        monkeypatch.setenv("NOTES_KEY", SECRET)
        app = create_app(settings_for(url), **options)
        with app.app_context():
            yield app
            db.session.remove()
            db.engine.dispose()
            components_of(app).probe_engine.dispose()

    return make


def run(app: Flask, *arguments: str) -> Result:
    """Run a command of `flask`."""
    return app.test_cli_runner().invoke(args=arguments)


def tables() -> set[str]:
    """Return the tables of the database of the current application."""
    return set(inspect(db.engine).get_table_names())


def readiness(app: Flask) -> tuple[int, str]:
    """Return the status of the readiness check, and the state of the migrations."""
    response = app.test_client().get("/health/ready")
    return response.status_code, response.get_json()["migrations"]


def sign_up(app: Flask) -> Person:
    """Register Alice."""
    body = {"email": "alice@example.com", "name": "Alice", "password": "correct horse battery"}
    answer = app.test_client().post(f"{API}/auth/register", json=body).get_json()
    tokens = answer["access_token"], answer["refresh_token"]
    return Person(answer["user"]["id"], "Alice", body["email"], None, *tokens, app.test_client())  # type: ignore[arg-type]


def test_a_feature_has_routes_exports_problems_commands_and_a_part_of_the_document(
    new_app: NewApp, new_database: NewDatabase
) -> None:
    with new_app(new_database()) as app:
        upgrade_all()
        alice = sign_up(app)
        for text_ in ("teh first", "second", "third"):
            assert alice.post("/notes", json={"text": text_}).status_code == 201
        assert problem(alice.post("/notes", json={"text": "fourth"})) == (409, "too_many_notes")
        notes = alice.get(f"/users/{alice.id}/export").get_json()["notes"]
        assert [note["text"] for note in notes] == ["the first", "second", "third"]
        document = app.test_client().get("/openapi.json").get_json()
        assert "too_many_notes" in document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
        assert f"{API}/notes" in document["paths"]
        assert app.test_client().get("/problems/too-many-notes").status_code == 200
        assert "too-many-notes" in app.test_client().get("/problems", headers={"Accept": "text/html"}).text
        assert run(app, "notes", "count").output == "3\n"
        assert alice.delete(f"/users/{alice.id}").status_code == 204
        assert db.session.scalar(text("SELECT count(*) FROM notes")) == 0


def test_without_the_feature_only_its_data_are_left(new_app: NewApp, new_database: NewDatabase) -> None:
    url = new_database()
    with new_app(url) as app:
        upgrade_all()
        assert sign_up(app).post("/notes", json={"text": "kept"}).status_code == 201
    with new_app(url, features="") as app:
        assert readiness(app) == (200, "ok")
        client = app.test_client()
        assert problem(client.post(f"{API}/notes", json={"text": "x"})) == (404, "not_found")
        assert problem(client.get("/problems/too-many-notes")) == (404, "not_found")
        assert "too_many_notes" not in client.get("/openapi.json").text
        assert run(app, "notes", "count").exit_code == 2
        assert run(app, "db", "upgrade").exit_code == 0
        assert run(app, "db", "check").exit_code == 0
        assert db.session.scalar(text("SELECT text FROM notes")) == "kept"


def test_a_wrong_name_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURES", f"shop.orders, {NOTES}, not a name, json, tests.features.twin")
    monkeypatch.setenv("NOTES_MAXIMUM", "0")
    monkeypatch.setenv("WEB_THREADS", "many")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    [mistakes] = refused.value.problems["FEATURES"]
    assert mistakes.split(". ") == [
        "There is no Python package shop.orders",
        "not a name is not the name of a Python package, such as shop.orders",
        "The package json has no Feature with the name `feature`",
        f"{NOTES} and tests.features.twin are both named notes.",
    ]
    assert "WEB_THREADS" in refused.value.problems
    monkeypatch.setenv("FEATURES", NOTES)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.problems["NOTES_MAXIMUM"] == ["Must be a whole number from 1 to 1000."]


def test_an_error_inside_a_feature_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_done.py").write_text("import a_module_that_is_missing\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FEATURES", "half_done")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        load_settings()


def test_a_feature_has_settings_of_its_own(new_app: NewApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_MAXIMUM", "7")
    with new_app("sqlite:////nowhere/gatepost.db") as app:
        assert feature_settings(NoteSettings) == NoteSettings(maximum=7, key=SECRET)
        assert SECRET not in repr(feature_settings(NoteSettings))
        shown = run(app, "config", "check").output
    assert "NOTES_MAXIMUM=7\n" in shown
    assert "NOTES_KEY=********\n" in shown
    with new_app("sqlite:////nowhere/gatepost.db", features=""), pytest.raises(LookupError):
        feature_settings(NoteSettings)


def test_a_service_can_be_replaced(new_app: NewApp) -> None:
    class Shouting(Spelling):
        def correct(self, text: str) -> str:
            return text.upper()

    with new_app("sqlite:////nowhere/gatepost.db", services={Spelling: Shouting()}):
        assert service(Spelling).correct("teh") == "TEH"
    with new_app("sqlite:////nowhere/gatepost.db"):
        assert service(Spelling).correct("teh") == "the"
    with new_app("sqlite:////nowhere/gatepost.db", features=""), pytest.raises(LookupError, match="Spelling"):
        service(Spelling)


def test_each_feature_has_a_line_of_migrations(new_app: NewApp, new_database: NewDatabase) -> None:
    url = new_database()
    with new_app(url, features="") as app:
        assert run(app, "db", "upgrade").exit_code == 0
        assert "notes" not in tables()
    with new_app(url) as app:
        assert readiness(app) == (503, "pending")
        assert run(app, "db", "upgrade").exit_code == 0
        assert readiness(app) == (200, "ok")
        assert {"notes", "alembic_version_notes"} <= tables()
        assert run(app, "db", "check").exit_code == 0
        assert run(app, "db", "check", "--feature", "notes").exit_code == 0
        assert db.session.scalar(text("SELECT version_num FROM alembic_version_notes")) == "0001"
        db.session.remove()
        assert run(app, "db", "downgrade", "--feature", "notes").exit_code == 0
        assert "notes" not in tables()
        assert "users" in tables()
        assert readiness(app) == (503, "pending")
        unknown = run(app, "db", "upgrade", "--feature", "trips")
        assert unknown.exit_code == 2
        assert "Switched on are: notes." in unknown.output


def test_a_line_that_is_ahead_is_ready(new_app: NewApp, new_database: NewDatabase) -> None:
    with new_app(new_database()) as app:
        upgrade_all()
        with db.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version_notes SET version_num = '0099'"))
        assert readiness(app) == (200, "ahead")
        upgraded = run(app, "db", "upgrade")
        assert (upgraded.exit_code, "ahead of this code of the feature notes" in upgraded.output) == (0, True)
        with db.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        assert readiness(app) == (503, "pending")


def test_dropping_a_feature_deletes_its_tables_only(new_app: NewApp, new_database: NewDatabase) -> None:
    url = new_database()
    with new_app(url) as app:
        upgrade_all()
        assert sign_up(app).post("/notes", json={"text": "gone soon"}).status_code == 201
        listed = run(app, "features", "list").output.splitlines()
        assert listed[-1].split() == ["notes", "notes", "ok"]
    with new_app(url, features="") as app:
        assert "notes" not in run(app, "features", "list").output
        refused = run(app, "features", "drop", NOTES)
        assert (refused.exit_code, "notes (1 row)" in refused.output) == (1, True)
        assert "notes" in tables()
        assert run(app, "features", "drop", "trips", "--yes").exit_code == 1
        assert run(app, "features", "drop", "posts", "--yes").exit_code == 1
        assert run(app, "features", "drop", NOTES, "--yes").output == "Deleted notes (1 row).\n"
        again = run(app, "features", "drop", NOTES, "--yes")
        assert (again.exit_code, "has no tables in this database" in again.output) == (1, True)
        assert not {"notes", "alembic_version_notes"} & tables()
        assert db.session.scalar(text("SELECT count(*) FROM users")) == 1


PACKAGE = """
from pathlib import Path
from flask import Blueprint
from app.features import Feature
{code}
"""
API_OF = (
    "from app.api.access import ANYONE\nfrom app.api.responses import no_content\nfrom app.api.routing import Api\n"
)
ROUTE = (
    API_OF
    + """
api = Api("own", __name__)
@api.operation("DELETE", "/posts/<id:number>", access=ANYONE, answer=no_content())
def delete_it(number: int) -> None:
    "Delete it."
feature = Feature(name="own", api=(api,))
"""
)
SETTINGS = """
from dataclasses import dataclass
from app.settings.metadata import setting
@dataclass(frozen=True)
class Own:
    url: str = setting("Own", str, "", help="A URL.")
feature = Feature(name="database", settings=Own)
"""
TABLE = """
from sqlalchemy.orm import Mapped, mapped_column
from app.database import Base
class Own(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
feature = Feature(name="own", tables=(Own,))
"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('feature = Feature(name="posts")', "The features posts and posts have the same name: posts."),
        ('feature = Feature(name="own", exports={"posts": list})', "have the same member of the export: posts."),
        ('feature = Feature(name="own", api=(Blueprint("users", __name__),))', "have the same blueprint: users."),
        (ROUTE, "posts.delete_post and own.delete_it have the same route: DELETE /api/v1/posts/<id:number>."),
        (SETTINGS, "The feature database declares this setting, which the core has too."),
        (TABLE, "Table 'posts' is already defined"),
        (f'feature = Feature(name="{"x" * 41}")', "at most 40"),
    ],
    ids=["name", "export", "blueprint", "route", "setting", "table", "length"],
)
def test_what_conflicts_with_another_feature_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, text: str
) -> None:
    name = f"conflicting_{secrets.token_hex(4)}"
    (tmp_path / f"{name}.py").write_text(PACKAGE.format(code=code), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FEATURES", name)
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        create_app(settings_for("sqlite:////nowhere/gatepost.db"))


def test_a_feature_without_its_revisions_is_not_ready(
    new_app: NewApp, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "tests.features.notes.feature", replace(feature, migrations=tmp_path / "forgotten"), raising=True
    )
    with new_app(new_database()) as app:
        upgraded = run(app, "db", "upgrade")
        assert upgraded.exit_code == 1
        assert "users" in tables()
        assert readiness(app) == (503, "pending")


def test_tables_that_another_line_uses_are_not_dropped(new_app: NewApp, new_database: NewDatabase) -> None:
    with new_app(new_database()) as app:
        upgrade_all()
        assert sign_up(app).post("/notes", json={"text": "stays"}).status_code == 201
        refused = run(app, "db", "downgrade", "base")
        assert refused.exit_code == 1
        assert {"users", "notes"} <= tables()
        assert db.session.scalar(text("SELECT count(*) FROM users")) == 1
        db.session.remove()
        assert run(app, "db", "downgrade", "base", "--feature", "notes").exit_code == 0
        assert run(app, "db", "downgrade", "base").exit_code == 0
        assert "users" not in tables()


def test_a_message_with_quotes_is_a_valid_revision(
    new_app: NewApp, new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(str(feature.migrations)), tmp_path / "migrations")
    monkeypatch.setattr("tests.features.notes.feature", replace(feature, migrations=tmp_path / "migrations"))
    with new_app(new_database()) as app:
        upgrade_all()
        message = 'Say """ and \\'
        assert run(app, "db", "revision", "--feature", "notes", "-m", message, "--rev-id", "0002").exit_code == 0
        [written] = (tmp_path / "migrations").glob("0002*.py")
        compile(written.read_text(encoding="utf-8"), written, "exec")
