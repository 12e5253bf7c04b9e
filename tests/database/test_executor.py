"""The executor of precompiled statements, compared with SQLAlchemy's own execution."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Float, Numeric, bindparam, cast, event, insert, literal, literal_column, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from app.components import components_of
from app.database import db, fetch_all, fetch_one, precompiled, transaction, write, write_one
from app.database.engine import autocommit_view
from app.database.executor import Executor
from app.posts.models import Post
from app.users.models import User
from tests.conftest import Person

SET_BIO = update(User).where(User.id == bindparam("which")).values(bio=bindparam("new_bio"))
BIO = precompiled(SET_BIO)
BIO_RETURNED = precompiled(SET_BIO.returning(User.id, User.bio))
USERS = select(User.id, User.created_at, User.email_verified, User.role, User.bio.label("about")).order_by(User.id)
ONE = precompiled(USERS.where(User.id == bindparam("user_id"), User.role == "user"))


@pytest.fixture
def executor(app: Flask) -> Iterator[Executor]:
    with app.app_context():
        yield components_of(app).executor
        db.session.remove()


def first(executor: Executor, statement: Any, **parameters: Any) -> Any:
    """Return the first row, or None."""
    rows = executor.execute(statement, parameters)
    return rows[0] if rows else None


def test_rows_are_those_of_sqlalchemy(executor: Executor, alice: Person, bob: Person) -> None:
    everyone = precompiled(USERS)
    with autocommit_view(db.engine).connect() as connection:
        theirs = connection.execute(USERS).all()
    ours = executor.execute(everyone, {})
    assert len(ours) >= 2
    assert [tuple(row) for row in ours] == [tuple(row) for row in theirs]
    assert [dict(row._mapping) for row in ours] == [dict(row._mapping) for row in theirs]
    assert ours[0].created_at.tzinfo is not None
    assert (ours[0].about, type(ours[0].email_verified)) == ("", bool)


def test_values_of_the_statement_and_of_the_call_are_sent(executor: Executor, alice: Person, carol: Person) -> None:
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.id == alice.id
    assert fetch_one(ONE, user_id=carol.id) is None  # an administrator
    assert [row.id for row in fetch_all(ONE, user_id=alice.id)] == [alice.id]


def test_a_missing_parameter_is_an_error_and_not_null(executor: Executor, alice: Person) -> None:
    with pytest.raises(KeyError, match="user_id"):
        first(executor, ONE)
    assert first(executor, ONE, user_id=alice.id) is not None


def test_numbers_with_decimals_are_those_of_sqlalchemy(executor: Executor) -> None:
    """The driver reports the type of such a column, on which its conversion depends, with the first result."""
    columns: list[Any] = [
        literal(Decimal("1.50"), Numeric(6, 2)).label("exact"),
        literal(2.5, Float()).label("inexact"),
        literal(2.5, Float(asdecimal=True)).label("converted"),
        cast(3, Numeric(6, 2, asdecimal=False)).label("as_float"),
        cast(None, Numeric(6, 2)).label("missing"),
    ]
    with autocommit_view(db.engine).connect() as connection:
        theirs = tuple(connection.execute(select(*columns)).one())
    statement: Any = precompiled(select(*columns))
    for _ in range(2):
        ours = tuple(first(executor, statement))
        assert ours == theirs
        assert list(map(type, ours)) == list(map(type, theirs)) == [Decimal, float, Decimal, float, type(None)]


def test_percent_signs_and_quotes_are_values_like_others(executor: Executor) -> None:
    echo = precompiled(
        select(literal("100 %s '").label("fixed"), bindparam("sent", type_=Post.title.type).label("sent"))
    )
    assert tuple(first(executor, echo, sent="%(x)s ' -- ?")) == ("100 %s '", "%(x)s ' -- ?")


def test_in_a_transaction_what_it_wrote_is_read(app: Flask, alice: Person) -> None:
    with app.app_context(), transaction():
        db.session.execute(text("UPDATE users SET bio = 'new' WHERE id = :id"), {"id": alice.id})
        row: Any = fetch_one(ONE, user_id=alice.id)
        assert row.about == "new"
        db.session.rollback()
        row = fetch_one(ONE, user_id=alice.id)
        assert row.about == ""


def test_a_refused_write_has_sqlalchemys_exception(executor: Executor, alice: Person) -> None:
    again = precompiled(insert(User).returning(User.id))
    with transaction():
        found = db.session.execute(select(User.__table__).where(User.id == alice.id)).one()._mapping
    with pytest.raises(IntegrityError) as refusal:
        write_one(again, **{name: value for name, value in found.items() if name != "id"})
    assert found["password_hash"] not in str(refusal.value)
    assert refusal.value.hide_parameters
    assert fetch_one(ONE, user_id=alice.id) is not None


def test_a_statement_that_fails_leaves_the_connection_usable(executor: Executor, alice: Person) -> None:
    broken: Any = precompiled(select(literal_column("nothing_of_this_name").label("found")))
    for _ in range(20):
        with pytest.raises((ProgrammingError, OperationalError)) as error:
            first(executor, broken)
        assert not error.value.connection_invalidated
    assert first(executor, ONE, user_id=alice.id) is not None


class BrokenConnections:
    """Makes one statement fail, the first or the one `after` so many, as if the server had closed its connection."""

    def __init__(self, executor: Executor, after: int) -> None:
        self._after, self.statements = after, 0
        self.broken: list[Any] = []
        self._connection: Any = None
        self._before = executor.before
        executor.before = self._fail
        event.listen(db.engine, "checkout", self._remember)

    def _remember(self, connection: Any, record: Any, proxy: Any) -> None:
        self._connection = connection

    def _fail(self, text: str) -> str:
        self.statements += 1
        if self.statements == self._after + 1:
            self.broken.append(self._connection)
            raise self.error()
        return self._before(text)

    def error(self) -> Exception:
        """Return the driver's error for a closed connection."""
        dbapi: Any = db.engine.dialect.loaded_dbapi
        message = {"sqlite": "Cannot operate on a closed database.", "postgresql": "server closed the connection"}
        error: Exception = (dbapi.ProgrammingError if db.engine.name == "sqlite" else dbapi.OperationalError)(
            message[db.engine.name]
        )
        return error

    def are_discarded(self) -> bool:
        """Return whether the pool has closed all connections that failed."""
        return all(is_closed(connection) for connection in self.broken)

    def stop(self) -> None:
        """Remove the listener."""
        event.remove(db.engine, "checkout", self._remember)


