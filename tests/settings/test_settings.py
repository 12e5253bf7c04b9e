"""Loading the settings: defaults, required settings, secrets, files, errors, and how the settings are shown."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.settings import ConfigurationError, environment, load_settings
from tests.settings.support import KEY, NAMES, OTHER_KEY, PRODUCTION, load, load_in, problems, production

# Defaults


def test_the_defaults(tmp_path: Path) -> None:
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
        "max_body_bytes": 1_048_576,
        "db_pool_size": 18,
        "db_pool_timeout_seconds": 0.5,
        "db_connect_timeout_seconds": 1.0,
        "db_statement_timeout_ms": 1000,
        "db_lock_timeout_ms": 800,
        "log_level": "INFO",
        "log_format": "text",
        "log_file": None,
        "bind": "127.0.0.1:8000",
        "web_concurrency": 1,
        "web_threads": 16,
        "max_queue_ms": 2000,
        "graceful_timeout_seconds": 30,
    }
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.uses_sqlite
    assert not settings.is_production
    assert settings.allows_local_origins


def test_production_with_the_required_settings_only() -> None:
    os.environ.update(PRODUCTION)
    settings = load_settings()
    assert settings.is_production
    assert settings.log_format == "json"
    assert settings.cors_origins == ("https://app.example.com",)
    assert not settings.allows_local_origins
    assert not settings.uses_sqlite


def test_settings_are_immutable() -> None:
    with pytest.raises(AttributeError):
        load().app_env = "production"  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(NAMES - {"APP_ENV", "JWT_SECRET_KEY"}))
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_unset(name: str, value: str) -> None:
    """Compose files set `NAME: ${NAME:-}`."""
    default = load()
    assert load(**{name: value}) == default


def test_surrounding_white_space_is_removed() -> None:
    assert load(WEB_THREADS=" 8 ", LOG_LEVEL=" DEBUG\n").log_level == "DEBUG"


def test_the_default_pool_size_follows_the_number_of_threads() -> None:
    assert load(WEB_THREADS="4").db_pool_size == 6
    assert load(WEB_THREADS="256").db_pool_size == 258
    assert load(WEB_THREADS="8", DB_POOL_SIZE="3").db_pool_size == 3


# Problems


def test_every_problem_is_in_one_error() -> None:
    values = {
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
    found = problems(**values)
    assert found.keys() == values.keys()
    assert all(texts and all(texts) for texts in found.values())


def test_the_error_states_the_number_of_settings() -> None:
    os.environ.update({"APP_ENV": "testing", "JWT_SECRET_KEY": KEY, "WEB_THREADS": "0"})
    with pytest.raises(ConfigurationError, match=r"^Invalid configuration: 1 setting needs to be fixed\."):
        load_settings()
    os.environ["BIND"] = "x"
    with pytest.raises(ConfigurationError, match=r"^Invalid configuration: 2 settings need to be fixed\."):
        load_settings()


# Secrets


@pytest.mark.parametrize("value", ["x", "x" * 31, "é" * 15])
def test_a_key_needs_32_bytes(value: str) -> None:
    assert problems(JWT_SECRET_KEY=value).keys() == {"JWT_SECRET_KEY"}
    assert problems(JWT_SECRET_KEY=KEY, JWT_PREVIOUS_SECRET_KEYS=value).keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_an_error_never_contains_a_key() -> None:
    assert "hunter2" not in str(problems(JWT_SECRET_KEY="hunter2", JWT_PREVIOUS_SECRET_KEYS="hunter2"))


def test_several_previous_keys() -> None:
    settings = load(JWT_PREVIOUS_SECRET_KEYS=f"{OTHER_KEY}, {'x' * 32},")
    assert settings.jwt_previous_secret_keys == (OTHER_KEY, "x" * 32)


def test_only_development_generates_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_in("testing")
    assert "secrets.token_urlsafe" in caught.value.problems["JWT_SECRET_KEY"][0]
    assert not (tmp_path / "var").exists()


def test_production_names_the_missing_settings() -> None:
    found = problems(APP_ENV="production", JWT_SECRET_KEY="")
    assert found.keys() == {"JWT_SECRET_KEY", "DATABASE_URL", "CORS_ORIGINS"}
    assert found["DATABASE_URL"] == found["CORS_ORIGINS"] == ["Required in production."]


def test_production_treats_a_blank_value_as_missing(tmp_path: Path) -> None:
    """Otherwise a blank secret file would start production with the default SQLite database."""
    (tmp_path / "blank").write_text(" \n")
    assert production(DATABASE_URL=" ").keys() == {"DATABASE_URL"}
    assert production(DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "blank")).keys() == {"DATABASE_URL"}


@pytest.mark.parametrize(
    "key",
    [
        *("change-me-0123456789-abcdefghijklmn", "CHANGEME-0123456789-abcdefghijklmnop"),
        *("this-is-an-example-value-0123456789", "your-256-bit-secret-0123456789abcdef"),
        *("super-secret-key-0123456789-abcdefgh", "my-long-password-0123456789-abcdefgh", "x" * 40, "abab" * 10),
    ],
)
def test_production_refuses_weak_keys(key: str) -> None:
    assert production(JWT_SECRET_KEY=key).keys() == {"JWT_SECRET_KEY"}
    assert production(JWT_PREVIOUS_SECRET_KEYS=f"{OTHER_KEY},{key}").keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_production_refuses_the_current_key_among_the_previous() -> None:
    assert production(JWT_PREVIOUS_SECRET_KEYS=KEY).keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_production_refuses_a_wildcard_origin() -> None:
    found = production(CORS_ORIGINS="https://a.example,*")
    assert found == {"CORS_ORIGINS": ["'*' is refused in production: list the origins."]}


def test_production_reads_no_development_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEB_THREADS=9\n")
    os.environ.update(PRODUCTION)
    assert load_settings().web_threads == 16
    assert not (tmp_path / "var").exists()


# Files


def test_a_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    key, url = tmp_path / "key", tmp_path / "url"
    key.write_text(KEY + "\n")
    url.write_text("postgres://u:p@h/d\n")
    settings = load(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(key), DATABASE_URL_FILE=str(url))
    assert settings.jwt_secret_key == KEY
    assert settings.database_url == "postgresql+psycopg2://u:p@h/d"


def test_production_reads_required_settings_from_files(tmp_path: Path) -> None:
    environ = {"APP_ENV": "production"}
    for name in ("DATABASE_URL", "JWT_SECRET_KEY", "CORS_ORIGINS"):
        path = tmp_path / name
        path.write_text(PRODUCTION[name])
        environ[f"{name}_FILE"] = str(path)
    os.environ.update(environ)
    assert load_settings().jwt_secret_key == KEY


def test_an_empty_file_is_unset(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert problems(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(tmp_path / "key")).keys() == {"JWT_SECRET_KEY"}


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_an_unreadable_file_is_reported_with_the_other_problems(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "secret"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe" * 20)
    found = problems(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(path), BIND="x")
    assert found.keys() == {"JWT_SECRET_KEY", "BIND"}


def test_the_password_of_the_database_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("@:/?#%& '\"$\n")
    assert load(DATABASE_URL="postgresql://u@h/d", DATABASE_PASSWORD_FILE="password").database_password_file == str(
        tmp_path / "password"
    )


@pytest.mark.parametrize(
    ("content", "url"),
    [
        (None, "postgresql://u@h/d"),
        ("", "postgresql://u@h/d"),
        ("\n\n", "postgresql://u@h/d"),
        ("a\0b", "postgresql://u@h/d"),
        ("secret", "postgresql://u:other@h/d"),
        ("secret", "host=a,b user=u password=other dbname=d"),
        ("secret", "postgresql://u@h/d?password=other"),
        ("secret", "sqlite:///some.db"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_reported(tmp_path: Path, content: str | None, url: str) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    found = problems(DATABASE_URL=url, DATABASE_PASSWORD_FILE=str(tmp_path / "password"))
    assert found.keys() == {"DATABASE_PASSWORD_FILE"}
    assert "secret" not in found["DATABASE_PASSWORD_FILE"][0]


def test_production_refuses_a_key_that_is_also_the_password_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"other\n{KEY}\n")
    found = production(DATABASE_URL="postgresql://u@h/d", DATABASE_PASSWORD_FILE=str(tmp_path / "password"))
    assert found == {"JWT_SECRET_KEY": ["Is also a password in DATABASE_PASSWORD_FILE."]}


# Development


def test_development_generates_its_key_once(tmp_path: Path) -> None:
    first = load_in("development").jwt_secret_key
    path = tmp_path / "var" / "dev.env"
    assert len(first) >= 43
    assert path.read_text() == f"JWT_SECRET_KEY={first}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    del os.environ["JWT_SECRET_KEY"]
    assert load_in("development").jwt_secret_key == first
    assert [entry.name for entry in path.parent.iterdir()] == ["dev.env"]


def test_processes_that_start_at_once_get_the_same_key() -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: environment.make_development_secret(), range(40)))
    assert len(set(keys)) == 1
    assert keys[0]


def test_the_environment_has_priority_over_the_development_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"JWT_SECRET_KEY={KEY}\nWEB_THREADS=9\nLOG_LEVEL=DEBUG\nBIND=\n")
    settings = load_in("development", WEB_THREADS="2")
    assert (settings.jwt_secret_key, settings.web_threads, settings.log_level) == (KEY, 2, "DEBUG")
    assert not (tmp_path / "var").exists()


def test_a_development_file_may_set_app_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("APP_ENV=production\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.problems.keys() == {"DATABASE_URL", "JWT_SECRET_KEY", "CORS_ORIGINS"}
    assert not (tmp_path / "var").exists()


def test_development_uses_a_key_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    assert load_in("development", JWT_SECRET_KEY_FILE=str(tmp_path / "key")).jwt_secret_key == KEY
    assert not (tmp_path / "var").exists()


# Showing the settings


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
    assert (shown["WEB_THREADS"], shown["RATELIMIT_ENABLED"], shown["REDIS_URL"]) == ("3", "true", "")
