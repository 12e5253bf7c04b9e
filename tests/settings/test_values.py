"""The values that each setting accepts and refuses."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from sqlalchemy.engine import make_url

from app.components import components_of
from app.settings.declarations import DECLARATIONS, Settings
from app.settings.parsers import MAX_LIMIT_AMOUNT, Decimal, Integer, parse_rate_limit
from tests.conftest import API, PASSWORD
from tests.settings.support import load, problems, production

# Numbers

BOUNDED = {name: one.parser for name, one in DECLARATIONS.items() if isinstance(one.parser, Integer | Decimal)}
TYPES = {"int": Integer, "float": Decimal}


def with_value(field: str, value: float) -> dict[str, str]:
    """Return an environment with this value, and with what it needs of other settings."""
    # An idle lifetime must not exceed the absolute one.
    return {"REFRESH_IDLE_DAYS": "1", "REFRESH_ABSOLUTE_DAYS": "3650", field.upper(): str(value)}


def test_every_number_has_a_range() -> None:
    numbers = {field.name: TYPES[str(field.type)] for field in fields(Settings) if str(field.type) in TYPES}
    assert {name: type(parser) for name, parser in BOUNDED.items()} == numbers


@pytest.mark.parametrize("field", BOUNDED)
def test_a_number_accepts_its_minimum_and_maximum(field: str) -> None:
    for value in (BOUNDED[field].minimum, BOUNDED[field].maximum):
        assert getattr(load(**with_value(field, value)), field) == value


@pytest.mark.parametrize("field", BOUNDED)
def test_a_number_outside_its_range_is_refused_with_the_name_of_the_variable(field: str) -> None:
    parser = BOUNDED[field]
    step = 1 if isinstance(parser, Integer) else 0.001
    for value in (parser.minimum - step, parser.maximum + step, int("9" * 30)):
        assert problems(**with_value(field, value)).keys() == {field.upper()}


@pytest.mark.parametrize("field", BOUNDED)
@pytest.mark.parametrize(
    "value",
    ["-1", "x", "true", "1e3", "nan", "inf", "1_0", "٣", "1,5", "0x10", "1 2", pytest.param("9" * 5000, id="long")],
)
def test_text_that_is_no_number_is_refused(field: str, value: str) -> None:
    assert problems(**{field.upper(): value}).keys() == {field.upper()}


@pytest.mark.parametrize("field", [name for name, parser in BOUNDED.items() if isinstance(parser, Integer)])
def test_whole_numbers_have_no_decimals(field: str) -> None:
    for value in ("1.5", "1.0", "0.5"):
        assert problems(**{field.upper(): value}).keys() == {field.upper()}


RATE_LIMITS = [field.upper() for field, one in DECLARATIONS.items() if one.parser is parse_rate_limit]


@pytest.mark.parametrize("name", RATE_LIMITS)
@pytest.mark.parametrize(
    "value",
    [
        *("10", "ten per minute", "10 per fortnight", "-1 per minute", "0 per minute"),
        *(f"{MAX_LIMIT_AMOUNT + 1} per minute", "10 per 32 days", "10 per 2 months", "10 per year"),
        *(f"10 per {'9' * 30} days", f"{'9' * 5000} per minute", "1/minute;2/hour", "1/minute,2/hour"),
    ],
)
def test_text_that_is_no_limit_is_refused(name: str, value: str) -> None:
    assert problems(**{name: value}).keys() == {name}


@pytest.mark.parametrize("value", ["1 per second", f"{MAX_LIMIT_AMOUNT}/minute", "10 per 31 days", "10 per month"])
def test_limits(value: str) -> None:
    for name in RATE_LIMITS:
        assert getattr(load(**{name: value}), name.lower()) == value


def test_the_longest_session_can_be_opened(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dates that are computed from a setting must not overflow."""
    longest = {name: BOUNDED[name].maximum for name in ("refresh_idle_days", "refresh_absolute_days")}
    changed = replace(components_of(app).settings, **longest)  # type: ignore[arg-type]
    monkeypatch.setattr(components_of(app), "settings", changed)
    body = {"email": "dora@example.com", "name": "Dora", "password": PASSWORD}
    assert app.test_client().post(f"{API}/auth/register", json=body).status_code == 201


# Words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in {
            "RATELIMIT_ENABLED": ("maybe", "2", "yess", "truee"),
            "LOG_LEVEL": ("info", "TRACE"),
            "LOG_FORMAT": ("JSON",),
            "LOG_FILE": ("/no/such/folder/gatepost.log", "/", "/dev/null"),
            "JWT_ISSUER": ("x" * 201,),
            "JWT_AUDIENCE": ("caf\udce9",),
            "BIND": ("localhost", "localhost:http", "localhost:0", "localhost:65536", "a b:80", "unix:"),
            "REDIS_URL": (
                "http://localhost",
                "redis://",
                "redis://cache:port",
                "redis://cache:65536",
                "redis://cache:0",
            ),
            "DATABASE_URL": ("sqlite:////", "postgresql://db:65536/name"),
        }.items()
        for value in values
    ],
)
def test_an_invalid_value_is_refused(name: str, value: str) -> None:
    assert problems(**{name: value}).keys() == {name}


