"""The `config check` command: prints the settings in force. With invalid ones, run.py prints the problems instead."""

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
