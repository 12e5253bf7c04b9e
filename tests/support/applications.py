"""Applications with other settings than the shared one, for as long as a test needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.components import components_of
from app.database import db
from app.settings import Settings
from tests.conftest import settings_for

NewClient = Callable[..., FlaskClient]


@contextmanager
def application(settings: Settings) -> Iterator[Flask]:
    """Make an application with these settings, and close its connections at the end."""
    app = create_app(settings)
    try:
        yield app
    finally:
        with app.app_context():
            db.engine.dispose()
            components_of(app).probe_engine.dispose()


def replica(database_url: str, **changes: Any) -> AbstractContextManager[Flask]:
    """Make an application with changed settings on a database that it shares."""
    return application(settings_for(database_url, **changes))


@contextmanager
def clients(settings: Settings, **options: Any) -> Iterator[NewClient]:
    """Return a function that makes a client of an application with changes of `settings`.

    `options` are those of Flask's test client.
    """
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(application(replace(settings, **changes))).test_client(**options)