def test_the_idle_lifetime_must_not_exceed_the_absolute_one() -> None:
    found = problems(REFRESH_IDLE_DAYS="31", BIND="x")
    assert found["REFRESH_IDLE_DAYS"] == ["Must not exceed REFRESH_ABSOLUTE_DAYS."]
    assert found.keys() == {"REFRESH_IDLE_DAYS", "BIND"}
    assert load(REFRESH_IDLE_DAYS="30", BIND="").refresh_idle_days == 30


# Databases


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgres+psycopg2"])
def test_every_usual_postgresql_scheme_selects_psycopg2(scheme: str) -> None:
    settings = load(DATABASE_URL=f"{scheme}://u:p%40ss@db.example:5433/name?sslmode=require")
    assert settings.database_url == "postgresql+psycopg2://u:p%40ss@db.example:5433/name?sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        *("x", "mysql://u@h/d", "postgresql+asyncpg://u@h/d", "postgresql+psycopg://u@h/d", "postgresql://u@h:port/d"),
        *("sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?cache=shared", "sqlite:///x.db?mode=ro"),
        *("postgresql://u@h/d?unknown=1", "postgresql://u:p@a:1,b:65536/d", "postgresql://u:p@ss@a:1,b:2/d"),
        *("host=a,b,c port=1,2", "host=a unknown=1", "host=a port=x", "host='a"),
        "sqlite+aiosqlite:///x.db",
    ],
)
def test_other_databases_are_refused(url: str) -> None:
    found = problems(DATABASE_URL=url)
    assert found.keys() == {"DATABASE_URL"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://user:hunter2@h/d",
        "postgresql://user:hunter2@h/d?unknown=1",
        "postgresql://u:p@hunter2@a:1,b:2/d",
        "host=a password=hunter2 unknown=1",
        "host=a password=two hunter2",
    ],
)
def test_the_error_does_not_contain_the_database_url(url: str) -> None:
    found = problems(DATABASE_URL=url)
    assert found
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("postgresql://u:p@a:1,b:2/d?sslmode=require", {"host": "a,b", "port": "1,2", "sslmode": "require"}),
        ("postgresql://u:p@a,b:5433/d", {"host": "a,b", "port": ",5433"}),
        ("postgresql://u:p@/d?host=a:1&host=b:2", {"host": "a,b", "port": "1,2"}),
        ("host=a,b port=5433 dbname=d user=u password=p", {"host": "a,b", "port": "5433,5433"}),
        (" host = a  dbname=d user=u password=p port=5433", {"host": "a", "port": 5433}),
        ("dbname=d user=u password=p options='-c search_path=x'", {"options": "-c search_path=x"}),
        ("host=/run/postgresql dbname=d user=u password=p", {"host": "/run/postgresql"}),
        ("postgresql://u:p@%2Frun%2Fpostgresql/d", {"host": "/run/postgresql"}),
        ("postgresql://u:p@[::1]:5433/d", {"host": "::1", "port": 5433}),
    ],
)
def test_the_forms_of_postgresqls_client_library(url: str, arguments: dict[str, Any]) -> None:
    parsed = make_url(load(DATABASE_URL=url).database_url)
    found = parsed.get_dialect()().create_connect_args(parsed)[1]
    assert found == {"user": "u", "password": "p", "dbname": "d"} | arguments


@pytest.mark.parametrize("password", ["p@ss", "@", "p%40@s", "a b", "%2F%3F"])
def test_special_characters_in_the_password(password: str) -> None:
    parsed = make_url(load(DATABASE_URL=f"postgresql://u:{password}@h/d").database_url)
    assert (parsed.password, parsed.host) == (unquote(password), "h")


def test_the_password_in_parameters_is_not_shown() -> None:
    shown = load(DATABASE_URL="host=a,b dbname=d user=u password='hunter2 3'").masked()["DATABASE_URL"]
    assert shown == "postgresql+psycopg2://u:***@/d?host=a%2Cb&port=%2C"


def test_a_relative_sqlite_path_starts_at_the_project_folder(tmp_path: Path) -> None:
    assert load(DATABASE_URL="sqlite:///var/x.db").database_url == f"sqlite:///{tmp_path}/var/x.db"
    assert load(DATABASE_URL="sqlite:////srv/x.db").database_url == "sqlite:////srv/x.db"


# Origins, prefix and address


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("https://a.example", ("https://a.example",)),
        (" https://a.example , http://localhost:5173,", ("https://a.example", "http://localhost:5173")),
        ("https://a.example:443,http://b.example:80", ("https://a.example", "http://b.example")),
        ("https://a.example:8443", ("https://a.example:8443",)),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("https://xn--bcher-kva.example", ("https://xn--bcher-kva.example",)),
        ("*", ("*",)),
    ],
)
def test_origins(value: str, origins: tuple[str, ...]) -> None:
    assert load(CORS_ORIGINS=value).cors_origins == origins


