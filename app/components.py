"""Typed access to the objects that create_app() builds once for an application and that all its code shares."""

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
    """The shared objects of one application. Each is set by the init_app() of the package that owns it."""

    settings: Settings
    keyed_hasher: KeyedHasher
    rate_limits: RateLimits
    # By Flask's name of the endpoint, such as "posts.create_post".
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    # Runs every statement of the features.
    executor: Executor = field(init=False)
    # Connections of the readiness probe alone.
    probe_engine: Engine = field(init=False)
    keyring: Keyring = field(init=False)
    verify_access_token: Callable[[str], Claims] = field(init=False)
    authenticate: Authenticator = field(init=False)
    maintenance: MaintenanceCache = field(init=False)
    # The OpenAPI document as JSON and its entity tag, once it has been asked for.
    openapi_document: tuple[bytes, str] | None = None


def components_of(app: App) -> Components:
    """Return the components of an application."""
    found: Components = app.extensions[EXTENSION]
    return found


def components() -> Components:
    """Return the components of the current application; raises RuntimeError outside of an application context."""
    found: Components = current_app.extensions[EXTENSION]
    return found
