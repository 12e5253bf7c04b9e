"""What the tests of Gatepost take from the plug-in `gatepost.testing`, which has the fixtures and the users."""

from __future__ import annotations

from pathlib import Path

from gatepost.testing.applications import (
    BACKENDS,
    PATIENT,
    Kept,
    NewDatabase,
    empty,
    migrate,
    migrated_app,
    settings_for,
)
from gatepost.testing.cast import (
    API,
    PASSWORD,
    PRODUCTION_HASHER,
    QUICK,
    Cast,
    Clock,
    Person,
    password_hash,
    problem,
    quick_password_hash,
)
from gatepost.testing.races import GRACE_SECONDS

__all__ = [
    "API",
    "BACKENDS",
    "GRACE_SECONDS",
    "PASSWORD",
    "PATIENT",
    "PRODUCTION_HASHER",
    "QUICK",
    "ROOT",
    "Cast",
    "Clock",
    "Kept",
    "NewDatabase",
    "Person",
    "empty",
    "migrate",
    "migrated_app",
    "password_hash",
    "problem",
    "quick_password_hash",
    "settings_for",
]

pytest_plugins = ["tests.support.distribution"]
ROOT = Path(__file__).resolve().parents[1]
