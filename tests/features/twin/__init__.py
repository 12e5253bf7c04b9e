"""A feature with the name of another one."""

from __future__ import annotations

from app.features import Feature

feature = Feature(name="notes")
