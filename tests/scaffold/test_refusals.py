"""What the scaffold refuses, each with a message and without a file."""

from __future__ import annotations

import keyword
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from app import create_app
from gatepost.scaffold import files
from gatepost.scaffold.names import ScaffoldError, singular_of
from tests.conftest import settings_for


@pytest.fixture(scope="module")
def plain_app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An application whose database is never opened."""
    return create_app(settings_for(f"sqlite:///{tmp_path_factory.mktemp('none') / 'none.db'}"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scaffold(app: Flask, *arguments: str) -> Result:
    """Run the command."""
    return app.test_cli_runner().invoke(args=["scaffold", *arguments])


def paths(folder: Path) -> list[str]:
    """Return the paths of everything in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


NAMES = ("Trips", "2trips", "field-trips", "trips_", "_trips", "tríps", "", "t" * 25, "../trips", "a.b", "trips\n")
MEANT_OTHERWISE = ("service", "views", "tests", "list", "print", "select", "user", "app", "class", "import", "lambda")
TAKEN = (
    "posts",
    "users",
    "auth",
    "audit",
    "maintenance",
    "sessions",
    "idempotency_keys",
    "authors",
    "problems",
    "pages",
)


@pytest.mark.parametrize("name", [*NAMES, *MEANT_OTHERWISE, *TAKEN])
def test_a_name_of_something_else_is_refused(plain_app: Flask, folder: Path, name: str) -> None:
    refused = scaffold(plain_app, name, "title:text")
    assert refused.exit_code == 1, refused.output
    assert refused.output.startswith("Error: ")
    assert paths(folder) == []


