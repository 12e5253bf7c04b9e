"""The `users` commands: create an administrator, list accounts, and change an account by its email address.

A password is read from the terminal or from standard input. The command line is visible to other users of the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, TextIO

import click
import orjson

from app.api.errors import EmailTaken
from app.api.fields import InputSchema
from app.api.request_body import load
from app.cli import OperatorGroup, align
from app.database import MAX_ID, in_batches, transaction
from app.security.passwords import hash_password
from app.users import deletion, service
from app.users.models import User
from app.users.schemas import PRIVATE_USER, EmailAddress, NewAccount

# Longer than any valid password in UTF-8; the rest of a longer line is not read.
PASSWORD_LINE_BYTES = 4096
COLUMNS = ("ID", "EMAIL", "NAME", "ROLE", "ACTIVE", "CREATED")

users = OperatorGroup("users", help="Create administrators, list and manage accounts.")


class _Address(InputSchema):
    """The email address of an account."""

    email = EmailAddress(required=True)


@users.command("create-admin")
@click.option("--email", required=True, help="The address to sign in with.")
@click.option("--name", required=True, help="The name that other users see.")
def create_admin(email: str, name: str) -> None:
    """Create an administrator.

    Prompts for the password twice. If standard input is not a terminal, its first line is the password.
    """
    account = load(NewAccount(), {"email": email, "name": name, "password": read_password()})
    password_hash = hash_password(account["password"])
    try:
        with transaction():
            user = service.create_user_for(account["email"], account["name"], password_hash, "admin")
    except EmailTaken as error:
        address = account["email"]
        raise EmailTaken(f"An account with the address {address} already exists. Nothing was changed.") from error
    click.echo(f"Created administrator {user.email} with id {user.id}.")


@users.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="The largest number of accounts to list.",
)
@click.option("--after", type=click.IntRange(0, MAX_ID), default=0, help="List accounts with a greater id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with all members that an administrator sees.")
def list_users(limit: int, after: int, as_json: bool) -> None:
    """List accounts by id."""
    rows = service.list_users_after(after, limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    next_after = rows[-1].id if more else None
    if as_json:
        document = {"items": PRIVATE_USER.dump(rows, many=True), "next_after": next_after}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(align([COLUMNS, *map(_cells, rows)]))
    if more:
        click.echo(f"There are more accounts. Continue with --after {next_after}.", err=True)


@users.command("purge")
def purge() -> None:
    """Finish the deletion of large accounts.

    A request deletes as many rows as it can in 2 seconds and hides the rest. This may be stopped and run again.
    """
    count = 0
    while user_ids := deletion.list_hidden(100):
        for user_id in user_ids:
            in_batches(partial(deletion.delete_some, user_id), deletion.BATCH)
        count += len(user_ids)
    click.echo(f"{count} deleted accounts purged.")


def _add_change(name: str, help_text: str, changes: Mapping[str, Any], state: str) -> None:
    """Add a command that makes `changes` to an account and prints the result; `state` describes it afterwards."""

    @users.command(name, help=help_text)
    @click.argument("email")
    def change(email: str) -> None:
        address = read_address(email)
        with transaction():
            user = find_account(address)
            is_new = any(getattr(user, member) != value for member, value in changes.items())
            service.update_user(user, changes)
        click.echo(f"{user.email} is now {state}." if is_new else f"{user.email} was already {state}.")


_add_change("disable", "Disable an account and end its sessions.", {"is_active": False}, "disabled and has no sessions")
_add_change("enable", "Enable a disabled account.", {"is_active": True}, "enabled")
_add_change("promote", "Give an account the role of administrator.", {"role": "admin"}, "an administrator")
_add_change("demote", "Give an administrator the role of user.", {"role": "user"}, "an ordinary user")


def read_address(email: str) -> str:
    """Return the address in the normalized form that accounts store. Raises ValidationFailed."""
    address: str = load(_Address(), {"email": email})["email"]
    return address


def find_account(address: str) -> User:
    """Lock and return the account with this address. Raises ClickException."""
    user = service.find_by_email(address)
    if user is None:
        raise click.ClickException(f"No account has the address {address}.")
    return user


def read_password() -> str:
    """Return the password that is typed twice or, without a terminal, the first line of standard input."""
    # None if the process was started with standard input closed.
    stdin: TextIO | None = sys.stdin
    if stdin is not None and stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt="Password again")
        return typed
    line = b"" if stdin is None else stdin.buffer.readline(PASSWORD_LINE_BYTES)
    if not line:
        raise click.ClickException("Standard input is empty. Its first line must be the password.")
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise click.ClickException("The password on standard input is not UTF-8.") from error


def _cells(user: Any) -> tuple[str, ...]:
    created_at = f"{user.created_at:%Y-%m-%dT%H:%M:%SZ}"
    active = "yes" if user.is_active else "no"
    return str(user.id), user.email, _printable(user.name), user.role, active, created_at


def _printable(text: str) -> str:
    # Bidirectional overrides in a name could change how the rest of its line is displayed.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
