"""The errors of reading the settings. Must not import Flask."""

from __future__ import annotations


class InvalidValue(Exception):
    """The value of one setting is not accepted; the text gives the reason and never the value of a secret."""


class ConfigurationError(Exception):
    """The settings are invalid. The text lists every problem; `problems` has them by the variable's name."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        self.problems = problems
        count = "1 setting needs" if len(problems) == 1 else f"{len(problems)} settings need"
        lines = [f"  {name}: {' '.join(texts)}" for name, texts in sorted(problems.items())]
        super().__init__("\n".join([f"Invalid configuration: {count} to be fixed.", *lines]))
