"""Tokens of a database that was wiped, or replaced by an older backup, while the signing key stayed the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert, select, text

from app.auth.cookies import make_csrf_token
from app.auth.models import Session
from app.components import components_of
from app.database import Base, db
from tests.auth.support import bearer, get_me, refresh, session_row
from tests.conftest import API, Cast, Person, empty, problem

REVOKED, INVALID = (401, "token_revoked"), (401, "token_invalid")
Restore = Callable[[], None]
# Requests with an access token.
ACCESSES = [
    *(("GET", "/auth/me"), ("GET", "/auth/sessions"), ("GET", "/audit"), ("GET", "/posts?status=draft")),
    *(("DELETE", "/auth/sessions?include_current=true"), ("DELETE", "/users/{id}"), ("POST", "/auth/logout")),
]


def wipe(app: Flask) -> None:
    """Delete every row; ids begin at 1 again."""
    with app.app_context():
        db.session.remove()
        empty(db.engine)


@pytest.fixture
def back_up(app: Flask) -> Callable[[], Restore]:
    """Return a function that copies all rows and returns another one, which restores them."""

    def copy() -> Restore:
        with app.app_context(), db.engine.connect() as connection:
            rows = {
                table: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in Base.metadata.sorted_tables
                # Features that are switched off have no tables.
                if table.name in components_of(app).tables
            }
        return lambda: restore(app, rows)

    return copy


def restore(app: Flask, rows: dict[Any, list[dict[str, Any]]]) -> None:
    """Replace all rows, and let ids continue after the greatest one."""
    wipe(app)
    with app.app_context(), db.engine.begin() as connection:
        for table, values in rows.items():
            if values:
                connection.execute(insert(table), values)
            if values and connection.dialect.name == "postgresql" and table.name in ("users", "sessions"):
                sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                connection.execute(text(f"SELECT setval({sequence}, (SELECT max(id) FROM {table.name}))"))


def refuse_every_token(app: Flask, client: FlaskClient, former: Person, present: Person) -> None:
    """Check that no token of `former` is accepted for the session of `present`, which has the same ids."""
    assert (former.id, former.session_id) == (present.id, present.session_id)
    before = session_row(app, present.session_id)
    for method, path in ACCESSES:
        response = client.open(API + path.format(id=present.id), method=method, headers=former.headers)
        assert problem(response) == REVOKED, path
    assert problem(refresh(client, former.refresh_token)) == REVOKED
    assert problem(client.post(f"{API}/auth/logout", headers=bearer(former.refresh_token))) == REVOKED
    with app.app_context():
        csrf = make_csrf_token(former.grant)
    # The cookie of the present session, with the CSRF token that another site may have learned from the former one.
    headers = {"Cookie": f"gatepost_refresh={present.refresh_token}", "X-CSRF-TOKEN": csrf}
    for path in ("/auth/refresh", "/auth/logout"):
        assert problem(app.test_client(use_cookies=False).post(API + path, headers=headers)) == INVALID
    assert session_row(app, present.session_id) == before
    assert get_me(client, present.access_token).status_code == 200


def test_no_token_of_a_wiped_database_is_accepted(app: Flask, client: FlaskClient, join: Cast) -> None:
    alice = join("Alice")
    wipe(app)
    carol = join("Carol", role="admin")
    refuse_every_token(app, client, alice, carol)
    assert refresh(client, carol.refresh_token).status_code == 200


def test_a_token_issued_after_the_backup_fits_no_other_session(
    app: Flask, client: FlaskClient, join: Cast, back_up: Callable[[], Restore]
) -> None:
    alice = join("Alice")
    restore_backup = back_up()
    bob = join("Bob")
    restore_backup()
    carol = join("Carol", role="admin")
    refuse_every_token(app, client, bob, carol)
    # Alice's session is in the backup.
    assert get_me(client, alice.access_token).status_code == 200
    assert refresh(client, alice.refresh_token).status_code == 200


def test_rotations_lost_with_the_newest_rows_revoke_nothing(
    app: Flask, client: FlaskClient, join: Cast, back_up: Callable[[], Restore]
) -> None:
    alice = join("Alice")
    restore_backup = back_up()
    newest = alice.refresh_token
    for _ in range(3):
        newest = refresh(client, newest).get_json()["refresh_token"]
    restore_backup()
    for _ in range(2):
        assert problem(refresh(client, newest)) == REVOKED
    assert session_row(app, alice.session_id).revoked_at is None
    assert alice.get("/auth/me").status_code == 200


def test_two_sessions_never_have_one_nonce(app: Flask, join: Cast) -> None:
    for name in ("Alice", "Bob", "Carol", "Dave"):
        join(name)
    with app.app_context():
        nonces = db.session.scalars(select(Session.nonce)).all()
        db.session.remove()
    assert len(set(nonces)) == 4
    assert {len(nonce) for nonce in nonces} == {16}
