"""What the tests of the settings share: an environment with chosen variables, and loading the settings from it."""

from __future__ import annotations

import os

import pytest

from app.settings import ConfigurationError, Settings, load_settings
from app.settings.declarations import DECLARATIONS

KEY = "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge"
OTHER_KEY = "Zx8Cv7Bn6Mq5We4Rt3Yu2Io1Pa0Sd9Fg8Hj7"
PRODUCTION = {
    "APP_ENV": "production",
    "DATABASE_URL": "postgresql://gatepost:pw@db/gatepost",
    "JWT_SECRET_KEY": KEY,
    "CORS_ORIGINS": "https://app.example.com",
}
NAMES = {field.upper() for field in DECLARATIONS}


def load(**environ: str) -> Settings:
    """Return the settings with APP_ENV=testing and these variables."""
    return load_in("testing", JWT_SECRET_KEY=environ.pop("JWT_SECRET_KEY", KEY), **environ)


def load_in(app_env: str, **environ: str) -> Settings:
    """Return the settings with this APP_ENV and these variables."""
    os.environ.update(environ | {"APP_ENV": app_env})
    return load_settings()


def problems(**environ: str) -> dict[str, list[str]]:
    """Return the problems of these variables, by default with APP_ENV=testing and a valid key."""
    os.environ.update({"APP_ENV": "testing", "JWT_SECRET_KEY": KEY} | environ)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    for name in caught.value.problems:
        assert f"  {name}: " in str(caught.value)
    return caught.value.problems


def production(**changes: str) -> dict[str, list[str]]:
    """Return the problems of a valid production environment with these changes."""
    return problems(**(PRODUCTION | changes))
