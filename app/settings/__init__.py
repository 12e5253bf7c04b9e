"""Every setting of the service, typed, read from the environment once, all mistakes in one message.

Owns names, defaults and checks of the environment variables. Must not import Flask or touch the database.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from environs import EnvValidationError, FileAwareEnv
from limits import parse as parse_limit
from marshmallow import ValidationError, validate
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.security.key_files import UnfitKeyFile, key_files_beside, read_key_file

ROOT = Path(__file__).resolve().parents[2]
DEVELOPMENT_SECRETS = ROOT / "var" / "dev.env"
# RFC 7518 section 3.2: a key for HS256 has at least the 256 bits of its hash.
MIN_SECRET_BYTES = 32
MIN_DISTINCT_CHARACTERS = 10
# The first that can return what an UPDATE wrote.
MIN_SQLITE = (3, 35)
EXAMPLE_WORDS = (
    *("change", "example", "placeholder", "replace", "default", "insecure", "password", "gatepost", "your-", "your_"),
    *("secret-key", "secret_key", "secretkey", "string-secret", "super-secret", "supersecret", "for-the-tests"),
    # The key of RFC 7515, appendix A.1.
    "aym1sysppbydfgzld3umj1qzkobwvmko",
)
# Up to the last @, should a password hold one that is not escaped; and the parameters of drivers.
_URL_PASSWORDS = re.compile(r"(?<=://)([^:/?#]*:).*(?=@)|((?<=[?&])\w*password=)[^&]*", re.IGNORECASE)
SECRET_FIELDS = frozenset({"jwt_secret_key", "jwt_previous_secret_keys", "database_url", "redis_url"})


class ConfigurationError(Exception):
    """The environment does not describe a service that may start; the text names every problem."""

    def __init__(self, problems: dict[str, list[str]], values: Mapping[str, Any] | None = None) -> None:
        self.problems = problems
        readable = {name.upper(): _masked(name, value) for name, value in (values or {}).items()}
        # The settings that could be read, for `config check` to show beside the problems.
        self.effective = "\n".join(f"{name}={text}" for name, text in readable.items() if name not in problems)
        count = len(problems)
        head = f"Gatepost cannot start: {count} setting{'s' if count > 1 else ''} must be mended."
        lines = [f"  {name}: {' '.join(texts)}" for name, texts in sorted(problems.items())]
        super().__init__("\n".join([head, *lines]))


class _Environment(FileAwareEnv):
    """Reads NAME, or the file that NAME_FILE names; an empty variable is unset, as compose files write it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.given: set[str] = set()

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            value = super()._get_value(env_key, default)
        except (OSError, ValueError):
            self._errors[env_key].append(f"{env_key}_FILE does not name a text file that can be read.")
            return default
        if isinstance(value, str) and value is not default:
            value = value.strip()
        if value == "" or value is default:
            return default
        self.given.add(env_key)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service was told, checked. Field names are the variables' names in lower case."""

    app_env: str
    database_url: str = field(repr=False)
    jwt_secret_key: str = field(repr=False)
    jwt_previous_secret_keys: tuple[str, ...] = field(repr=False)
    jwt_private_key_file: str | None
    jwt_verification_key_files: tuple[str, ...]
    jwt_issuer: str
    jwt_audience: str
    access_token_minutes: int
    refresh_idle_days: int
    refresh_absolute_days: int
    refresh_grace_seconds: int
    max_sessions_per_user: int
    cors_origins: tuple[str, ...]
    cookie_secure: bool
    cookie_samesite: str
    service_prefix: str
    trusted_proxies: int
    redis_url: str | None = field(repr=False)
    ratelimit_enabled: bool
    ratelimit_login_account: str
    ratelimit_login_address: str
    ratelimit_register: str
    ratelimit_mail: str
    ratelimit_default: str
    ratelimit_dir: str | None
    max_body_bytes: int
    docs_enabled: bool
    db_pool_size: int
    db_pool_timeout_seconds: float
    db_connect_timeout_seconds: float
    db_statement_timeout_ms: int
    db_lock_timeout_ms: int
    log_level: str
    log_format: str
    log_file: str | None
    bind: str
    server: str
    web_concurrency: int
    web_threads: int
    max_queued_requests: int
    max_queue_ms: int
    drain_seconds: int
    graceful_timeout_seconds: int

    @property
    def is_production(self) -> bool:
        """Whether the strict rules for secrets and origins hold."""
        return self.app_env == "production"

    @property
    def uses_sqlite(self) -> bool:
        """Whether the embedded database is in use, rather than PostgreSQL."""
        return self.database_url.startswith("sqlite")

    @property
    def signing_key_files(self) -> tuple[str, ...]:
        """The file of the key that signs, if one does, and those that its rotation keeps beside it."""
        path = self.jwt_private_key_file
        return (path, *key_files_beside(path)) if path else ()

    def masked(self) -> dict[str, str]:
        """The effective settings for a person to read, with every secret hidden."""
        return {f.name.upper(): _masked(f.name, getattr(self, f.name)) for f in fields(self)}


