"""How many connections each worker has, known to all of them: who has more leaves the next one to a sibling.

A client keeps its connection, so a worker that took most of them when they came would do most of the work from then
on, one processor for all of it, while its siblings rest.
"""

from __future__ import annotations

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
