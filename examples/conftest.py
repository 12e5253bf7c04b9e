"""Switches the examples on for their tests, whose fixtures are those of the plug-in."""

from __future__ import annotations

from pathlib import Path

from gatepost.testing.features import switch_on

switch_on(f"examples.{path.parent.name}" for path in sorted(Path(__file__).parent.glob("*/__init__.py")))