def _masked(name: str, value: object) -> str:
    if value in (None, (), ""):
        return ""
    if name.endswith("_url"):
        return _URL_PASSWORDS.sub(lambda m: f"{m[1] or m[2]}***", str(value))
    if name in SECRET_FIELDS:
        return "********"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def load_settings() -> Settings:
    """Read the settings from the environment, in development after `.env` and the generated secrets.

    Returns the checked settings. Raises ConfigurationError naming every variable that is wrong or missing.
    """
    if os.environ.get("APP_ENV", "development") == "development":
        _read_development_files()
    env = _Environment(eager=False, strip_whitespace=True)
    values = _read(env)
    problems: dict[str, list[str]] = {}
    try:
        env.seal()
    except EnvValidationError as error:
        messages = cast("Mapping[str, list[str]]", error.error_messages)
        problems = {name: [str(text) for text in texts] for name, texts in messages.items()}
    for name, text in _required_in_production(values, problems, env.given):
        problems.setdefault(name, []).append(text)
    if problems:
        raise ConfigurationError(problems, values)
    return Settings(**values)


def _read_development_files() -> None:
    """Lay `.env` and the generated secrets under the real environment, which always wins."""
    for path in (ROOT / ".env", DEVELOPMENT_SECRETS):
        for name, value in dotenv_values(path).items():
            if value:
                os.environ.setdefault(name, value)
    named = ("JWT_SECRET_KEY", "JWT_SECRET_KEY_FILE")
    if os.environ.get("APP_ENV", "development") == "development" and not any(map(os.environ.get, named)):
        os.environ["JWT_SECRET_KEY"] = _development_secret()


def _development_secret() -> str:
    """Make the signing key of a development checkout once, so that a restart signs nobody out."""
    DEVELOPMENT_SECRETS.parent.mkdir(exist_ok=True)
    with NamedTemporaryFile("w", dir=DEVELOPMENT_SECRETS.parent, encoding="utf-8") as file:
        file.write(f"JWT_SECRET_KEY={secrets.token_urlsafe(48)}\n")
        file.flush()
        # Of two processes that start at once one links its file, whole; the other reads that one.
        with suppress(FileExistsError):
            os.link(file.name, DEVELOPMENT_SECRETS)
    return dotenv_values(DEVELOPMENT_SECRETS).get("JWT_SECRET_KEY") or ""


