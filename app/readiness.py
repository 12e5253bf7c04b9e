"""Which connections have something to read: a question that many threads may ask the kernel at once.

Each connection is told of once, to one thread, until it is watched again (EPOLLONESHOT). So the thread that has
answered a request can take up the next one of any connection itself, and no other need hand it over.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys

if sys.platform == "linux":

    class _Kernel:
        """epoll."""

        def __init__(self) -> None:
            self._poller = select.epoll()
            self._once = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
            self._ends = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

        def add_lasting(self, fd: int) -> None:
            self._poller.register(fd, select.EPOLLIN)

        def add(self, fd: int) -> None:
            self._poller.register(fd, self._once)

        def again(self, fd: int) -> None:
            self._poller.modify(fd, self._once)

        def remove(self, fd: int) -> None:
            self._poller.unregister(fd)

        def wait(self, seconds: float | None, count: int) -> list[tuple[int, bool]]:
            return [(fd, bool(events & self._ends)) for fd, events in self._poller.poll(seconds, count)]

else:

    class _Kernel:
        """kqueue: macOS and the BSDs."""

        def __init__(self) -> None:
            self._queue = select.kqueue()

        def _change(self, fd: int, flags: int) -> None:
            self._queue.control([select.kevent(fd, select.KQ_FILTER_READ, flags)], 0)

        def add_lasting(self, fd: int) -> None:
            self._change(fd, select.KQ_EV_ADD)

        def add(self, fd: int) -> None:
            self._change(fd, select.KQ_EV_ADD | select.KQ_EV_ONESHOT)

        again = add

        def remove(self, fd: int) -> None:
            self._change(fd, select.KQ_EV_DELETE)

        def wait(self, seconds: float | None, count: int) -> list[tuple[int, bool]]:
            events = self._queue.control(None, count, seconds)
            return [(int(event.ident), bool(event.flags & select.KQ_EV_EOF)) for event in events]


class Readiness:
    """File descriptors that threads wait for; every method may be called by any thread."""

    def __init__(self) -> None:
        self._kernel = _Kernel()
        self._waker, self._woken = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._woken, False)
        self._kernel.add_lasting(self._waker)
        self._is_over = False

    def watch(self, fd: int) -> None:
        """Tell of this new descriptor once, when it can be read."""
        self._kernel.add(fd)

    def watch_again(self, fd: int) -> None:
        """Tell of it once more. Raises OSError when it has been closed."""
        self._kernel.again(fd)

    def forget(self, fd: int) -> None:
        """Tell no more of this descriptor, which is still open."""
        with contextlib.suppress(OSError):
            self._kernel.remove(fd)

    def wait(self) -> int | None:
        """Return the next descriptor that can be read, however long it takes; None after a wake-up."""
        for fd, _ in self._kernel.wait(None, 1):
            if fd != self._waker:
                return fd
            self._sleep_again()
        return None

    def look(self, count: int) -> list[tuple[int, bool]]:
        """Return up to `count` descriptors that can be read now, and of each whether its other side has ended."""
        found = self._kernel.wait(0, count)
        if any(fd == self._waker for fd, _ in found):
            self._sleep_again()
        return [(fd, has_ended) for fd, has_ended in found if fd != self._waker]

    def wake(self) -> None:
        """Let a thread that waits return, at least one for each call."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b"\0")

    def wake_all_for_good(self) -> None:
        """Let every thread return, from now on at once."""
        self._is_over = True
        self.wake()

    def _sleep_again(self) -> None:
        # One byte for each call, so that two wake two threads. What is left unread at the end wakes the next one too.
        with contextlib.suppress(BlockingIOError):
            os.read(self._waker, 0 if self._is_over else 1)
        if self._is_over:
            self.wake()
