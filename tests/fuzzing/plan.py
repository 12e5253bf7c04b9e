"""What the runner tells the hooks, which Schemathesis loads in a process of its own."""

from __future__ import annotations

from typing import Literal

CALLER = "FUZZ_CALLER"
PASSWORD = "correct horse battery"
Caller = Literal["anonymous", "user", "admin"]
CALLERS: tuple[Caller, ...] = ("anonymous", "user", "admin")
