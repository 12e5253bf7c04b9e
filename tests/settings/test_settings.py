"""The settings: defaults that work, every mistake in one message, and no weak secret in production."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from app import settings as module
from app.settings import ROOT, ConfigurationError, Settings, load_settings

KEY = "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge"
OTHER_KEY = "Zx8Cv7Bn6Mq5We4Rt3Yu2Io1Pa0Sd9Fg8Hj7"
PRODUCTION = {
    "APP_ENV": "production",
    "DATABASE_URL": "postgresql://gatepost:pw@db/gatepost",
    "JWT_SECRET_KEY": KEY,
    "CORS_ORIGINS": "https://app.example.com",
}
NAMES = {field.name.upper() for field in fields(Settings)}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment without settings, and a folder without files."""
    for name in [*os.environ]:
        if name in NAMES or name.removesuffix("_FILE") in NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "DEVELOPMENT_SECRETS", tmp_path / "var" / "dev.env")
    before = dict(os.environ)
    yield
    # In development the files are laid under the environment of the process.
    os.environ.clear()
    os.environ.update(before)


def load(**environ: str) -> Settings:
    """The settings of an environment of tests, with these variables."""
    return load_in("testing", JWT_SECRET_KEY=environ.pop("JWT_SECRET_KEY", KEY), **environ)


def load_in(app_env: str, **environ: str) -> Settings:
    """The settings of this environment, with these variables alone."""
    os.environ.update(environ | {"APP_ENV": app_env})
    return load_settings()


def problems(**environ: str) -> dict[str, list[str]]:
    """What is wrong with an environment."""
    os.environ.update({"APP_ENV": "testing", "JWT_SECRET_KEY": KEY} | environ)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    for name in caught.value.problems:
        assert f"  {name}: " in str(caught.value)
    return caught.value.problems


def production(**changes: str) -> dict[str, list[str]]:
    """What is wrong with production, changed so."""
    return problems(**(PRODUCTION | changes))


# Defaults


def test_the_defaults_are_the_contract_s(tmp_path: Path) -> None:
    settings = load_in("development")
    expected: dict[str, Any] = {
        "app_env": "development",
        "database_url": f"sqlite:///{tmp_path}/var/gatepost.db",
        "jwt_previous_secret_keys": (),
        "jwt_private_key_file": None,
        "jwt_issuer": "gatepost",
        "jwt_audience": "gatepost",
        "access_token_minutes": 15,
        "refresh_idle_days": 7,
        "refresh_absolute_days": 30,
        "refresh_grace_seconds": 10,
        "max_sessions_per_user": 20,
        "cookie_secure": True,
        "cookie_samesite": "strict",
        "service_prefix": "",
        "trusted_proxies": 0,
        "redis_url": None,
        "ratelimit_enabled": True,
        "ratelimit_login_account": "10 per 5 minutes",
        "ratelimit_login_address": "100 per 5 minutes",
        "ratelimit_register": "20 per hour",
        "ratelimit_mail": "5 per hour",
        "ratelimit_default": "600 per minute",
        "ratelimit_dir": None,
        "max_body_bytes": 1_048_576,
        "db_pool_size": 6,
        "log_level": "INFO",
        "log_format": "text",
        "log_file": None,
        "bind": "127.0.0.1:8000",
        "web_threads": 4,
        "graceful_timeout_seconds": 30,
    }
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.uses_sqlite
    assert not settings.is_production
    assert "http://localhost:5173" in settings.cors_origins
    assert settings.web_concurrency >= 2


def test_production_starts_when_all_is_said() -> None:
    os.environ.update(PRODUCTION)
    settings = load_settings()
    assert settings.is_production
    assert settings.log_format == "json"
    assert settings.cors_origins == ("https://app.example.com",)
    assert not settings.uses_sqlite


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        load().app_env = "production"  # type: ignore[misc]


