"""The `config` commands. With invalid settings they are not reached: run.py then prints the problems and exits."""

from __future__ import annotations

import click

from app.cli import OperatorGroup
from app.components import components

config = OperatorGroup("config", help="Show the settings.")


@config.command("check")
def check() -> None:
    """Print the settings with secrets masked, or all problems."""
    for name, value in components().settings.masked().items():
        click.echo(f"{name}={value}")
