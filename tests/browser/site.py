"""A static web server for the example app."""

from __future__ import annotations

import shutil
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from gatepost.testing.services import LOOPBACK


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class Site:
    """Serves `folder`/app on a free port. A context manager."""

    def __init__(self, folder: Path | None = None) -> None:
        self._is_own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gatepost-site-"))
        handler = partial(_Quiet, directory=str(self.folder / "app"))
        self._server = ThreadingHTTPServer((LOOPBACK, 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._is_own:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def origin(self) -> str:
        """The origin, as in the Origin header."""
        return f"http://{LOOPBACK}:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The address of the app."""
        return self.origin + "/"
