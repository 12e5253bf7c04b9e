"""The `openapi` commands: the document as a file, for those who generate code from it."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from flask import current_app

from app.cli import OperatorGroup
from app.openapi.document import make_document
from app.settings import ROOT

FILE = ROOT / "docs" / "openapi.json"

openapi = OperatorGroup("openapi", help="Write the OpenAPI document.")


@openapi.command("write")
@click.argument("path", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=FILE)
def write(path: Path) -> None:
    """Write the document to PATH, by default docs/openapi.json."""
    try:
        path.write_bytes(as_file(make_document(current_app)))
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}.") from error
    click.echo(f"Wrote {path}.")


def as_file(document: object) -> bytes:
    """Return the document as it is committed: a line for each value, so that changes can be read."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