def test_the_example_file_names_every_setting() -> None:
    text = (ROOT / ".env.example").read_text()
    named = {line[1:].partition("=")[0] for line in text.splitlines() if line.startswith("#") and "=" in line}
    assert named >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES - {"APP_ENV", "JWT_SECRET_KEY"}))
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_unset(name: str, value: str) -> None:
    """Compose files write `NAME: ${NAME:-}`."""
    default = load()
    assert load(**{name: value}) == default


def test_white_space_around_a_value_is_none_of_it() -> None:
    assert load(WEB_THREADS=" 8 ", LOG_LEVEL=" DEBUG\n").log_level == "DEBUG"


def test_more_threads_get_more_connections() -> None:
    assert load(WEB_THREADS="8").db_pool_size == 10
    assert load(WEB_THREADS="8", DB_POOL_SIZE="3").db_pool_size == 3


# Mistakes


def test_every_mistake_is_in_one_message() -> None:
    mistakes = {
        "APP_ENV": "staging",
        "DATABASE_URL": "mysql://x/y",
        "JWT_SECRET_KEY": "short",
        "ACCESS_TOKEN_MINUTES": "soon",
        "REFRESH_IDLE_DAYS": "0",
        "CORS_ORIGINS": "app.example.com",
        "SERVICE_PREFIX": "example",
        "TRUSTED_PROXIES": "-1",
        "REDIS_URL": "localhost",
        "RATELIMIT_ENABLED": "maybe",
        "RATELIMIT_DEFAULT": "often",
        "LOG_FORMAT": "xml",
        "BIND": "8000",
        "WEB_THREADS": "many",
    }
    found = problems(**mistakes)
    assert found.keys() == mistakes.keys()
    assert all(texts and all(texts) for texts in found.values())


def test_the_message_counts() -> None:
    os.environ.update({"APP_ENV": "testing", "JWT_SECRET_KEY": KEY, "WEB_THREADS": "0"})
    with pytest.raises(ConfigurationError, match="1 setting must"):
        load_settings()
    os.environ["BIND"] = "x"
    with pytest.raises(ConfigurationError, match="2 settings must"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in (
                "ACCESS_TOKEN_MINUTES",
                "REFRESH_IDLE_DAYS",
                "REFRESH_ABSOLUTE_DAYS",
                "MAX_SESSIONS_PER_USER",
                "MAX_BODY_BYTES",
                "DB_POOL_SIZE",
                "DB_STATEMENT_TIMEOUT_MS",
                "DB_LOCK_TIMEOUT_MS",
                "WEB_CONCURRENCY",
                "WEB_THREADS",
                "GRACEFUL_TIMEOUT_SECONDS",
            )
            for value in ("0", "-1", "1.5", "x", "1e3")
        ),
        *(
            (name, value)
            for name in ("REFRESH_GRACE_SECONDS", "TRUSTED_PROXIES")
            for value in ("-1", "x", "true", "0.5")
        ),
        *(
            (name, value)
            for name in ("DB_POOL_TIMEOUT_SECONDS", "DB_CONNECT_TIMEOUT_SECONDS")
            for value in ("0", "-1", "x", "nan")
        ),
        *(("RATELIMIT_ENABLED", value) for value in ("maybe", "2", "yess", "truee")),
        *(
            (name, value)
            for name in ("RATELIMIT_DEFAULT", "RATELIMIT_REGISTER", "RATELIMIT_MAIL", "RATELIMIT_LOGIN_ACCOUNT")
            for value in (
                "10",
                "ten per minute",
                "10 per fortnight",
                "-1 per minute",
                "0 per minute",
                "1/minute;2/hour",
            )
        ),
        ("LOG_LEVEL", "info"),
        ("LOG_LEVEL", "TRACE"),
        ("LOG_FORMAT", "JSON"),
        ("BIND", "localhost"),
        ("BIND", "localhost:http"),
        ("BIND", "a b:80"),
        ("BIND", "unix:"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://cache:port"),
        ("LOG_FILE", "/no/such/folder/gatepost.log"),
        ("LOG_FILE", "/"),
        ("LOG_FILE", "/dev/null"),
        ("DATABASE_URL", "sqlite:////"),
    ],
)
def test_a_value_out_of_form(name: str, value: str) -> None:
    assert problems(**{name: value}).keys() == {name}