def _read(env: FileAwareEnv) -> dict[str, Any]:
    """Every variable with its type, default and check; a wrong one is noted in `env` and read as None."""
    app_env = env.str("APP_ENV", "development", validate=_one_of("development", "testing", "production"))
    at_least_1, at_least_0 = validate.Range(min=1), validate.Range(min=0)
    positive = validate.Range(min=0, min_inclusive=False)
    web_threads = env.int("WEB_THREADS", 4, validate=at_least_1)
    return {
        "app_env": app_env,
        "database_url": _parsed(env, "DATABASE_URL", _database_url, _default_database_url()),
        "jwt_secret_key": _parsed(env, "JWT_SECRET_KEY", _secret, ""),
        "jwt_previous_secret_keys": _parsed(env, "JWT_PREVIOUS_SECRET_KEYS", _secrets, ()),
        "jwt_private_key_file": _parsed(env, "JWT_PRIVATE_KEY_FILE", partial(_signing_key_file, app_env), None),
        "jwt_verification_key_files": _parsed(env, "JWT_VERIFICATION_KEY_FILES", partial(_key_files, app_env), ()),
        "jwt_issuer": env.str("JWT_ISSUER", "gatepost", validate=validate.Length(min=1)),
        "jwt_audience": env.str("JWT_AUDIENCE", "gatepost", validate=validate.Length(min=1)),
        "access_token_minutes": env.int("ACCESS_TOKEN_MINUTES", 15, validate=at_least_1),
        "refresh_idle_days": env.int("REFRESH_IDLE_DAYS", 7, validate=at_least_1),
        "refresh_absolute_days": env.int("REFRESH_ABSOLUTE_DAYS", 30, validate=at_least_1),
        "refresh_grace_seconds": env.int("REFRESH_GRACE_SECONDS", 10, validate=at_least_0),
        "max_sessions_per_user": env.int("MAX_SESSIONS_PER_USER", 20, validate=at_least_1),
        "cors_origins": _parsed(env, "CORS_ORIGINS", _origins, _development_origins(app_env)),
        "cookie_secure": env.bool("COOKIE_SECURE", True),
        "cookie_samesite": env.str("COOKIE_SAMESITE", "strict", validate=_one_of("strict", "lax", "none")),
        "service_prefix": _parsed(env, "SERVICE_PREFIX", _prefix, ""),
        "trusted_proxies": env.int("TRUSTED_PROXIES", 0, validate=at_least_0),
        "redis_url": _parsed(env, "REDIS_URL", _redis_url, None),
        "ratelimit_enabled": env.bool("RATELIMIT_ENABLED", True),
        "ratelimit_login_account": _parsed(env, "RATELIMIT_LOGIN_ACCOUNT", _limit, "10 per 5 minutes"),
        "ratelimit_login_address": _parsed(env, "RATELIMIT_LOGIN_ADDRESS", _limit, "100 per 5 minutes"),
        "ratelimit_register": _parsed(env, "RATELIMIT_REGISTER", _limit, "20 per hour"),
        "ratelimit_mail": _parsed(env, "RATELIMIT_MAIL", _limit, "5 per hour"),
        "ratelimit_default": _parsed(env, "RATELIMIT_DEFAULT", _limit, "600 per minute"),
        "ratelimit_dir": env.str("RATELIMIT_DIR", None) or None,
        "max_body_bytes": env.int("MAX_BODY_BYTES", 1_048_576, validate=at_least_1),
        "docs_enabled": env.bool("DOCS_ENABLED", True),
        "db_pool_size": env.int("DB_POOL_SIZE", (web_threads or 4) + 2, validate=at_least_1),
        "db_pool_timeout_seconds": env.float("DB_POOL_TIMEOUT_SECONDS", 0.5, validate=positive),
        "db_connect_timeout_seconds": env.float("DB_CONNECT_TIMEOUT_SECONDS", 1.0, validate=positive),
        "db_statement_timeout_ms": env.int("DB_STATEMENT_TIMEOUT_MS", 1000, validate=at_least_1),
        "db_lock_timeout_ms": env.int("DB_LOCK_TIMEOUT_MS", 800, validate=at_least_1),
        "log_level": env.str("LOG_LEVEL", "INFO", validate=_one_of("DEBUG", "INFO", "WARNING", "ERROR")),
        "log_format": env.str(
            "LOG_FORMAT",
            "json" if app_env == "production" else "text",
            validate=_one_of("json", "text"),
        ),
        "log_file": _parsed(env, "LOG_FILE", _log_file, None),
        "bind": _parsed(env, "BIND", _bind, "127.0.0.1:8000"),
        "server": env.str("SERVER", "gunicorn", validate=_one_of("gunicorn", "granian")),
        "web_concurrency": env.int("WEB_CONCURRENCY", _default_workers(), validate=at_least_1),
        "web_threads": web_threads,
        "max_queued_requests": env.int("MAX_QUEUED_REQUESTS", 32 * (web_threads or 4), validate=at_least_1),
        "max_queue_ms": env.int("MAX_QUEUE_MS", 5000, validate=at_least_1),
        "drain_seconds": env.int("DRAIN_SECONDS", 5 if app_env == "production" else 0, validate=at_least_0),
        "graceful_timeout_seconds": env.int("GRACEFUL_TIMEOUT_SECONDS", 30, validate=at_least_1),
    }


def _parsed(env: FileAwareEnv, name: str, parse: Callable[[str], Any], default: Any) -> Any:
    """Read `name` through `parse`, which raises ValidationError for what it can't take."""

    def read(value: Any) -> Any:
        return value if value is default else parse(value)

    parser = f"parse_{name.lower()}"
    env.add_parser(parser, read)
    return getattr(env, parser)(name, default)


def _one_of(*choices: str) -> validate.OneOf:
    return validate.OneOf(choices, error="Must be one of: {choices}.")


def _default_workers() -> int:
    """Two workers at least, so that one can be replaced while the other serves."""
    return min(max(2, os.cpu_count() or 2), 8)


