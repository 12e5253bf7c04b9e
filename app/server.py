"""The gunicorn worker: threads that no idle client can hold, refusals as problems, a clean end.

Owns connections from accept to close, and gunicorn's log. Must not know any feature.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import struct
import sys
import time
from typing import Any, ClassVar

from gunicorn import util
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.gthread import TConn

from app import drain, sending, shares
from app.api.errors import Problem
from app.ending import EndingWorker
from app.observability import logs
from app.security import passwords
from app.serve import startup_settings
from app.wire import StrictParser

# The errors of accept() that pass when other connections have closed.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Those of a connection whose client has left.
GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})
OBJECTS_BEFORE_COLLECTION = 2000


def _settle(cfg: Config) -> None:
    """Make the server's options plain attributes: each is looked up dozens of times a request, by three calls."""
    vars(cfg).update({name: option.get() for name, option in cfg.settings.items() if not hasattr(type(cfg), name)})


class ServerLogger(Logger):
    """Sends gunicorn's own lines where the application's go, in the same form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        if not logging.getLogger("gatepost").handlers:
            logs.configure(startup_settings())
        self.error_log = logging.getLogger("gatepost.server")


class Connection(TConn):
    """A client's connection, with our parser and a bound on writes that make no progress."""

    write_stall_seconds: ClassVar[int] = 30

    def __init__(self, worker: ProblemWorker, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(worker.cfg, sock, client, server)
        self.worker = worker
        self.parser = StrictParser(worker.cfg, sock, client)
        self.fd = sock.fileno()
        # The connections that it rests among; whoever removes it from there has it.
        self.home: dict[Any, bool] = worker.silent
        self.discarded = 0
        # Reads do not wait unless they say so; only a write may, and not for long.
        sock.setblocking(True)
        # The kernel's timeout counts from the last progress; Python's would bound a whole response.
        stall = struct.pack("ll", self.write_stall_seconds, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.worker.linger(self)
        else:
            util.close(self.sock)


class ProblemWorker(EndingWorker):
    """gunicorn's threaded worker, without its habits that an application can't mend."""

    # How long a connection may be open before its first byte.
    first_byte_seconds: ClassVar[float] = 15.0
    accepts_at_once: ClassVar[int] = 16
    # How long a new connection is left to siblings that have fewer; and for how long none is, if they let it be.
    stand_back_seconds: ClassVar[float] = 0.01
    unaided_seconds: ClassVar[float] = 0.1
    # The number that gunicorn.conf.py gives it, which no other living worker has.
    slot: int
    _accepting: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_closed = False
        self.stands_back_until = self.unaided_until = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise RuntimeError("TLS ends at the proxy: remove certfile and keyfile.")
        if cfg.reload:
            raise RuntimeError("--reload works on the command line alone.")
        super().check_config(cfg, log)

    def init_process(self) -> None:
        _settle(self.cfg)
        sending.take_over(self.cfg)
        # How long a busy thread keeps the interpreter from the others, the main loop among them.
        sys.setswitchinterval(0.001)
        # A list of posts makes several hundred objects, all gone at its end: to look for cycles among them after each
        # 700, as Python does, costs it a tenth of its time.
        gc.set_threshold(OBJECTS_BEFORE_COLLECTION, *gc.get_threshold()[1:])
        super().init_process()

    def notify(self) -> None:
        """Show the master that the main loop turns, as it does each second at least."""
        super().notify()
        passwords.rest()

    # Opening

    def accept(self, listener: Any) -> None:
        """Take a connection from the kernel's queue; several, if requests wait here already.

        gunicorn takes one each time it has dealt with all other events: under load, those that are left,
        probes among them, would wait for seconds before anyone looked at them. A worker with time takes
        one, so that its siblings get their share.
        """
        for _ in range(self.accepts_at_once if self.is_watching else 1):
            if self._leaves_to_siblings() or self.nr_conns >= self.worker_connections or not self._accept_one(listener):
                break

    def _leaves_to_siblings(self) -> bool:
        now = time.monotonic()
        if now < self.unaided_until or not shares.is_ahead(self.nr_conns):
            return False
        if self.stands_back_until:
            # It was there before: the siblings are busy, or stuck.
            self.stands_back_until = 0.0
            self.unaided_until = now + self.unaided_seconds
            return False
        self.stands_back_until = now + self.stand_back_seconds
        self.set_accept_enabled(False)
        return True

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        if self.stands_back_until:
            timeout = min(timeout or 0.0, max(self.stands_back_until - time.monotonic(), 0.0))
        super().wait_for_and_dispatch_events(timeout)
        if self._accepting:
            # Whatever was there when it came back has been dealt with.
            self.stands_back_until = 0.0
        if not self.is_closed:
            shares.announce(self.slot, self.nr_conns)

    def _accept_one(self, listener: Any) -> bool:
        """Take a connection if there is one, and let it wait for its first byte without a thread.

        gunicorn gives it a thread for 5 s: a few silent connections, such as browsers open
        ahead of need, would hold all of them.
        """
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.log.error("Can't accept a connection: %s", os.strerror(error.errno))
                time.sleep(0.1)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return False
        conn = Connection(self, sock, client, listener.getsockname())
        self.nr_conns += 1
        self.welcome(conn, self.first_byte_seconds)
        return True

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Turn accepting on or off; a stopping worker first takes what is queued already."""
        if self.is_closed or (enabled and time.monotonic() < self.stands_back_until):
            return
        if not enabled and not self.alive:
            self.is_closed = True
            shares.withdraw(self.slot)
            self._take_backlog()
        super().set_accept_enabled(enabled)
        if self.is_closed:
            # Later clients are refused at once, and may go elsewhere, rather than reset at the end.
            for listener in self.sockets:
                listener.close()

    def _take_backlog(self) -> None:
        for listener in self.sockets:
            while self._accept_one(listener):
                pass

    # Serving

    def handle(self, conn: Any) -> bool:
        """Serve the request that is next on a connection; return whether another may follow.

        Without what gunicorn does for TLS and HTTP/2, and two system calls for each request.
        """
        request = None
        try:
            request = next(conn.parser)
            return self._keepalive_after(conn, self.handle_request(request, conn))
        except (StopIteration, NoMoreData):
            pass
        except OSError as error:
            if error.errno not in GONE:
                self.log.exception("Socket error processing request.")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # each gets an answer
            self.handle_error(request, conn.sock, conn.client, error)
        return False

    def handle_request(self, req: Any, conn: TConn) -> bool:
        if drain.is_draining() or len(self.kept) >= self.max_keepalived:
            req.force_close()
        try:
            return bool(super().handle_request(req, conn))
        except BlockingIOError as error:
            raise BrokenPipeError(errno.EPIPE, "The client does not read its answer.") from error

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        # The rest of a body that the application left unread may be garbled. The answer is out:
        # a second one, which gunicorn would send, would be taken for that of the next request.
        try:
            return bool(super()._keepalive_after(conn, keepalive))  # type: ignore[misc]
        except (Problem, OSError):
            return False
