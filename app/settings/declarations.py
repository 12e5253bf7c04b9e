"""Every setting of the service, declared once: type, accepted values, default and meaning. Must not import Flask.

`.env.example`, `flask config check` and the table in docs/operations.md are generated from these declarations;
after a change run `make settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from app.security.key_files import find_rotation_files
from app.settings import parsers
from app.settings.features import declarations_of, find_feature, parse_features
from app.settings.metadata import DECLARATION, Declaration, Sum, mask_all, mask_url, setting
from app.settings.parsers import Boolean, Choice, Decimal, Integer, comma_separated, parse_rate_limit, parse_text

GENERAL = "General"
SERVER = "Server"
DATABASE = "Database"
TOKENS = "Tokens and sessions"
BROWSERS = "Browsers and proxies"
LIMITS = "Limits"
LOGS = "Logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings with which an application runs. A field's name in upper case is its variable's name."""

    app_env: str = setting(
        GENERAL,
        Choice("development", "testing", "production"),
        "development",
        help="The kind of deployment. Production requires more settings and refuses weak secrets.",
    )
    email_allow_special_domains: bool = setting(
        GENERAL,
        Boolean(),
        False,
        help="Whether new accounts may have addresses in domains that are reserved for special use and receive no mail "
        "from elsewhere: `.test`, `.local`, `.localhost`, `.invalid`, `.onion`, `.arpa`.",
    )
    features: tuple[str, ...] = setting(
        GENERAL,
        parse_features,
        (),
        help="Comma-separated names of Python packages whose features are switched on, such as `shop.orders`. "
        "`flask features list` shows them.",
    )
    bind: str = setting(
        SERVER,
        parsers.parse_bind,
        "127.0.0.1:8000",
        help="The address to listen on: `HOST:PORT` or `unix:PATH`. The image sets `0.0.0.0:8000`.",
    )
    server: str = setting(
        SERVER,
        Choice("gunicorn", "granian"),
        "gunicorn",
        help="The HTTP server that `make run`, `python run.py` and the image start.",
    )
    web_concurrency: int = setting(
        SERVER,
        Integer(1, 64),
        1,
        help="Worker processes. With several, set `REDIS_URL` too, so that they count the general limit together.",
    )
    web_threads: int = setting(
        SERVER,
        Integer(1, 256),
        16,
        help="Threads of each worker, and so the requests that it handles at the same time.",
    )
    max_queue_ms: int = setting(
        SERVER,
        Integer(0, 60_000),
        2000,
        help="Requests that waited longer than this between nginx and the application are answered 503 `overloaded`. "
        "0 switches the check off; it needs `TRUSTED_PROXIES` of at least 1.",
    )
    graceful_timeout_seconds: int = setting(
        SERVER,
        Integer(1, 3600),
        30,
        help="How long requests in flight may continue after SIGTERM. What stops the server by force must wait longer: "
        "`APP_STOP_SECONDS` with compose, `terminationGracePeriodSeconds` with Kubernetes.",
    )
    database_url: str = setting(
        DATABASE,
        parsers.parse_database_url,
        "sqlite:///var/gatepost.db",
        is_required=True,
        mask=mask_url,
        help="`postgresql://USER:PASSWORD@HOST:5432/NAME`, or `sqlite:///PATH`, relative to the project's folder. "
        "PostgreSQL's other forms, with several hosts or as `host=a,b dbname=NAME`, are accepted too.",
    )
    database_password_file: str | None = setting(
        DATABASE,
        parsers.parse_password_file,
        None,
        help="A file with the password for PostgreSQL, instead of one in `DATABASE_URL`. It is read for each new "
        "connection, so a change needs no restart. With several lines, each is tried in turn.",
    )
    db_pool_size: int = setting(
        DATABASE,
        Integer(1, 512),
        Sum("WEB_THREADS", 2),
        help="Connections of each worker. With fewer than `WEB_THREADS`, requests wait for a connection.",
    )
    db_pool_timeout_seconds: float = setting(
        DATABASE,
        Decimal(0.01, 60),
        0.5,
        help="How long a request waits for a free connection before it is answered 503.",
    )
    db_connect_timeout_seconds: float = setting(
        DATABASE, Decimal(0.01, 60), 1.0, help="How long opening a connection may take."
    )
    db_statement_timeout_ms: int = setting(
        DATABASE, Integer(1, 60_000), 1000, help="How long one SQL statement may take; a longer one is answered 503."
    )
    db_lock_timeout_ms: int = setting(
        DATABASE,
        Integer(1, 60_000),
        800,
        help="How long a statement waits for a lock; with SQLite, for another write to end.",
    )
    jwt_secret_key: str = setting(
        TOKENS,
        parsers.parse_secret,
        "",
        mask=mask_all,
        help="Signs the tokens with HS256; 32 bytes or more. Required unless `JWT_PRIVATE_KEY_FILE` is set; "
        "development generates one in `var/`.\n"
        "Make one with: `python3 -c 'import secrets; print(secrets.token_urlsafe(48))'`",
    )
    jwt_previous_secret_keys: tuple[str, ...] = setting(
        TOKENS,
        comma_separated(parsers.parse_secret),
        (),
        mask=mask_all,
        help="Comma-separated keys that only verify tokens, so that users stay signed in when the key is changed.",
    )
    jwt_private_key_file: str | None = setting(
        TOKENS,
        parsers.parse_signing_key_file,
        None,
        help="A PEM file with the private key that signs tokens instead: P-256 for ES256, Ed25519 for EdDSA. Files of "
        "the same name that end in `.next` and `.previous` verify tokens too.\n"
        "Make one with: `flask --app run keys generate FILE`",
    )
    jwt_verification_key_files: tuple[str, ...] = setting(
        TOKENS,
        comma_separated(parsers.parse_key_file),
        (),
        help="Comma-separated PEM files of other keys, private or public, that verify tokens and are published.",
    )
    jwt_issuer: str = setting(
        TOKENS, parse_text, "gatepost", help="The claim `iss` of every token; tokens with another one are refused."
    )
    jwt_audience: str = setting(
        TOKENS, parse_text, "gatepost", help="The claim `aud` of every token; tokens with another one are refused."
    )
    access_token_minutes: int = setting(TOKENS, Integer(1, 1440), 15, help="Lifetime of an access token.")
    refresh_idle_days: int = setting(
        TOKENS, Integer(1, 3650), 7, help="A session ends this long after its last refresh."
    )
    refresh_absolute_days: int = setting(
        TOKENS, Integer(1, 3650), 30, help="A session ends at the latest this long after its login."
    )
    refresh_grace_seconds: int = setting(
        TOKENS,
        Integer(0, 300),
        10,
        help="How long a replaced refresh token is still accepted, for tabs that refresh at the same time.",
    )
    max_sessions_per_user: int = setting(
        TOKENS,
        Integer(1, 10_000),
        20,
        help="Live sessions that a user may have. The next login ends the session that was idle longest.",
    )
    cors_origins: tuple[str, ...] = setting(
        BROWSERS,
        comma_separated(parsers.parse_origin),
        (),
        is_required=True,
        help="Comma-separated origins whose pages may call the API. In development all origins on this machine may "
        "call it too, with any port.",
    )
    cors_allow_headers: tuple[str, ...] = setting(
        BROWSERS,
        comma_separated(parsers.parse_header_name),
        (),
        help="Comma-separated names of further request headers that these pages may send, such as `X-Client-Version`.",
    )
    cookie_name: str = setting(
        BROWSERS,
        parsers.parse_cookie_name,
        "gatepost_refresh",
        help="The name of the refresh token's cookie, with the prefix `__Secure-` over TLS. Services on the same host "
        "need different names.",
    )
    cookie_secure: bool = setting(
        BROWSERS,
        Boolean(),
        True,
        help="Whether the refresh token's cookie has the attribute `Secure`. Over plain HTTP, browsers keep such a "
        "cookie only on localhost, and Safari not even there. Production requires it.",
    )
    cookie_samesite: str = setting(
        BROWSERS,
        Choice("strict", "lax", "none"),
        "strict",
        help="The attribute `SameSite` of that cookie. A front end on another site needs `none`.",
    )
    service_prefix: str = setting(
        BROWSERS, parsers.parse_prefix, "", help="The path below which all routes are served, such as `/example`."
    )
    trusted_proxies: int = setting(
        BROWSERS,
        Integer(0, 10),
        0,
        help="Number of proxies in front of the application, whose `X-Forwarded-*` headers are used; 1 behind the "
        "project's nginx. With 0 these headers are ignored.",
    )
    docs_enabled: bool = setting(
        BROWSERS,
        Boolean(),
        True,
        help="Whether `/docs` serves the page to read and try the API. `/openapi.json` is served either way.",
    )
    redis_url: str | None = setting(
        LIMITS,
        parsers.parse_redis_url,
        None,
        mask=mask_url,
        help="The Redis server that counts the limits of all workers and replicas, such as `redis://localhost:6379/0`.",
    )
    ratelimit_enabled: bool = setting(
        LIMITS, Boolean(), True, help="Whether requests are limited. Disable it only for tests."
    )
    ratelimit_login_account: str = setting(
        LIMITS, parse_rate_limit, "10 per 5 minutes", help="Failed logins for one account from one address."
    )
    ratelimit_login_address: str = setting(
        LIMITS, parse_rate_limit, "100 per 5 minutes", help="Failed logins from one address, for any account."
    )
    ratelimit_register: str = setting(LIMITS, parse_rate_limit, "20 per hour", help="Registrations from one address.")
    ratelimit_mail: str = setting(LIMITS, parse_rate_limit, "5 per hour", help="Mails sent for one account.")
    ratelimit_default: str = setting(
        LIMITS, parse_rate_limit, "600 per minute", help="All other requests from one address."
    )
    max_body_bytes: int = setting(
        LIMITS,
        Integer(1024, 100 * 1024 * 1024),
        1_048_576,
        help="Size of the largest accepted request body. nginx reads the same variable.",
    )
    log_level: str = setting(
        LOGS,
        Choice("DEBUG", "INFO", "WARNING", "ERROR"),
        "INFO",
        help="The lowest level that is logged. Requests are logged at INFO.",
    )
    log_format: str = setting(
        LOGS, Choice("json", "text"), "text", production_default="json", help="The format of each line."
    )
    log_file: str | None = setting(
        LOGS,
        parsers.parse_log_file,
        None,
        help="A file to log to instead of standard output. All workers write to it, and it is rotated at 10 MB, "
        "so its folder must be writable.",
    )

    # The settings of features, by the class that declares them.
    of_features: Mapping[type, Any] = field(default_factory=dict)

    @property
    def is_production(self) -> bool:
        """Whether the rules for production apply."""
        return self.app_env == "production"

    @property
    def allows_local_origins(self) -> bool:
        """Whether pages of every origin on this machine may call the API."""
        return self.app_env == "development"

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is SQLite rather than PostgreSQL."""
        return self.database_url.startswith("sqlite")

    @property
    def signing_key_files(self) -> tuple[str, ...]:
        """The file of the private key that signs, if there is one, and those of its next and previous key."""
        path = self.jwt_private_key_file
        return (path, *find_rotation_files(path)) if path else ()

    def masked(self) -> dict[str, str]:
        """Return every variable with its effective value as text, without secrets."""
        shown = {name.upper(): one.show(getattr(self, name)) for name, one in DECLARATIONS.items()}
        for feature in map(find_feature, self.features):
            own = self.of_features.get(feature.settings or object)
            shown |= {variable: one.show(getattr(own, name)) for variable, name, one in declarations_of(feature)}
        return shown


# By the name of the field, in the order above.
DECLARATIONS: dict[str, Declaration] = {
    one.name: one.metadata[DECLARATION] for one in fields(Settings) if DECLARATION in one.metadata
}