def _default_database_url() -> str:
    return f"sqlite:///{ROOT / 'var' / 'gatepost.db'}"


def _development_origins(app_env: str | None) -> tuple[str, ...]:
    """The addresses where the usual front-end tools serve a single-page app on this machine."""
    if app_env == "production":
        return ()
    return tuple(f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (3000, 5173))


def _database_url(value: str) -> str:
    """Map what users write to the driver we ship: a bare postgresql:// would mean psycopg 3."""
    try:
        url = make_url(re.sub(r"^postgres(ql)?(\+psycopg2)?://", "postgresql+psycopg2://", value))
    except (ArgumentError, ValueError) as error:
        raise ValidationError("Not a database URL.") from error
    if url.drivername == "postgresql+psycopg2":
        return url.render_as_string(hide_password=False)
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ValidationError("Must start with postgresql:// or sqlite:///.")
    if not url.database or ":memory:" in url.database or url.query:
        raise ValidationError("SQLite needs a plain file: several workers can't share one in memory.")
    path = ROOT / url.database
    _require_writable(path, next((folder for folder in path.parents if os.access(folder, os.F_OK)), path))
    return f"sqlite:///{path}"


def _log_file(value: str) -> str:
    path = Path(value)
    _require_writable(path, path.parent)
    # When it is full it is renamed, and its lock lies beside it: /dev/stdout would be no log file for long.
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not path.is_file()):
        raise ValidationError("Must name a file that can be written to, in a folder that can be.")
    return value


def _require_writable(path: Path, folder: Path) -> None:
    """Check that `path` is a file to write to, or can become one in `folder`."""
    if os.access(path, os.F_OK):
        is_fit = os.access(path, os.W_OK) and not path.is_dir()
    else:
        is_fit = os.access(folder, os.W_OK | os.X_OK) and folder.is_dir()
    if not is_fit:
        raise ValidationError("Must name a file that can be written to.")


def _secret(value: str) -> str:
    if len(value.encode()) < MIN_SECRET_BYTES:
        raise ValidationError(f"Must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2).")
    if "-----BEGIN" in value:
        # The public half of such a key would be a secret that everybody knows (RFC 8725, section 2.1).
        raise ValidationError("Holds a PEM key: JWT_PRIVATE_KEY_FILE names the file of one.")
    return value


def _signing_key_file(app_env: str | None, value: str) -> str:
    path = _key_file(app_env, value, needs_private=True)
    for beside in key_files_beside(path):
        _key_file(app_env, beside, needs_private=True)
    return path


def _key_files(app_env: str | None, value: str) -> tuple[str, ...]:
    return tuple(_key_file(app_env, part.strip()) for part in value.split(",") if part.strip())


def _key_file(app_env: str | None, value: str, *, needs_private: bool = False) -> str:
    path = str(ROOT / value)
    try:
        read_key_file(path, needs_private=needs_private, is_strict=app_env == "production")
    except UnfitKeyFile as error:
        raise ValidationError(f"{value} {error}") from error
    return path


def _secrets(value: str) -> tuple[str, ...]:
    return tuple(_secret(part.strip()) for part in value.split(",") if part.strip())


def _origins(value: str) -> tuple[str, ...]:
    return tuple(_origin(part.strip()) for part in value.split(",") if part.strip())


def _origin(value: str) -> str:
    """Check one origin as a browser sends it: scheme, host and port, lower case, nothing more (RFC 6454)."""
    if value == "*":
        return value
    if not re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", value):
        raise ValidationError(f"{value!r} is not an origin such as https://app.example.com.")
    default_port = {"http": ":80", "https": ":443"}[urlsplit(value).scheme]
    return value.removesuffix(default_port) if value.count(":") > 1 else value


