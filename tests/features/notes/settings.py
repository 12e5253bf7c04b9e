"""The settings of notes, and a service that applications may replace."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask

from app.components import provide
from app.settings import Settings
from app.settings.metadata import mask_all, setting
from app.settings.parsers import Integer, parse_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSettings:
    """NOTES_MAXIMUM and NOTES_KEY."""

    maximum: int = setting("Notes", Integer(1, 1000), 3, help="Notes that a user may have.")
    key: str = setting("Notes", parse_secret, "", mask=mask_all, is_required=True, help="A secret.")


class Spelling:
    """Corrects texts."""

    def correct(self, text: str) -> str:
        """Return the corrected text."""
        return text.replace("teh", "the")

    @staticmethod
    def init_app(app: Flask, settings: Settings) -> None:
        """Provide the service."""
        provide(app, Spelling, Spelling)
