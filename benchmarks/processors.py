"""Whose time on a processor it was: that of the threads that hash passwords, or of all others (Linux)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.security.passwords import THREAD_NAME


@dataclass(frozen=True, slots=True)
class Processors:
    """Seconds on a processor, since the threads began: of those that hash, and of all."""

    hashing: float
    everything: float

    def share_since(self, before: Processors) -> float:
        """Return the part that hashing had of the time since `before`, 0 where nothing is known."""
        everything = self.everything - before.everything
        return max(self.hashing - before.hashing, 0.0) / everything if everything > 0 else 0.0


def processors_of(pids: Iterable[int]) -> Processors:
    """Return what the threads of these processes have had; nothing where the system does not say by thread."""
    hashing = everything = 0.0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            try:
                seconds, name = int((thread / "schedstat").read_text().split()[0]) / 1e9, (thread / "comm").read_text()
            except OSError:
                continue  # It has ended by now.
            everything += seconds
            hashing += seconds if name.strip() == THREAD_NAME else 0.0
    return Processors(hashing, everything)
