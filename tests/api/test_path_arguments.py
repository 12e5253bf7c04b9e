"""Text in paths, such as the slug of a feature's rows: it reaches the database only if a row can have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import bindparam, select

from app import create_app
from app.api.access import ANYONE, SIGNED_IN
from app.api.endpoint import MAX_ARGUMENT_LENGTH
from app.api.errors import NotFound
from app.api.responses import no_content
from app.api.routing import Api
from app.components import components_of
from app.database import db, fetch_one, precompiled
from app.users.models import User
from tests.conftest import Person, problem

NAMED = precompiled(select(User.id).where(User.name == bindparam("name")))
IMPOSSIBLE = {
    "NUL": "a%00b",
    "escape": "a%1Bb",
    "C1 control": "a%C2%85b",
    "too long": "a" * (MAX_ARGUMENT_LENGTH + 1),
}


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    """A client of an application with routes that find a user by the name in the path."""
    other = create_app(components_of(app).settings)
    api = Api("named", __name__)

    @api.operation("GET", "/named/<name>", access=ANYONE, answer=no_content(), problems=(NotFound,))
    def get_named(name: str) -> None:
        if fetch_one(NAMED, name=name) is None:
            raise NotFound

    @api.operation("GET", "/deep/<path:name>", access=SIGNED_IN, answer=no_content(), problems=(NotFound,))
    def get_deep(caller: object, name: str) -> None:
        get_named(name)

    other.register_blueprint(api)
    yield other.test_client()
    with other.app_context():
        db.engine.dispose()


def test_a_text_in_the_path_is_found(client: FlaskClient, alice: Person) -> None:
    assert client.get("/named/Alice").status_code == 204
    assert client.get("/deep/Alice", headers=alice.headers).status_code == 204


@pytest.mark.parametrize("text", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_text_that_no_row_can_have_is_not_found(client: FlaskClient, alice: Person, text: str) -> None:
    assert problem(client.get(f"/named/{text}")) == (404, "not_found")
    assert problem(client.get(f"/deep/x/{text}", headers=alice.headers)) == (404, "not_found")
    assert problem(client.get(f"/deep/x/{text}")) == (401, "authentication_required")


@pytest.mark.parametrize("text", ["a%0Ab", "%ED%A0%80", "%FF", "a" * MAX_ARGUMENT_LENGTH, "%F0%9F%98%80", "%27%3B--"])
def test_unusual_texts_are_only_unknown(client: FlaskClient, text: str) -> None:
    """Werkzeug replaces what is not UTF-8, lone surrogates included, by U+FFFD."""
    assert problem(client.get(f"/named/{text}")) == (404, "not_found")
