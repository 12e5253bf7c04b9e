"""A small feature from outside of the core, for the tests of how features are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from app.api.access import SIGNED_IN, Caller
from app.api.errors import Problem
from app.api.fields import Identifier, InputSchema, OutputSchema, Text
from app.api.responses import created
from app.api.routing import Api
from app.components import feature_settings, service, utc_now
from app.database import db, fetch_all
from app.features import Feature
from tests.features.notes.models import Note
from tests.features.notes.settings import NoteSettings, Spelling


class TooManyNotes(Problem):
    """The user has as many notes as NOTES_MAXIMUM allows."""

    code, status = "too_many_notes", 409
    detail = "You have as many notes as you may have."
    advice = "Offer to delete one."


class NewNote(InputSchema):
    """A note to create."""

    text = Text(1, 200, required=True, metadata={"example": "Buy milk"})


class NoteView(OutputSchema):
    """A note."""

    id = Identifier()
    text = Text(1, 200)


notes = Api("notes", __name__)


@notes.operation(
    "POST", "/notes", access=SIGNED_IN, body=NewNote(), answer=created(NoteView()), problems=(TooManyNotes,)
)
def create_note(caller: Caller, body: dict[str, Any]) -> Any:
    """Create a note."""
    from app.api.responses import Created

    if len(fetch_all(db.select(Note.id).where(Note.user_id == caller.id))) >= feature_settings(NoteSettings).maximum:
        raise TooManyNotes
    note = Note(user_id=caller.id, text=service(Spelling).correct(body["text"]), created_at=utc_now())
    db.session.add(note)
    db.session.flush()
    return Created(note, f"/notes/{note.id}")


def export(user_id: int) -> Any:
    """Yield the notes of a user."""
    return (row._asdict() for row in fetch_all(db.select(Note.id, Note.text).where(Note.user_id == user_id)))


commands = AppGroup("notes", help="Notes.")


@commands.command("count")
def count_notes() -> None:
    """Print the number of notes."""
    click.echo(len(fetch_all(db.select(Note.id))))


feature = Feature(
    name="notes",
    api=(notes,),
    tables=(Note,),
    migrations=Path(__file__).parent / "migrations",
    exports={"notes": export},
    problems=(TooManyNotes,),
    commands=(commands,),
    settings=NoteSettings,
    init_app=Spelling.init_app,
)
