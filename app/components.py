"""The objects that create_app() creates once per application, with typed access to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.sansio.app import App
    from sqlalchemy import Engine

    from app.api.access import Authenticator
    from app.api.endpoint import Endpoint
    from app.auth.tokens import Claims
    from app.database.executor import Executor
    from app.maintenance.service import MaintenanceCache
    from app.security.keyed_hashes import KeyedHasher
    from app.security.rate_limits import RateLimits
    from app.security.signing_keys import Keyring
    from app.settings import Settings

EXTENSION = "gatepost"


@dataclass
class Components:
    """The shared objects of one application. The init_app() of the package concerned sets each of them."""

    settings: Settings
    keyed_hasher: KeyedHasher
    rate_limits: RateLimits
    # The key is the name of the Flask endpoint, such as "posts.create_post".
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    # Runs every statement of the features.
    executor: Executor = field(init=False)
    # Connections for the readiness check only.
    probe_engine: Engine = field(init=False)
    # The readiness check logs its result for the database when that changes.
    logged_database_state: str = "ok"
    keyring: Keyring = field(init=False)
    verify_access_token: Callable[[str], Claims] = field(init=False)
    authenticate: Authenticator = field(init=False)
    maintenance: MaintenanceCache = field(init=False)
    # The OpenAPI document as JSON and its entity tag, generated at the first request for it.
    openapi_document: tuple[bytes, str] | None = None


def components_of(app: App) -> Components:
    """Return the components of an application."""
    found: Components = app.extensions[EXTENSION]
    return found


def components() -> Components:
    """Return the components of the current application; raises RuntimeError outside an application context."""
    found: Components = current_app.extensions[EXTENSION]
    return found
