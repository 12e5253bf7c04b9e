"""The objects that create_app() creates once per application, with typed access to them; and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask.sansio.app import App
    from sqlalchemy import Engine

    from app.api.access import Authenticator
    from app.api.endpoint import Endpoint
    from app.api.errors import Problem
    from app.auth.tokens import Claims
    from app.database.executor import Executor
    from app.features import Exporter, Feature
    from app.maintenance.service import MaintenanceCache
    from app.security.keyed_hashes import KeyedHasher
    from app.security.rate_limits import RateLimits
    from app.security.signing_keys import Keyring
    from app.settings import Settings

EXTENSION = "gatepost"
Service = TypeVar("Service")
# Returns the current time as an aware datetime in UTC. Tests replace it.
clock: Callable[[], datetime] = partial(datetime.now, UTC)


@dataclass
class Components:
    """The shared objects of one application. The init_app() of the package concerned sets each of them."""

    settings: Settings
    keyed_hasher: KeyedHasher
    rate_limits: RateLimits
    # The built-in features, then those of FEATURES.
    features: tuple[Feature, ...] = ()
    # The tables of these features and of the core.
    tables: frozenset[str] = frozenset()
    # What features use of the world outside, by type: see `service`.
    services: dict[type, Any] = field(default_factory=dict)
    # By member of the export of a user.
    exporters: dict[str, Exporter] = field(default_factory=dict)
    # Every problem of this application by its code, ordered by status and code.
    problems: Mapping[str, type[Problem]] = field(default_factory=dict)
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


def provide(app: App, kind: type[Service], make: Callable[[], Service]) -> None:
    """Set the service of this type to what `make` returns, unless create_app() was given one, such as a test's."""
    services = components_of(app).services
    if kind not in services:
        services[kind] = make()


def service(kind: type[Service]) -> Service:
    """Return the service of this type: the one given to create_app(), or the one that its feature provides.

    Raises LookupError if there is none.
    """
    found: Service | None = components().services.get(kind)
    if found is None:
        raise LookupError(f"No feature provides a {kind.__qualname__}, and create_app() was not given one.")
    return found


def feature_settings(kind: type[Service]) -> Service:
    """Return the settings that a feature declares as this class. Raises LookupError if the feature is off."""
    found: Service | None = components().settings.of_features.get(kind)
    if found is None:
        raise LookupError(f"The feature with the settings {kind.__qualname__} is not switched on.")
    return found


def utc_now() -> datetime:
    """Return the current time as an aware datetime in UTC, with microseconds."""
    return clock()
