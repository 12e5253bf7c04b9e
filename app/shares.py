"""What the workers know of each other: how many connections each has, and whether one of them is in a storm.

A client keeps its connection, so a worker that took most of them when they came would do most of the work from then
on, one processor for all of it, while its siblings rest. And a storm is all of the service's: one whose clients
happen to be few would else go on to let each of them wait.
"""

from __future__ import annotations

import math
import mmap
import struct

# More take no part: to look at many costs more than it brings.
MAX_WORKERS = 64
# So much more than a sibling is no reason to wait for it.
MARGIN = 4
_ABSENT = -1
_SIZE = struct.calcsize("i")
# Anonymous and shared by all that are forked from here.
_shared = memoryview(mmap.mmap(-1, MAX_WORKERS * _SIZE)).cast("i")
_shared[:] = memoryview(struct.pack("i", _ABSENT) * MAX_WORKERS).cast("i")

# When there was last a storm, by the monotonic clock, which all processes of a machine share.
_storm = memoryview(mmap.mmap(-1, struct.calcsize("d"))).cast("d")
_storm[0] = -math.inf


def announce(slot: int, connections: int) -> None:
    """Tell how many connections the worker of this slot has."""
    if slot < MAX_WORKERS:
        _shared[slot] = connections


def withdraw(slot: int) -> None:
    """Tell that it takes no more."""
    announce(slot, _ABSENT)


def is_ahead(connections: int) -> bool:
    """Whether a worker with so many has notably more than one that takes them too."""
    return connections > MARGIN and any(_ABSENT < count < connections - MARGIN for count in _shared)


def announce_storm(now: float) -> None:
    """Tell all workers that at this moment, by the monotonic clock, more is asked of one than it can serve."""
    _storm[0] = now


def last_storm() -> float:
    """Return when a worker last said so, by the monotonic clock; minus infinity if none ever did."""
    return _storm[0]
