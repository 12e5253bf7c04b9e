"""Giving memory back that the C library keeps for a thread: glibc trims a thread's heap too late, or never.

Elsewhere (musl, macOS) nothing is done, and nothing needs to be. What the environment says in MALLOC_TRIM_THRESHOLD_
and MALLOC_MMAP_THRESHOLD_ holds until the first call alone.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

# Of mallopt(3): what free() leaves at the end of a heap, and from what size a block is mapped by itself.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# The most that it takes. What is mapped by itself is unmapped when it is freed: thousands of page faults each time.
LARGEST_BLOCK = 32 * 2**20
KEPT_BYTES = 64 * 2**20
# Freeing so much makes free() look at the end of the heap.
NOTABLE_BYTES = 100_000


def trim() -> bool:
    """Give back what the calling thread's heap has free at its end; return whether this C library can."""
    library = _glibc()
    if library is None:
        return False
    library.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
    library.mallopt(M_TRIM_THRESHOLD, 0)
    try:
        library.free(library.malloc(NOTABLE_BYTES))
    finally:
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    return True


@cache
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    return library
