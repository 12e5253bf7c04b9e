"""Statements that go straight through the driver, beside SQLAlchemy's own way."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import bindparam, insert, literal, literal_column, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from app.components import components_of
from app.database import db, fetch_all, fetch_one, transaction, write, write_one
from app.database.executor import Executor, precompiled
from app.posts.models import Post
from app.users.models import User
from tests.conftest import Person

SET_BIO = update(User).where(User.id == bindparam("which")).values(bio=bindparam("new_bio"))
BIO = precompiled(SET_BIO)
BIO_RETURNED = precompiled(SET_BIO.returning(User.id, User.bio))
USERS = select(User.id, User.created_at, User.email_verified, User.role, User.bio.label("about")).order_by(User.id)
ONE = precompiled(USERS.where(User.id == bindparam("user_id"), User.role == "user"))


@pytest.fixture
def reader(app: Flask) -> Iterator[Executor]:
    with app.app_context():
        yield components_of(app).executor
        db.session.remove()


def ask_sqlalchemy(app: Flask, statement: Any, **parameters: Any) -> list[Any]:
    """The rows by SQLAlchemy's own way."""
    with components_of(app).autocommit_engine.connect() as connection:
        return list(connection.execute(statement, parameters).all())


def test_rows_are_those_of_sqlalchemy(app: Flask, reader: Executor, alice: Person, bob: Person) -> None:
    everyone = precompiled(USERS)
    theirs = ask_sqlalchemy(app, USERS)
    ours = reader.all(everyone, {})
    assert len(ours) >= 2
    assert [tuple(row) for row in ours] == [tuple(row) for row in theirs]
    assert [dict(row._mapping) for row in ours] == [dict(row._mapping) for row in theirs]
    assert ours[0].created_at.tzinfo is not None
    assert (ours[0].about, type(ours[0].email_verified)) == ("", bool)


def test_values_of_the_statement_and_of_the_call_are_sent(reader: Executor, alice: Person, carol: Person) -> None:
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.id == alice.id
    assert fetch_one(ONE, user_id=carol.id) is None  # an administrator
    assert [row.id for row in fetch_all(ONE, user_id=alice.id)] == [alice.id]


def test_a_value_that_is_forgotten_is_no_null(reader: Executor, alice: Person) -> None:
    with pytest.raises(KeyError, match="user_id"):
        reader.first(ONE, {})
    assert reader.first(ONE, {"user_id": alice.id}) is not None


def test_percent_signs_and_quotes_are_values_like_others(reader: Executor) -> None:
    echo = precompiled(
        select(literal("100 %s '").label("fixed"), bindparam("sent", type_=Post.title.type).label("sent"))
    )
    assert tuple(reader.first(echo, {"sent": "%(x)s ' -- ?"})) == ("100 %s '", "%(x)s ' -- ?")


def test_in_a_transaction_what_it_wrote_is_read(app: Flask, alice: Person) -> None:
    with app.app_context(), transaction():
        db.session.execute(text("UPDATE users SET bio = 'new' WHERE id = :id"), {"id": alice.id})
        row: Any = fetch_one(ONE, user_id=alice.id)
        assert row.about == "new"
        db.session.rollback()
        row = fetch_one(ONE, user_id=alice.id)
        assert row.about == ""


def test_a_refused_write_has_sqlalchemys_exception(reader: Executor, alice: Person) -> None:
    again = precompiled(
        insert(User)
        .values({column: bindparam(f"new_{column.key}") for column in User.__table__.columns if column.key != "id"})
        .returning(User.id)
    )
    with transaction():
        found = db.session.execute(select(User.__table__).where(User.id == alice.id)).one()._mapping
    with pytest.raises(IntegrityError) as refusal:
        write_one(again, **{f"new_{name}": value for name, value in found.items() if name != "id"})
    assert found["password_hash"] not in str(refusal.value)
    assert refusal.value.hide_parameters
    assert fetch_one(ONE, user_id=alice.id) is not None


def test_a_statement_that_fails_leaves_the_connection_usable(reader: Executor, alice: Person) -> None:
    broken: Any = precompiled(select(literal_column("nothing_of_this_name").label("found")))
    for _ in range(20):
        with pytest.raises((ProgrammingError, OperationalError)) as error:
            reader.first(broken, {})
        assert not error.value.connection_invalidated
    assert reader.first(ONE, {"user_id": alice.id}) is not None


class Dying:
    """A reader whose connections break at the first statements."""

    def __init__(self, reader: Executor, times: int) -> None:
        self.reader, self.left, self.seen = reader, times, 0
        self.dead: list[Any] = []

    def __call__(self, connection: Any, text: str, values: Any, fetch: Any, *, alone: bool) -> Any:
        self.seen += 1
        if self.left:
            self.left -= 1
            self.dead.append(connection)
            raise self.error()
        return Executor._execute(self.reader, connection, text, values, fetch, alone=alone)

    def error(self) -> Exception:
        """What the driver says of a connection that has ended."""
        dbapi: Any = db.engine.dialect.loaded_dbapi
        ended = {"sqlite": "Cannot operate on a closed database.", "postgresql": "server closed the connection"}
        error: Exception = (dbapi.ProgrammingError if db.engine.name == "sqlite" else dbapi.OperationalError)(
            ended[db.engine.name]
        )
        return error

    def are_let_go(self) -> bool:
        """Whether the pool has closed those that broke, rather than to give them to the next one."""
        return all(is_closed(connection) for connection in self.dead)


