"""The `seed` command: plausible users and posts for a front end to be built and measured against.

Writes the tables of users and posts in bulk, past the services' rules for one row at a time. The same --seed gives
the same rows in an empty database, times included; only the salt of the one password hash is new.
"""

from __future__ import annotations

import random
import unicodedata
from bisect import bisect, bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext
from sqlalchemy import insert, select

from app.cli import OperatorCommand
from app.components import components
from app.database import Base, db, transaction
from app.security.passwords import hash_password
from app.users.schemas import fold

if TYPE_CHECKING:
    from faker import Faker

PASSWORD = "quiet harbour lantern"  # noqa: S105  # printed for everybody
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "pl_PL")
# Fixed, or another day would give other rows; past, or the newest posts would be from the future.
FIRST_MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=731)
DRAFTS, EDITED, WITHOUT_BIO = 0.08, 0.2, 0.3
PARAGRAPHS = 1500
# One statement and one transaction each: far below the statement timeout, and other writers get their turn.
BATCH = 1000
IN_PRODUCTION = (
    "This is production, and everybody knows the password of seeded accounts. "
    "If that is meant, add --yes-in-production."
)


@click.command("seed", cls=OperatorCommand)
@click.option("--users", "user_count", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--posts", "post_count", type=click.IntRange(min=0), default=100_000, show_default=True)
@click.option("--seed", "number", type=int, default=1, show_default=True, help="Another number, other rows.")
@click.option("--yes-in-production", is_flag=True, help="Do it in production too.")
@with_appcontext
def seed(user_count: int, post_count: int, number: int, yes_in_production: bool) -> None:
    """Add plausible users and posts."""
    settings = components().settings
    if settings.is_production and not yes_in_production:
        raise click.ClickException(IN_PRODUCTION)
    world = World(number)
    with click.progressbar(length=user_count + post_count, label="Seeding") as bar:
        email = world.add_users(user_count, bar.update)
        world.add_posts(post_count, bar.update)
    click.echo(f"Added {user_count} users and {post_count} posts.")
    click.echo(f"Sign in as {email} or any other of them; the password of all is: {PASSWORD}")


class World:
    """The people and texts that one number gives."""

    def __init__(self, number: int) -> None:
        from faker import Faker

        self.rng = random.Random(number)  # noqa: S311  # it has to be repeatable, not secret
        self.fakers = [Faker(locale) for locale in LOCALES]
        for faker in self.fakers:
            faker.seed_instance(self.rng.getrandbits(32))
        english = self.fakers[0]
        self.paragraphs = [english.paragraph(nb_sentences=4) for _ in range(PARAGRAPHS)]
        # Of the users so far: ids in the order they joined, the moments, and how eagerly each writes, summed up.
        self.ids: list[int] = []
        self.joined_at: list[datetime] = []
        self.eagerness: list[float] = []

    def add_users(self, count: int, done: Callable[[int], object]) -> str:
        """Add users who joined one after the other; returns the first one's address."""
        password_hash = hash_password(PASSWORD)
        # The first is there from the beginning: there is then an author for the earliest post.
        self.joined_at = [FIRST_MOMENT, *self._moments(count - 1)]
        self.eagerness = list(accumulate(self.rng.paretovariate(1.2) for _ in range(count)))
        first_email = ""
        for start, size in _batches(count):
            rows = [self._user(moment, password_hash) for moment in self.joined_at[start : start + size]]
            with transaction():
                _choose_free_addresses(rows)
                users = Base.metadata.tables["users"]
                statement = insert(users).returning(users.c.id, sort_by_parameter_order=True)
                self.ids += db.session.scalars(statement, rows)
            first_email = first_email or rows[0]["email"]
            done(size)
        return first_email

    def add_posts(self, count: int, done: Callable[[int], object]) -> None:
        """Add posts, the oldest first, by users who had joined by then."""
        moments = self._moments(count)
        for start, size in _batches(count):
            rows = [self._post(moment) for moment in moments[start : start + size]]
            with transaction():
                db.session.execute(insert(Base.metadata.tables["posts"]), rows)
            done(size)

    def _user(self, created_at: datetime, password_hash: str) -> dict[str, Any]:
        faker = self.rng.choice(self.fakers)
        first, last = faker.first_name(), faker.last_name()
        return {
            "email": f"{_ascii(first)}.{_ascii(last)}@example.com",
            "email_verified": True,
            "name": f"{first} {last}",
            "name_key": fold(f"{first} {last}"),
            "bio": "" if self.rng.random() < WITHOUT_BIO else self._bio(faker),
            "role": "user",
            "is_active": True,
            "password_hash": password_hash,
            "created_at": created_at,
            "updated_at": self._edited_at(created_at),
        }

    def _bio(self, faker: Faker) -> str:
        return f"{faker.job()}. {self.rng.choice(self.paragraphs)}"[:200].rpartition(" ")[0].rstrip(".,;") + "."

    def _post(self, created_at: datetime) -> dict[str, Any]:
        is_draft = self.rng.random() < DRAFTS
        return {
            "author_id": self._author_at(created_at),
            "title": self.fakers[0].catch_phrase(),
            "content": "\n\n".join(self.rng.choices(self.paragraphs, k=self.rng.randint(1, 6))),
            "status": "draft" if is_draft else "published",
            "published_at": None if is_draft else created_at,
            "created_at": created_at,
            "updated_at": self._edited_at(created_at),
        }

    def _author_at(self, moment: datetime) -> int:
        joined = bisect(self.joined_at, moment)
        return self.ids[bisect_left(self.eagerness, self.rng.random() * self.eagerness[joined - 1])]

    def _edited_at(self, created_at: datetime) -> datetime:
        if self.rng.random() >= EDITED:
            return created_at
        return min(created_at + timedelta(hours=self.rng.expovariate(1 / 48)), FIRST_MOMENT + SPAN)

    def _moments(self, count: int) -> list[datetime]:
        return sorted(FIRST_MOMENT + SPAN * self.rng.random() for _ in range(count))


def _batches(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, BATCH):
        yield start, min(BATCH, count - start)


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower().translate({ord("ł"): "l", ord("ß"): "ss"}))
    return "".join(c for c in plain if c.isascii() and c.isalnum()) or "user"


def _choose_free_addresses(rows: list[dict[str, Any]]) -> None:
    """Number the addresses that another account, or another of these, has already; sets their keys."""
    users = Base.metadata.tables["users"]
    mine: dict[str, dict[str, Any]] = {}
    waiting, number = rows, 1
    while waiting:
        wanted = {id(row): _numbered(row["email"], number) for row in waiting}
        keys = select(users.c.email_key).where(users.c.email_key.in_(set(wanted.values())))
        taken = set(db.session.scalars(keys))
        left = []
        for row in waiting:
            address = wanted[id(row)]
            if address in taken or mine.setdefault(address, row) is not row:
                left.append(row)
        waiting, number = left, number + 1
    for address, row in mine.items():
        row["email"] = row["email_key"] = address


def _numbered(email: str, number: int) -> str:
    return email if number == 1 else email.replace("@", f"{number}@")
