"""Fills a development database with plausible users and posts: `make seed`, or `python -m tools.seed`.

It inserts rows in bulk, without the services. The same --seed gives the same rows in an empty database, times included;
only the salt of the password hash differs.
"""

from __future__ import annotations

import random
import sys
import unicodedata
from bisect import bisect, bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import click
from faker import Faker
from sqlalchemy import insert, select

from app import create_app
from app.cli import OperatorCommand
from app.components import components
from app.database import Base, db, transaction
from app.security.passwords import hash_password
from app.settings import ConfigurationError
from app.users.schemas import fold

PASSWORD = "quiet harbour lantern"
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "pl_PL")
# Constant, so that the rows do not depend on the day; in the past, so that no post is from the future.
FIRST_MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=731)
# Shares of posts that are drafts, of rows that were edited, and of users without a bio.
DRAFTS, EDITED, WITHOUT_BIO = 0.08, 0.2, 0.3
PARAGRAPHS = 1500
# Rows in one statement and transaction: far below the statement timeout, and other writers are not blocked for long.
BATCH = 1000
IN_PRODUCTION = (
    "This is production, and the password of seeded accounts is public. To seed it anyway, add --yes-in-production."
)


def main() -> None:
    """Run the command in an application with the settings of the environment."""
    try:
        app = create_app()
    except ConfigurationError as error:
        sys.exit(str(error))
    with app.app_context():
        seed(prog_name="python -m tools.seed")


@click.command(cls=OperatorCommand)
@click.option("--users", "user_count", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--posts", "post_count", type=click.IntRange(min=0), default=100_000, show_default=True)
@click.option("--seed", "number", type=int, default=1, show_default=True, help="Selects the generated rows.")
@click.option("--yes-in-production", is_flag=True, help="Seed a production database too.")
def seed(user_count: int, post_count: int, number: int, yes_in_production: bool) -> None:
    """Add plausible users and posts."""
    if components().settings.is_production and not yes_in_production:
        raise click.ClickException(IN_PRODUCTION)
    data = SeedData(number)
    with click.progressbar(length=user_count + post_count, label="Seeding") as bar:
        email = data.add_users(user_count, bar.update)
        data.add_posts(post_count, bar.update)
    click.echo(f"Added {user_count} users and {post_count} posts.")
    click.echo(f"Sign in as {email} or any other of them; the password of all is: {PASSWORD}")


class SeedData:
    """Generates the users and posts that follow from one number, and inserts them."""

    def __init__(self, number: int) -> None:
        self.rng = random.Random(number)
        self.fakers = [Faker(locale) for locale in LOCALES]
        for faker in self.fakers:
            faker.seed_instance(self.rng.getrandbits(32))
        english = self.fakers[0]
        self.paragraphs = [english.paragraph(nb_sentences=4) for _ in range(PARAGRAPHS)]
        # Of the users added so far, in the order of their registration: ids, times of registration, and the
        # cumulative weights with which authors of posts are chosen.
        self.ids: list[int] = []
        self.joined_at: list[datetime] = []
        self.weights: list[float] = []

    def add_users(self, count: int, report: Callable[[int], object]) -> str:
        """Insert users in the order of their registration and return the first one's email address.

        `report` is called with the number of rows after each transaction.
        """
        password_hash = hash_password(PASSWORD)
        # The first user registers at the very start, so that the earliest post has an author.
        self.joined_at = [FIRST_MOMENT, *self._moments(count - 1)]
        self.weights = list(accumulate(self.rng.paretovariate(1.2) for _ in range(count)))
        first_email = ""
        for start, size in _batches(count):
            rows = [self._user(moment, password_hash) for moment in self.joined_at[start : start + size]]
            with transaction():
                _make_addresses_unique(rows)
                users = Base.metadata.tables["users"]
                statement = insert(users).returning(users.c.id, sort_by_parameter_order=True)
                self.ids += db.session.scalars(statement, rows)
            first_email = first_email or rows[0]["email"]
            report(size)
        return first_email

    def add_posts(self, count: int, report: Callable[[int], object]) -> None:
        """Insert posts, the oldest first, by users registered by then; `report` is as for add_users."""
        moments = self._moments(count)
        for start, size in _batches(count):
            rows = [self._post(moment) for moment in moments[start : start + size]]
            with transaction():
                db.session.execute(insert(Base.metadata.tables["posts"]), rows)
            report(size)

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
        return self.ids[bisect_left(self.weights, self.rng.random() * self.weights[joined - 1])]

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


def _make_addresses_unique(rows: list[dict[str, Any]]) -> None:
    """Add a number to each address that an account, or an earlier row, has already; sets `email_key` too."""
    users = Base.metadata.tables["users"]
    chosen: dict[str, dict[str, Any]] = {}
    waiting, number = rows, 1
    while waiting:
        wanted = {id(row): _numbered(row["email"], number) for row in waiting}
        keys = select(users.c.email_key).where(users.c.email_key.in_(set(wanted.values())))
        taken = set(db.session.scalars(keys))
        left = []
        for row in waiting:
            address = wanted[id(row)]
            if address in taken or chosen.setdefault(address, row) is not row:
                left.append(row)
        waiting, number = left, number + 1
    for address, row in chosen.items():
        row["email"] = row["email_key"] = address


def _numbered(email: str, number: int) -> str:
    return email if number == 1 else email.replace("@", f"{number}@")


if __name__ == "__main__":
    main()