def test_idle_days_are_within_the_absolute_ones() -> None:
    found = problems(REFRESH_IDLE_DAYS="31", BIND="x")
    assert found["REFRESH_IDLE_DAYS"] == ["Must not exceed REFRESH_ABSOLUTE_DAYS."]
    assert found.keys() == {"REFRESH_IDLE_DAYS", "BIND"}
    assert load(REFRESH_IDLE_DAYS="30", BIND="").refresh_idle_days == 30


# Databases


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgres+psycopg2"])
def test_what_platforms_write_means_our_driver(scheme: str) -> None:
    settings = load(DATABASE_URL=f"{scheme}://u:p%40ss@db.example:5433/name?sslmode=require")
    assert settings.database_url == "postgresql+psycopg2://u:p%40ss@db.example:5433/name?sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        "x",
        "mysql://u@h/d",
        "postgresql+asyncpg://u@h/d",
        "postgresql+psycopg://u@h/d",
        "postgresql://u@h:port/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared",
        "sqlite:///x.db?mode=ro",
        "sqlite+aiosqlite:///x.db",
    ],
)
def test_other_databases_are_refused(url: str) -> None:
    found = problems(DATABASE_URL=url)
    assert found.keys() == {"DATABASE_URL"}


def test_a_wrong_database_url_is_not_repeated() -> None:
    found = problems(DATABASE_URL="postgresql+asyncpg://user:hunter2@h/d")
    assert "hunter2" not in str(found)


def test_a_relative_sqlite_file_lies_in_the_project(tmp_path: Path) -> None:
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
        "a.example",
        "https://a.example/",
        "https://a.example/path",
        "https://A.example",
        "HTTPS://a.example",
        "null",
        "https://*.example.com",
        "https://user@a.example",
        "https://a.example?x",
        "ftp://a.example",
        "https://",
        "https://a.example:port",
        "https://bücher.example",
        "https://a.example https://b.example",
    ],
)
def test_what_is_no_origin(value: str) -> None:
    assert problems(CORS_ORIGINS=value).keys() == {"CORS_ORIGINS"}


@pytest.mark.parametrize(
    ("value", "prefix"), [("/example", "/example"), ("/example/", "/example"), ("/a/b-c.d_~", "/a/b-c.d_~")]
)
def test_prefixes(value: str, prefix: str) -> None:
    assert load(SERVICE_PREFIX=value).service_prefix == prefix


@pytest.mark.parametrize(
    "value",
    ["example", "/", "//a", "/a//b", "/a b", "/a?b", "/<x>", "/ä", "/a%20b", "http://x/y", "/..", "/a/../b", "/./a"],
)
def test_what_is_no_prefix(value: str) -> None:
    assert problems(SERVICE_PREFIX=value).keys() == {"SERVICE_PREFIX"}


@pytest.mark.parametrize(
    "value", ["127.0.0.1:8000", "0.0.0.0:80", "[::1]:8000", ":8000", "localhost:8000", "unix:/run/x.sock"]
)
def test_addresses_to_listen_at(value: str) -> None:
    assert load(BIND=value, TRUSTED_PROXIES="1").bind == value


def test_a_socket_without_a_proxy_would_give_all_callers_one_address() -> None:
    assert problems(BIND="unix:/run/x.sock").keys() == {"TRUSTED_PROXIES"}


def test_a_private_key_is_refused_rather_than_ignored() -> None:
    assert problems(JWT_PRIVATE_KEY_FILE="/run/key.pem").keys() == {"JWT_PRIVATE_KEY_FILE"}


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    assert problems(DATABASE_URL="sqlite:///x.db").keys() == {"DATABASE_URL"}


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("on", True), ("false", False), ("0", False)]
)
def test_a_boolean_is_true_or_false(value: str, expected: bool) -> None:
    assert load(RATELIMIT_ENABLED=value).ratelimit_enabled is expected