def is_closed(connection: Any) -> bool:
    """Whether a connection of the driver is."""
    if db.engine.name == "postgresql":
        return bool(connection.closed)
    try:
        connection.execute("SELECT 1").close()
    except connection.ProgrammingError:
        return True
    return False


def test_a_read_is_tried_again_on_a_new_connection(
    reader: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = Dying(reader, 1)
    monkeypatch.setattr(reader, "_execute", dying)
    assert fetch_one(ONE, user_id=alice.id) is not None
    assert (dying.seen, len(dying.dead), dying.are_let_go()) == (2, 1, True)


def test_a_write_is_not_tried_again(reader: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = Dying(reader, 1)
    monkeypatch.setattr(reader, "_execute", dying)
    with pytest.raises(DBAPIError) as error:
        write_one(ONE, user_id=alice.id)
    assert error.value.connection_invalidated
    assert (dying.seen, len(dying.dead), dying.are_let_go()) == (1, 1, True)


def test_a_connection_is_given_back_whatever_happens(
    reader: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reader, "_execute", stop)
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                reader.first(ONE, {"user_id": alice.id})
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert reader.first(ONE, {"user_id": alice.id}) is not None


@pytest.fixture(params=["straight", "by SQLAlchemy"])
def way(request: pytest.FixtureRequest, app: Flask, reader: Executor) -> Iterator[None]:
    """With the reader, and without it as when statements are traced."""
    components_of(app).uses_executor = request.param == "straight"
    yield
    components_of(app).uses_executor = True


def write_twice(person: Person, between: Callable[[], None]) -> None:
    """One transaction, with something that happens in its midst."""
    with transaction():
        write(BIO, which=person.id, new_bio="lost")
        between()
        write(BIO, which=person.id, new_bio="not written")


def too_late() -> None:
    """Fail as a view does."""
    raise RuntimeError("too late")


@pytest.mark.usefixtures("way")
def test_writes_are_kept_or_lost_together(alice: Person) -> None:
    with transaction():
        assert write(BIO, which=alice.id, new_bio="first") == []
        returned: Any = write(BIO_RETURNED, which=alice.id, new_bio="second")
        assert [tuple(row) for row in returned] == [(alice.id, "second")]
        assert write_one(BIO_RETURNED, which=alice.id, new_bio="third").bio == "third"
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.about == "third"
    with pytest.raises(RuntimeError, match="too late"):
        write_twice(alice, too_late)
    row = fetch_one(ONE, user_id=alice.id)
    assert row.about == "third"


@pytest.mark.usefixtures("way")
def test_a_write_that_finds_no_row_returns_none(alice: Person) -> None:
    assert write_one(BIO_RETURNED, which=0, new_bio="nobody's") is None
    with transaction():
        assert write(BIO_RETURNED, which=0, new_bio="nobody's") == []


@pytest.mark.usefixtures("way")
def test_what_the_session_holds_back_is_written_first(alice: Person) -> None:
    with transaction():
        user = db.session.get(User, alice.id)
        assert user is not None
        user.bio = "by the session"
        returned: Any = write(
            precompiled(update(User).where(User.bio == "by the session").values(role="user").returning(User.id))
        )
        assert [row.id for row in returned] == [alice.id]


def test_a_connection_that_dies_in_a_transaction_ends_it(
    reader: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = Dying(reader, 1)
    with monkeypatch.context() as patch, pytest.raises(DBAPIError) as error:
        write_twice(alice, lambda: patch.setattr(reader, "_execute", dying))
    assert error.value.connection_invalidated
    assert (len(dying.dead), dying.are_let_go()) == (1, True)
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.about == ""


def test_an_interrupted_transaction_gives_its_connection_up(
    reader: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    for _ in range(20):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            write_twice(alice, lambda: patch.setattr(reader, "_execute", stop))
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.about == ""


def test_a_transaction_after_a_read_is_one(reader: Executor, alice: Person) -> None:
    """The connection that a read has used begins transactions again."""
    for _ in range(3):
        assert reader.first(ONE, {"user_id": alice.id}) is not None
        db.session.execute(text("UPDATE users SET bio = 'lost' WHERE id = :id"), {"id": alice.id})
        db.session.rollback()
    row = reader.first(ONE, {"user_id": alice.id})
    assert row.about == ""


def test_a_statement_whose_text_depends_on_values_is_refused(reader: Executor) -> None:
    some = precompiled(select(User.id).where(User.id.in_(bindparam("ids", expanding=True))))
    with pytest.raises(ValueError, match="depends on its values"):
        reader.all(some, {"ids": [1, 2]})


def test_statements_that_are_gone_are_not_kept(reader: Executor) -> None:
    before = len(reader._written)
    for number in range(50):
        reader.all(precompiled(USERS.limit(number + 1)), {})
    gc.collect()
    assert len(reader._written) <= before + 1