def _prefix(value: str) -> str:
    # Clients resolve '.' and '..' away before they send a path.
    if not re.fullmatch(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+/?", value):
        raise ValidationError("Must be a path such as /example.")
    return value.rstrip("/")


def _redis_url(value: str) -> str:
    if not re.match(r"(rediss?|unix)://.", value):
        raise ValidationError("Must start with redis://, rediss:// or unix://.")
    try:
        _ = urlsplit(value).port
    except ValueError as error:
        raise ValidationError("Has a port that is no number.") from error
    return value


def _limit(value: str) -> str:
    try:
        # Of several limits only the first would hold, and one of none would refuse everybody.
        if ";" in value or "," in value or parse_limit(value).amount < 1:
            raise ValueError
    except ValueError as error:
        raise ValidationError("Not a limit such as '10 per 5 minutes'.") from error
    return value


def _bind(value: str) -> str:
    if not re.fullmatch(r"(unix:.+|(\[[0-9a-fA-F:.]+\]|[^:\s]*):[0-9]{1,5})", value):
        raise ValidationError("Must be HOST:PORT or unix:PATH.")
    return value


def _required_in_production(
    values: dict[str, Any], known: dict[str, list[str]], given: set[str]
) -> list[tuple[str, str]]:
    """The rules that span several variables; those already known to be wrong are left alone."""
    problems = []
    key, has_key_file = values["jwt_secret_key"], values["jwt_private_key_file"] or "JWT_PRIVATE_KEY_FILE" in known
    if not key and "JWT_SECRET_KEY" not in known and not has_key_file:
        problems.append(
            (
                "JWT_SECRET_KEY",
                "Missing. Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'.",
            )
        )
    idle, absolute = values["refresh_idle_days"], values["refresh_absolute_days"]
    if idle and absolute and idle > absolute:
        problems.append(("REFRESH_IDLE_DAYS", "Must not exceed REFRESH_ABSOLUTE_DAYS."))
    if (values["bind"] or "").startswith("unix:") and values["trusted_proxies"] == 0:
        # Nobody has an address then: all callers would share one set of limits, and lock each other out.
        problems.append(("TRUSTED_PROXIES", "Must be at least 1 where BIND is a socket: only the proxy knows callers."))
    if (values["database_url"] or "").startswith("sqlite") and sqlite3.sqlite_version_info < MIN_SQLITE:
        problems.append(("DATABASE_URL", f"Needs SQLite 3.35 or newer; Python has {sqlite3.sqlite_version} here."))
    if values["cookie_samesite"] == "none" and values["cookie_secure"] is False:
        problems.append(("COOKIE_SAMESITE", "Can't be none with COOKIE_SECURE=false: browsers refuse such a cookie."))
    if values["app_env"] != "production":
        return problems
    if values["cookie_secure"] is False:
        problems.append(("COOKIE_SECURE", "Must be true in production: the cookie would go over the wire as it is."))
    missing = {"DATABASE_URL", "CORS_ORIGINS"} - given - known.keys()
    problems += [(name, "Required in production.") for name in missing]
    problems += _weak_secrets(values)
    if "*" in (values["cors_origins"] or ()):
        problems.append(("CORS_ORIGINS", "'*' is refused in production: name the origins."))
    return problems


def _weak_secrets(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Secrets that may not sign for real: weak ones, and those that do other work as well."""
    key, previous = values["jwt_secret_key"], values["jwt_previous_secret_keys"] or ()
    named = [("JWT_SECRET_KEY", key), *(("JWT_PREVIOUS_SECRET_KEYS", secret) for secret in previous)]
    passwords = _passwords(values)
    problems = [(name, text) for name, secret in named for text in _weaknesses(secret)]
    problems += [(name, f"Is the value of {passwords[secret]} too.") for name, secret in named if secret in passwords]
    # Where a private key signs, JWT_SECRET_KEY itself verifies no token: for an overlap it must be named here too.
    if key and key in previous and not values["jwt_private_key_file"]:
        problems.append(("JWT_PREVIOUS_SECRET_KEYS", "Holds the current JWT_SECRET_KEY."))
    if len(set(previous)) < len(previous):
        problems.append(("JWT_PREVIOUS_SECRET_KEYS", "Holds a key twice."))
    return problems


def _passwords(values: dict[str, Any]) -> dict[str, str]:
    """The other secrets that this process can see, and where each is from."""
    database, redis = values["database_url"], values["redis_url"]
    found = {
        os.environ.get("SECRET_KEY"): "SECRET_KEY",
        make_url(database).password if database else None: "the password in DATABASE_URL",
        unquote(urlsplit(redis).password or "") if redis else None: "the password in REDIS_URL",
    }
    return {secret: place for secret, place in found.items() if secret}


def _weaknesses(secret: str | None) -> list[str]:
    """Why a secret may not sign for real: it looks like an example, or repeats a few characters."""
    if not secret:
        return []
    if any(word in secret.lower() for word in EXAMPLE_WORDS):
        return ["Looks like an example value."]
    if len(set(secret)) < MIN_DISTINCT_CHARACTERS:
        return [f"Must have at least {MIN_DISTINCT_CHARACTERS} different characters."]
    return []