# Secrets


@pytest.mark.parametrize("value", ["x", "x" * 31, "é" * 15])
def test_a_key_has_32_bytes(value: str) -> None:
    assert problems(JWT_SECRET_KEY=value).keys() == {"JWT_SECRET_KEY"}
    assert problems(JWT_SECRET_KEY=KEY, JWT_PREVIOUS_SECRET_KEYS=value).keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_a_key_is_never_repeated_in_a_message() -> None:
    assert "hunter2" not in str(problems(JWT_SECRET_KEY="hunter2", JWT_PREVIOUS_SECRET_KEYS="hunter2"))


def test_several_previous_keys() -> None:
    settings = load(JWT_PREVIOUS_SECRET_KEYS=f"{OTHER_KEY}, {'x' * 32},")
    assert settings.jwt_previous_secret_keys == (OTHER_KEY, "x" * 32)


def test_only_development_makes_a_key_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_in("testing")
    assert "secrets.token_urlsafe" in caught.value.problems["JWT_SECRET_KEY"][0]
    assert not (tmp_path / "var").exists()


def test_production_says_what_is_missing() -> None:
    found = problems(APP_ENV="production", JWT_SECRET_KEY="")
    assert found.keys() == {"JWT_SECRET_KEY", "DATABASE_URL", "CORS_ORIGINS"}
    assert found["DATABASE_URL"] == found["CORS_ORIGINS"] == ["Required in production."]


def test_production_takes_nothing_for_a_value(tmp_path: Path) -> None:
    """Or a blank line in a secret's file would start it on the SQLite of development."""
    (tmp_path / "blank").write_text(" \n")
    assert production(DATABASE_URL=" ").keys() == {"DATABASE_URL"}
    assert production(DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "blank")).keys() == {"DATABASE_URL"}


@pytest.mark.parametrize(
    "key",
    [
        "change-me-0123456789-abcdefghijklmn",
        "CHANGEME-0123456789-abcdefghijklmnop",
        "this-is-an-example-value-0123456789",
        "your-256-bit-secret-0123456789abcdef",
        "super-secret-key-0123456789-abcdefgh",
        "my-long-password-0123456789-abcdefgh",
        "x" * 40,
        "abab" * 10,
    ],
)
def test_production_refuses_weak_keys(key: str) -> None:
    assert production(JWT_SECRET_KEY=key).keys() == {"JWT_SECRET_KEY"}
    assert production(JWT_PREVIOUS_SECRET_KEYS=f"{OTHER_KEY},{key}").keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_production_refuses_the_current_key_among_the_previous() -> None:
    assert production(JWT_PREVIOUS_SECRET_KEYS=KEY).keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_production_refuses_the_star() -> None:
    found = production(CORS_ORIGINS="https://a.example,*")
    assert found == {"CORS_ORIGINS": ["'*' is refused in production: name the origins."]}


def test_production_reads_no_development_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEB_THREADS=9\n")
    os.environ.update(PRODUCTION)
    assert load_settings().web_threads == 4
    assert not (tmp_path / "var").exists()


# Files


def test_a_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    key, url = tmp_path / "key", tmp_path / "url"
    key.write_text(KEY + "\n")
    url.write_text("postgres://u:p@h/d\n")
    settings = load(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(key), DATABASE_URL_FILE=str(url))
    assert settings.jwt_secret_key == KEY
    assert settings.database_url == "postgresql+psycopg2://u:p@h/d"


def test_production_takes_files_for_what_it_requires(tmp_path: Path) -> None:
    environ = {"APP_ENV": "production"}
    for name in ("DATABASE_URL", "JWT_SECRET_KEY", "CORS_ORIGINS"):
        path = tmp_path / name
        path.write_text(PRODUCTION[name])
        environ[f"{name}_FILE"] = str(path)
    os.environ.update(environ)
    assert load_settings().jwt_secret_key == KEY


