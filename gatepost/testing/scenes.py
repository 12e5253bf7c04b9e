"""A scene: the users of the tests and the rows that the examples of a feature create, on an empty database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from flask import Flask, Response, request, request_finished
from flask.testing import FlaskClient
from sqlalchemy import Table, func, select
from werkzeug.test import TestResponse

from app.api.endpoint import SAFE_METHODS
from app.auth.sessions import Client, open_session
from app.auth.tokens import make_access_token
from app.components import components_of
from app.database import db, transaction
from app.features import Call
from app.maintenance import service as maintenance
from gatepost.testing.applications import empty
from gatepost.testing.cast import PASSWORD, Person, join
from gatepost.testing.openapi_document import Document
from gatepost.testing.subjects import Subject, prefix_of

# An id that no row has.
MISSING_ID = 2**63 - 1
HEADERS = ("ETag", "Location")
_NAME = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_UNSET: Any = object()
_DOCUMENTS: WeakKeyDictionary[Flask, Document] = WeakKeyDictionary()


class Scene:
    """Sends calls of a feature's examples, and reads what they have changed."""

    def __init__(self, app: Flask, subject: Subject) -> None:
        self.app, self.subject = app, subject
        self.client = app.test_client()
        request_finished.connect(self._note, app)
        self._operations = {operation.name: operation for operation in subject.operations}
        self.begin()

    def begin(self) -> None:
        """Create the users and the rows again, on a database that is empty."""
        self.people = {
            "alice": join(self.app, "Alice"),
            "bob": join(self.app, "Bob"),
            "carol": join(self.app, "Carol", "admin"),
        }
        # A second device, so that the list of sessions has two rows.
        with self.app.app_context(), transaction():
            open_session(self.alice.id, Client("127.0.0.1", "pytest"))
        self.names: dict[str, Any] = {name: person.id for name, person in self.people.items()}
        self.names["missing"] = MISSING_ID
        self.names["session"], self.names["refresh"] = self.alice.session_id, self.alice.refresh_token
        self.names["password"] = PASSWORD
        for call in self.subject.examples.setup:
            response = self.send(call)
            assert response.status_code == call.status, f"The setup fails at {call}: {explain(response)}"
            self.save(call, response)
        self.is_changed = False

    def _note(self, app: Flask, response: Response, **extra: Any) -> None:
        """Note that a request may have changed rows."""
        if request.method not in SAFE_METHODS and not 400 <= response.status_code < 500:
            self.is_changed = True

    def restart(self) -> None:
        """Empty the database and begin again."""
        self.clear()
        self.client = self.app.test_client()
        self.begin()

    def clear(self) -> None:
        """Empty the database, and end the maintenance mode."""
        with self.app.app_context():
            db.session.remove()
            empty(db.engine)
        maintenance.init_app(self.app, components_of(self.app).settings)

    @property
    def alice(self) -> Person:
        """The owner of the rows."""
        return self.people["alice"]

    def refreshed_headers(self) -> dict[str, str]:
        """Return the credentials of Alice after a refresh, which are those of no login."""
        with self.app.app_context():
            return {"Authorization": f"Bearer {make_access_token(self.alice.grant, fresh=False)}"}

    def path(self, call: Call) -> str:
        """Return the path of a call with its query."""
        operation = self._operations.get(call.operation)
        prefix = prefix_of(operation) if operation else "/api/v1"
        return f"{prefix}{self.fill(call.request.partition(' ')[2], call, quote_names=True)}"

    def send(self, call: Call, *, method: str = "", path: str = "", body: Any = _UNSET, **options: Any) -> TestResponse:
        """Send a call as its user, with another method, path or body, or further headers. `body` may be bytes."""
        headers = {name: str(self.fill(value, call)) for name, value in call.headers.items()} | options.pop(
            "headers", {}
        )
        if call.by:
            headers = self.people[call.by].headers | headers
        body = self.fill(call.body, call) if body is _UNSET else body
        if isinstance(body, bytes):
            options |= {"data": body, "content_type": "application/json"}
        elif body is not None:
            options["json"] = body
        method = method or call.request.partition(" ")[0]
        client: FlaskClient = options.pop("client", self.client)
        return client.open(path or self.path(call), method=method, headers=headers, **options)

    def body(self, call: Call) -> Any:
        """Return the body of a call."""
        return self.fill(call.body, call)

    def save(self, call: Call, response: TestResponse) -> None:
        """Save what the call saves."""
        for name, member in call.saves.items():
            value: Any = response.headers.get(member) if member in HEADERS else response.get_json()
            for part in member.split(".") if member not in HEADERS else ():
                value = value[int(part)] if isinstance(value, list) else value.get(part)
            assert value is not None, f"{call} saves {name}, but its response has no {member}: {explain(response)}"
            self.names[name] = value

    def fill(self, value: Any, call: Call, *, quote_names: bool = False) -> Any:
        """Return a value with the saved values in place of their names."""

        def saved(match: re.Match[str]) -> Any:
            assert match[1] in self.names, f"{call} uses {match[0]}, which no earlier call saves"
            found = self.names[match[1]]
            return quote(str(found), safe="") if quote_names else found

        if isinstance(value, str):
            whole = _NAME.fullmatch(value)
            return saved(whole) if whole else _NAME.sub(lambda match: str(saved(match)), value)
        if isinstance(value, Mapping):
            return {name: self.fill(item, call) for name, item in value.items()}
        return [self.fill(item, call) for item in value] if isinstance(value, list | tuple) else value

    def rows(self, *tables: Table) -> dict[str, list[dict[str, Any]]]:
        """Return all rows of these tables, by default of those of the feature."""
        with self.app.app_context(), db.engine.connect() as connection:
            return {
                table.name: [
                    dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
                ]
                for table in tables or self.subject.tables
            }

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table of the feature."""
        with self.app.app_context(), db.engine.connect() as connection:
            return {
                table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in self.subject.tables
            }

    @property
    def document(self) -> Document:
        """The OpenAPI document of the application."""
        if self.app not in _DOCUMENTS:
            response = self.client.get("/openapi.json")
            assert response.status_code == 200, f"/openapi.json is not generated: {explain(response)}"
            _DOCUMENTS[self.app] = Document(response.get_json())
        return _DOCUMENTS[self.app]


class Scenes:
    """Makes scenes, and gives the same one to the next test of a feature as long as no request has changed its rows."""

    def __init__(self) -> None:
        self._last: dict[Flask, Scene] = {}

    def get(self, app: Flask, subject: Subject) -> Scene:
        """Return the scene of a feature."""
        last = self._last.get(app)
        if last is None or last.is_changed or last.subject is not subject:
            self.close(app)
            last = self._last[app] = Scene(app, subject)
        last.client = app.test_client()
        return last

    def close(self, app: Flask) -> None:
        """Empty the database of an application, if there is a scene on it."""
        if app in self._last:
            self._last.pop(app).clear()


def explain(response: TestResponse) -> str:
    """Return a response in short."""
    media_type = response.mimetype or ""
    text = response.text[:500] if media_type.endswith("json") else media_type
    return f"{response.request.method} {response.request.path[:200]} answers {response.status_code} {text}"
