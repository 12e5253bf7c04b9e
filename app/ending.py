"""How a worker is told to end: by a signal of its master, after a mark that the master alone can set.

Must not know connections; what is left to do for them is for those who have them.
"""

from __future__ import annotations

import mmap
import signal
import time
from typing import Any, ClassVar

from gunicorn.workers.base import Worker

from app import drain
from app.watching import WatchingWorker


class EndingWorker(WatchingWorker):
    """gunicorn's threaded worker, which loses no signal and is not confused by another's."""

    # How long a SIGTERM that is not the master's may be one that the master got as well.
    stray_signal_seconds: ClassVar[float] = 1.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Memory that master and worker share: the mark that this worker is to end.
        self.dismissal = mmap.mmap(-1, 1)
        self.stray_signal_at: float | None = None

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)

    def dismiss(self) -> None:
        """Mark this worker, in the master, as one that is to end."""
        self.dismissal[0] = 1

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop if the master says so. Another may have told all processes, and the master drains first."""
        if self.dismissal[0]:
            super().handle_exit(sig, frame)
        else:
            self.stray_signal_at = time.monotonic()

    def murder_pending(self) -> None:
        """Close what has waited too long; stop, if it shows that a signal was meant for this worker alone."""
        super().murder_pending()
        since = self.stray_signal_at
        if since is not None and time.monotonic() - since >= self.stray_signal_seconds and not drain.is_draining():
            self.alive = False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once, by an exception in the main loop, wherever it is.

        gunicorn's shuts the threads' pool down here first: in the midst of starting a thread, which holds the pool's
        lock, that would wait for itself.
        """
        ignore_quitting()
        Worker.handle_quit(self, sig, frame)

    def end_threads(self) -> None:
        """Tell all threads to end, in full: one that is not told would keep the process."""
        ignore_quitting()
        super().end_threads()


def ignore_quitting() -> None:
    """Let no further signal to end at once cut the end short: Ctrl-C and the master send one each."""
    for number in (signal.SIGQUIT, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