def test_an_empty_file_is_unset_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert problems(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(tmp_path / "key")).keys() == {"JWT_SECRET_KEY"}


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_can_not_be_read_is_one_mistake_among_others(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "secret"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe" * 20)
    found = problems(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(path), BIND="x")
    assert found.keys() == {"JWT_SECRET_KEY", "BIND"}


# Development


def test_development_makes_its_key_once(tmp_path: Path) -> None:
    first = load_in("development").jwt_secret_key
    path = tmp_path / "var" / "dev.env"
    assert len(first) >= 43
    assert path.read_text() == f"JWT_SECRET_KEY={first}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    del os.environ["JWT_SECRET_KEY"]
    assert load_in("development").jwt_secret_key == first
    assert [entry.name for entry in path.parent.iterdir()] == ["dev.env"]


def test_of_many_that_start_at_once_all_have_the_same_key() -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: module._development_secret(), range(40)))
    assert len(set(keys)) == 1
    assert keys[0]


def test_a_development_file_lies_under_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"JWT_SECRET_KEY={KEY}\nWEB_THREADS=9\nLOG_LEVEL=DEBUG\nBIND=\n")
    settings = load_in("development", WEB_THREADS="2")
    assert (settings.jwt_secret_key, settings.web_threads, settings.log_level) == (KEY, 2, "DEBUG")
    assert not (tmp_path / "var").exists()


def test_a_development_file_may_name_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("APP_ENV=production\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.problems.keys() == {"DATABASE_URL", "JWT_SECRET_KEY", "CORS_ORIGINS"}
    assert not (tmp_path / "var").exists()


def test_a_key_of_a_file_is_used_in_development_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    assert load_in("development", JWT_SECRET_KEY_FILE=str(tmp_path / "key")).jwt_secret_key == KEY
    assert not (tmp_path / "var").exists()


# Showing them


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@db/name",
        "postgresql://db/name?user=u&password=hunter2",
        "postgresql://u:a%40hunter2%3A@db/name",
    ],
)
def test_masked_settings_hide_every_secret(url: str) -> None:
    settings = load(
        DATABASE_URL=url,
        REDIS_URL="rediss://:hunter2@cache:6379/0",
        JWT_PREVIOUS_SECRET_KEYS=OTHER_KEY,
    )
    shown = settings.masked()
    assert shown.keys() == NAMES
    assert all(isinstance(value, str) for value in shown.values())
    for secret in (KEY, OTHER_KEY, "hunter2"):
        assert secret not in str(shown)
        assert secret not in repr(settings)
    assert "db/name" in shown["DATABASE_URL"]
    assert "cache:6379" in shown["REDIS_URL"]
    assert shown["JWT_PRIVATE_KEY_FILE"] == ""


@pytest.mark.parametrize(
    "url", ["redis://cache?password=hunter2", "unix:///run/redis.sock?password=hunter2", "redis://u:hunter2@[::1]:6379"]
)
def test_masked_redis_urls_hide_the_password(url: str) -> None:
    assert "hunter2" not in str(load(REDIS_URL=url).masked())


def test_masked_settings_show_the_rest() -> None:
    shown = load(CORS_ORIGINS="https://a.example,https://b.example", WEB_THREADS="3").masked()
    assert shown["CORS_ORIGINS"] == "https://a.example,https://b.example"
    assert (shown["WEB_THREADS"], shown["RATELIMIT_ENABLED"], shown["REDIS_URL"]) == ("3", "True", "")


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


def test_production_sends_no_cookie_in_the_clear() -> None:
    assert production(COOKIE_SECURE="false").keys() == {"COOKIE_SECURE"}
    assert load(COOKIE_SECURE="false", COOKIE_SAMESITE="lax").cookie_samesite == "lax"
