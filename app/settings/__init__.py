"""The settings: read from the environment once, with every problem in one error. Must not import Flask.

They are declared in declarations.py, and rules for several of them together are in rules.py.
"""

from __future__ import annotations

from typing import Any

from app.settings import rules
from app.settings.declarations import DECLARATIONS, Settings
from app.settings.environment import (
    ROOT,
    ConfigurationError,
    InvalidValue,
    read_development_files,
    read_variable,
)
from app.settings.features import read_feature_settings

__all__ = ["ROOT", "ConfigurationError", "Settings", "load_settings"]


def load_settings() -> Settings:
    """Return the settings of the process environment; in development also of `.env`, which has less priority.

    Raises ConfigurationError that names every invalid or missing variable.
    """
    read_development_files()
    values: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for field, declaration in DECLARATIONS.items():
        name = field.upper()
        try:
            text = read_variable(name)
            values[field] = declaration.parser(text) if text else declaration.default_value(values)
        except InvalidValue as error:
            problems[name] = [str(error)]
    of_features = read_feature_settings(values, problems)
    for name, text in [*rules.find_problems(values, problems)]:
        problems.setdefault(name, []).append(text)
    if problems:
        raise ConfigurationError(problems)
    return Settings(**values, of_features=of_features)
