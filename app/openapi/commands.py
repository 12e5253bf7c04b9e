"""The `openapi` commands: write the document to a file, from which clients are generated."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from flask import current_app

from app.cli import OperatorGroup
from app.openapi.document import make_document
from app.settings import ROOT

FILE = ROOT / "docs" / "openapi.json"
# With one value per line, so that a diff shows each change.
FORMAT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE

openapi = OperatorGroup("openapi", help="Write the OpenAPI document.")


@openapi.command("write")
@click.argument("path", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=FILE)
def write(path: Path) -> None:
    """Write the document to PATH, by default docs/openapi.json."""
    try:
        path.write_bytes(orjson.dumps(make_document(current_app), option=FORMAT))
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}.") from error
    click.echo(f"Wrote {path}.")
