"""Runs the command: `python -m gatepost.scaffold --project NAME`."""

from gatepost.scaffold import scaffold

scaffold(prog_name="python -m gatepost.scaffold")
