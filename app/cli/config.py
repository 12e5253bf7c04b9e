"""The `config` commands. With settings that are wrong run.py ends every command, this one too, with their list."""

from __future__ import annotations

import click

from app.cli import OperatorGroup
from app.components import components

config = OperatorGroup("config", help="See what the service was told.")


@config.command("check")
def check() -> None:
    """Print all problems of the settings, or the settings."""
    settings = components().settings
    for name, value in settings.masked().items():
        click.echo(f"{name}={value}")
