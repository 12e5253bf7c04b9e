"""What is fuzzed: the callers, the number of requests and the seed. Shared by the runner and by Schemathesis' hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# The environment variable with the caller of a run: Schemathesis loads the hooks in a process of its own.
CALLER = "FUZZ_CALLER"
PASSWORD = "correct horse battery"
Caller = Literal["anonymous", "user", "admin"]
CALLERS: tuple[Caller, ...] = ("anonymous", "user", "admin")
PHASES = "examples,coverage,fuzzing,stateful"


@dataclass(frozen=True)
class Share:
    """The size of a run: the number of examples per operation and of sequences of operations, and their seed."""

    examples: int
    seed: int
    phases: str = PHASES


SEED = 20260131
# `make fuzz`: each caller on each database, more than 20,000 requests together. With --long more than 100,000.
FULL_SHARE = Share(examples=58, seed=SEED)
LONG_EXAMPLES = 500
# `make test`: these three runs, more than 5,000 requests together. Most requests are from the coverage phase, which
# tests the limits of each field, and whose size does not depend on the number of examples. The other phases take most
# of the time: random requests and sequences are sent by callers that have a session.
TEST_EXAMPLES = 4
TEST_PHASES: Mapping[Caller, str] = {
    "anonymous": "examples,coverage",
    "user": PHASES,
    "admin": "examples,coverage,fuzzing",
}
TEST_CALLERS: Mapping[str, tuple[Caller, ...]] = {"sqlite": ("anonymous", "user"), "postgresql": ("admin",)}
MIN_TEST_CASES_PER_RUN = 5_000 // 3 + 1


def share_of(caller: Caller) -> Share:
    """Return the size of the run of a caller in `make test`."""
    return Share(examples=TEST_EXAMPLES, seed=SEED, phases=TEST_PHASES[caller])
