"""Whether this service is about to stop, known to all its processes at once.

Owns one byte of memory that forked processes share. Must not import gunicorn: probes ask outside of it too.
"""

from __future__ import annotations

import mmap

# Anonymous and shared: what the master writes after the fork, every worker reads.
_shared = mmap.mmap(-1, 1)


def is_draining() -> bool:
    """Whether load balancers should send requests elsewhere; always False outside of gunicorn."""
    return _shared[0] != 0


def begin() -> None:
    """Tell all processes that share this memory that the end has begun."""
    _shared[0] = 1