Break = Callable[..., BrokenConnections]


@pytest.fixture
def break_next(executor: Executor) -> Iterator[Break]:
    """Return a function that makes the connection of the next statement fail, or of the one `after` so many."""
    before: Callable[[str], str] = executor.before
    installed: list[BrokenConnections] = []

    def install(after: int = 0) -> BrokenConnections:
        broken = BrokenConnections(executor, after)
        installed.append(broken)
        return broken

    yield install
    executor.before = before
    for broken in installed:
        broken.stop()


def is_closed(connection: Any) -> bool:
    """Return whether a connection of the driver is closed."""
    if db.engine.name == "postgresql":
        return bool(connection.closed)
    try:
        connection.execute("SELECT 1").close()
    except connection.ProgrammingError:
        return True
    return False


def test_a_read_is_retried_on_a_new_connection(break_next: Break, alice: Person) -> None:
    connections = break_next()
    assert fetch_one(ONE, user_id=alice.id) is not None
    assert (connections.statements, len(connections.broken), connections.are_discarded()) == (2, 1, True)


def test_a_write_is_not_retried(break_next: Break, alice: Person) -> None:
    connections = break_next()
    with pytest.raises(DBAPIError) as error:
        write_one(ONE, user_id=alice.id)
    assert error.value.connection_invalidated
    assert (connections.statements, len(connections.broken), connections.are_discarded()) == (1, 1, True)


def test_a_connection_returns_to_the_pool_after_any_exception(
    executor: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executor, "before", stop)
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                first(executor, ONE, user_id=alice.id)
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert first(executor, ONE, user_id=alice.id) is not None


@pytest.fixture(params=["precompiled", "SQLAlchemy"])
def execution(request: pytest.FixtureRequest, executor: Executor) -> Iterator[None]:
    """Run the test with precompiled statements, and through SQLAlchemy as when statements are traced."""
    executor.is_enabled = request.param == "precompiled"
    yield
    executor.is_enabled = True


def write_twice(person: Person, between: Callable[[], None]) -> None:
    """Write in a transaction, call `between`, and write again."""
    with transaction():
        write(BIO, which=person.id, new_bio="lost")
        between()
        write(BIO, which=person.id, new_bio="not written")


def too_late() -> None:
    """Raise, as a view may."""
    raise RuntimeError("too late")


@pytest.mark.usefixtures("execution")
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


@pytest.mark.usefixtures("execution")
def test_a_write_that_finds_no_row_returns_none(alice: Person) -> None:
    assert write_one(BIO_RETURNED, which=0, new_bio="nobody's") is None
    with transaction():
        assert write(BIO_RETURNED, which=0, new_bio="nobody's") == []


@pytest.mark.usefixtures("execution")
def test_pending_changes_of_the_session_are_flushed_first(alice: Person) -> None:
    with transaction():
        user = db.session.get(User, alice.id)
        assert user is not None
        user.bio = "by the session"
        returned: Any = write(
            precompiled(update(User).where(User.bio == "by the session").values(role="user").returning(User.id))
        )
        assert [row.id for row in returned] == [alice.id]


def test_a_connection_that_fails_in_a_transaction_ends_it(break_next: Break, alice: Person) -> None:
    connections = break_next(after=1)
    with pytest.raises(DBAPIError) as error:
        write_twice(alice, lambda: None)
    assert error.value.connection_invalidated
    assert (len(connections.broken), connections.are_discarded()) == (1, True)
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.about == ""


def test_an_interrupted_transaction_releases_its_connection(
    executor: Executor, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    for _ in range(20):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            write_twice(alice, lambda: patch.setattr(executor, "before", stop))
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    row: Any = fetch_one(ONE, user_id=alice.id)
    assert row.about == ""


def test_a_connection_begins_transactions_again_after_a_read(executor: Executor, alice: Person) -> None:
    for _ in range(3):
        assert first(executor, ONE, user_id=alice.id) is not None
        db.session.execute(text("UPDATE users SET bio = 'lost' WHERE id = :id"), {"id": alice.id})
        db.session.rollback()
    row = first(executor, ONE, user_id=alice.id)
    assert row.about == ""


def test_a_statement_whose_text_depends_on_values_is_refused(executor: Executor) -> None:
    some = precompiled(select(User.id).where(User.id.in_(bindparam("ids", expanding=True))))
    with pytest.raises(ValueError, match="depends on its values"):
        executor.execute(some, {"ids": [1, 2]})


def test_unused_statements_are_garbage_collected(executor: Executor) -> None:
    before = len(executor._compiled)
    for number in range(50):
        executor.execute(precompiled(USERS.limit(number + 1)), {})
    gc.collect()
    assert len(executor._compiled) <= before + 1
