"""Parser of the URL of a PostgreSQL database, in the forms of SQLAlchemy and of PostgreSQL's client library, libpq.

Must not import Flask.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import unquote

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.settings.environment import InvalidValue

MAX_PORT = 65_535


def parse_postgres_url(text: str) -> str:
    """Return the URL for SQLAlchemy with the name of the driver, psycopg2; a bare postgresql:// would select psycopg 3.

    libpq's forms are those with several hosts, `postgresql://a:5432,b:5433/name`, and with parameters only,
    `host=a,b dbname=name` (PostgreSQL documentation, "Connection Strings").
    """
    text = re.sub(r"^postgres(ql)?(\+psycopg2)?://", "postgresql://", text)
    try:
        url = _read_postgres_url(text).set(drivername="postgresql+psycopg2")
        arguments = url.get_dialect()().create_connect_args(url)[1]
        # Refuses unknown parameters.
        found = parse_dsn(make_dsn(**arguments))
    except (ArgumentError, ValueError, psycopg2.ProgrammingError) as error:
        # The driver's message may contain a part of the password.
        raise InvalidValue("Not a database URL, or one with an unknown parameter.") from error
    if "@" in found.get("host", ""):
        raise InvalidValue("Contains a second '@': write special characters of the password as %40 and so on.")
    if not all(1 <= int(port) <= MAX_PORT for port in found.get("port", "").split(",") if port):
        raise InvalidValue(f"The port must be from 1 to {MAX_PORT}.")
    return url.render_as_string(hide_password=False)


def _read_postgres_url(text: str) -> URL:
    """Read a URL as SQLAlchemy does, or as PostgreSQL's client library does what SQLAlchemy does not understand."""
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
        # An "@" in the password need not be escaped.
        rest, at, server = (url.host or "").rpartition("@")
        if not re.search("[,%]", server):
            return url.set(host=server, password=f"{url.password}@{unquote(rest)}") if at else url
    values = parse_dsn(text)
    hosts, ports = values.get("host", ""), values.get("port", "")
    host: str | None = None
    port: int | None = None
    if "," in hosts + ports:
        # One port applies to all hosts.
        values["port"] = ports if "," in ports else ",".join([ports] * len(hosts.split(",")))
    else:
        port = int(values.pop("port", 0)) or None
        # The folder of a Unix socket must be a parameter.
        host = None if hosts.startswith("/") else values.pop("host", None)
    user, password, name = (values.pop(part, None) for part in ("user", "password", "dbname"))
    return URL.create("postgresql", user, password, host, port, name, query=values)