FIELDS = {
    "no field": (),
    "only a list": ("stops[]:name",),
    "a column of every table": ("id:integer",),
    "the owner": ("user_id:integer",),
    "a time": ("created_at:datetime",),
    "an attribute of models": ("metadata",),
    "an attribute of schemas": ("fields",),
    "a method of schemas": ("load",),
    "a name of the module": ("dt:date",),
    "the key of a part": ("name", "trip_id:integer"),
    "the key in a part": ("name", "stops[]:trip_id:integer"),
    "the position of a part": ("name", "stops[]:position:integer"),
    "upper case": ("Name:text",),
    "a long name": ("n" * 25,),
    "no name": (":text",),
    "no such type": ("name:float",),
    "a type in upper case": ("name:Text",),
    "two marks": ("name:text??",),
    "a mark before the type": ("name?:text",),
    "no choices": ("state:choice",),
    "an empty choice": ("state:choice=open/",),
    "a choice twice": ("state:choice=open/open",),
    "a choice with quotes": ("state:choice=it's/open",),
    "choices of a text": ("state:text=open/closed",),
    "a name twice": ("name", "name:integer"),
    "a list and a field": ("stops", "stops[]:name"),
    "a name twice in a part": ("name", "stops[]:name,name"),
    "an empty list": ("name", "stops[]:"),
    "a list in a list": ("name", "stops[]:people[]:name"),
    "a list without name": ("name", "[]:name"),
    "an optional list": ("name", "stops[]?:name"),
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_fields_that_are_not_possible_are_refused(plain_app: Flask, folder: Path, fields: tuple[str, ...]) -> None:
    refused = scaffold(plain_app, "trips", *fields, "--owned")
    assert refused.exit_code == 1, refused.output
    assert paths(folder) == []


def test_names_that_are_too_long_together_are_refused(plain_app: Flask, folder: Path) -> None:
    refused = scaffold(plain_app, "t" * 24, "name", "s" * 24 + "[]:name")
    assert refused.exit_code == 1
    assert "more than 63 bytes" in refused.output
    assert paths(folder) == []


@pytest.mark.parametrize("word", keyword.kwlist)
def test_keywords_are_refused_everywhere(plain_app: Flask, folder: Path, word: str) -> None:
    for arguments in (
        (word, "name"),
        ("trips", word),
        ("trips", "name", f"stops[]:{word}"),
        ("trips", "name", "--into", f"shop.{word}"),
    ):
        assert scaffold(plain_app, *arguments).exit_code == 1
    assert paths(folder) == []


@pytest.mark.parametrize(
    "package", ["app", "app.trips", "gatepost", "tests", "json", "my-shop", "shop..x", ".", "/tmp", ""]
)
def test_a_package_that_is_none_or_not_the_projects_is_refused(plain_app: Flask, folder: Path, package: str) -> None:
    assert scaffold(plain_app, "trips", "name", "--into", package).exit_code == 1
    assert paths(folder) == []


def test_an_existing_folder_stays_as_it_is(plain_app: Flask, folder: Path) -> None:
    (folder / "features" / "trips").mkdir(parents=True)
    refused = scaffold(plain_app, "trips", "name")
    assert (refused.exit_code, refused.output) == (1, "Error: features/trips exists already.\n")
    assert paths(folder) == ["features", "features/trips"]


def test_a_file_in_the_place_of_the_package_is_refused(plain_app: Flask, folder: Path) -> None:
    (folder / "features").write_text("")
    refused = scaffold(plain_app, "trips", "name")
    assert refused.exit_code == 1
    assert "cannot be created" in refused.output
    assert paths(folder) == ["features"]


def test_a_failure_leaves_nothing(plain_app: Flask, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise ScaffoldError("Ruff has crashed.")

    monkeypatch.setattr(files, "_format", fail)
    for into in ("features", "shop.parts"):
        refused = scaffold(plain_app, "trips", "name", "--into", into)
        assert (refused.exit_code, refused.output) == (1, "Error: Ruff has crashed.\n")
    assert paths(folder) == []


def test_the_message_names_the_next_commands(plain_app: Flask, folder: Path) -> None:
    done = scaffold(plain_app, "trips", "name", "destination:text?", "--into", "shop.parts")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "Wrote the feature trips; one row is called trip:"
    written = [line.strip() for line in lines[1 : lines.index("Next:")]]
    parents = ["shop/__init__.py", "shop/parts/__init__.py"]
    assert sorted([*written, *parents]) == [path for path in paths(folder) if (folder / path).is_file()]
    assert lines[lines.index("Next:") + 1 :] == [
        "  echo FEATURES=shop.parts.trips >> .env",
        "  flask --app run db upgrade",
        "  pytest shop/parts/trips --feature shop.parts.trips",
    ]


@pytest.mark.parametrize("name", ["", "..", "a b", "-x", "sh'op", "é"])
def test_bad_names_of_projects_are_refused(plain_app: Flask, folder: Path, name: str) -> None:
    assert scaffold(plain_app, f"--project={name}").exit_code != 0
    assert paths(folder) == []


def test_a_project_needs_a_new_folder_and_an_existing_source(plain_app: Flask, folder: Path) -> None:
    (folder / "shop").mkdir()
    assert scaffold(plain_app, "--project", "shop").output == "Error: shop exists already.\n"
    assert scaffold(plain_app, "--project", "other", "--gatepost", "nowhere").exit_code == 1
    assert scaffold(plain_app, "--project", "no/other").exit_code == 1
    assert scaffold(plain_app, "trips", "--project", "other").exit_code == 2
    assert scaffold(plain_app).exit_code == 2
    assert paths(folder) == ["shop"]


def test_the_code_is_formatted_by_the_templates_alone_where_ruff_is_missing(
    plain_app: Flask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    assert scaffold(plain_app, "trips", "name", "--owned").exit_code == 0
    for path in folder.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    shutil.rmtree(folder / "features")


SINGULARS = {
    "trips": "trip",
    "categories": "category",
    "addresses": "address",
    "boxes": "box",
    "courses": "course",
    "houses": "house",
    "order_lines": "order_line",
    "team_people": "team_person",
    "movies": "movie",
    "statuses": "status",
    "status": "status",
    "news": "news",
    "equipment": "equipment",
    "ties": "tie",
}


@pytest.mark.parametrize(("plural", "expected"), SINGULARS.items())
def test_singulars(plural: str, expected: str) -> None:
    assert singular_of(plural) == expected