@pytest.mark.parametrize(
    "value",
    [
        *("a.example", "https://a.example/", "https://a.example/path", "https://A.example", "HTTPS://a.example"),
        *("null", "https://*.example.com", "https://user@a.example", "https://a.example?x", "ftp://a.example"),
        *("https://", "https://a.example:port", "https://bücher.example", "https://a.example https://b.example"),
        *("https://a.example:0", "https://a.example:65536"),
    ],
)
def test_text_that_is_no_origin_is_refused(value: str) -> None:
    assert problems(CORS_ORIGINS=value).keys() == {"CORS_ORIGINS"}


def test_header_names() -> None:
    assert load(CORS_ALLOW_HEADERS=" X-A,x_b , ,Y1").cors_allow_headers == ("X-A", "x_b", "Y1")


@pytest.mark.parametrize("value", ["*", "X-*", "X A", "X-A;X-B", "X:", "Ä", "x" * 101, "X-A,\x01"], ids=ascii)
def test_text_that_is_no_header_name_is_refused(value: str) -> None:
    assert problems(CORS_ALLOW_HEADERS=value).keys() == {"CORS_ALLOW_HEADERS"}


def test_cookie_names() -> None:
    assert load(COOKIE_NAME="shop_refresh-1.2").cookie_name == "shop_refresh-1.2"


@pytest.mark.parametrize(
    "value", ["a b", "a=b", "a;b", "a,b", '"a"', "a/b", "Ä", "x" * 65, "a\tb", "(a)", "{a}"], ids=ascii
)
def test_text_that_is_no_cookie_name_is_refused(value: str) -> None:
    [text] = problems(COOKIE_NAME=value)["COOKIE_NAME"]
    assert "RFC 6265" in text


@pytest.mark.parametrize("value", ["__Secure-a", "__Host-a", "__host-a", "__HTTP-a", "__Host-Http-a"])
def test_a_cookie_name_with_a_prefix_of_browsers_is_refused(value: str) -> None:
    """Browsers give these a meaning without regard to case, and the service adds the one that fits."""
    [text] = problems(COOKIE_NAME=value)["COOKIE_NAME"]
    assert "__Secure-" in text


@pytest.mark.parametrize(
    ("value", "prefix"), [("/example", "/example"), ("/example/", "/example"), ("/a/b-c.d_~", "/a/b-c.d_~")]
)
def test_prefixes(value: str, prefix: str) -> None:
    assert load(SERVICE_PREFIX=value).service_prefix == prefix


@pytest.mark.parametrize(
    "value",
    ["example", "/", "//a", "/a//b", "/a b", "/a?b", "/<x>", "/ä", "/a%20b", "http://x/y", "/..", "/a/../b", "/./a"],
)
def test_text_that_is_no_prefix_is_refused(value: str) -> None:
    assert problems(SERVICE_PREFIX=value).keys() == {"SERVICE_PREFIX"}


@pytest.mark.parametrize(
    "value", ["127.0.0.1:8000", "0.0.0.0:80", "[::1]:8000", ":8000", "localhost:8000", "unix:/run/x.sock"]
)
def test_addresses_to_listen_on(value: str) -> None:
    assert load(BIND=value, TRUSTED_PROXIES="1").bind == value


def test_a_socket_requires_a_trusted_proxy() -> None:
    assert problems(BIND="unix:/run/x.sock").keys() == {"TRUSTED_PROXIES"}


def test_a_missing_private_key_file_is_refused() -> None:
    assert problems(JWT_PRIVATE_KEY_FILE="/run/key.pem").keys() == {"JWT_PRIVATE_KEY_FILE"}


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    assert problems(DATABASE_URL="sqlite:///x.db").keys() == {"DATABASE_URL"}


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("ON", True), ("False", False), ("0", False), ("no", False)]
)
def test_booleans(value: str, expected: bool) -> None:
    assert load(RATELIMIT_ENABLED=value).ratelimit_enabled is expected


# The cookie


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"COOKIE_SAMESITE": "None"}, "COOKIE_SAMESITE"),
        ({"COOKIE_SAMESITE": "none", "COOKIE_SECURE": "false"}, "COOKIE_SAMESITE"),
        ({"COOKIE_SECURE": "maybe"}, "COOKIE_SECURE"),
    ],
)
def test_a_cookie_that_browsers_would_refuse_is_refused(environ: dict[str, str], name: str) -> None:
    assert problems(**environ).keys() == {name}


def test_production_requires_a_secure_cookie() -> None:
    assert production(COOKIE_SECURE="false").keys() == {"COOKIE_SECURE"}
    assert load(COOKIE_SECURE="false", COOKIE_SAMESITE="lax").cookie_samesite == "lax"
