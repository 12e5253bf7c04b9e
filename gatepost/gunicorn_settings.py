"""gunicorn's configuration, for gunicorn.conf.py of each project. What an operator may change are settings."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.settings import Settings

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
OWN_PREFIX = "gatepost-metrics-"
FIXED: dict[str, Any] = {
    # Longer than nginx keeps an idle connection (60 s), so that nginx closes it first and never writes to a closed
    # one.
    "keepalive": 75,
    # Restarts a worker whose main loop hangs. Requests run in threads and are bounded by the database's deadlines.
    "timeout": 30,
    # nginx has the same limits. Beyond them: 414 and 431.
    "limit_request_line": 8000,
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,
    # Only the application interprets forwarding headers, with ProxyFix and TRUSTED_PROXIES.
    "forwarded_allow_ips": "",
    "secure_scheme_headers": {},
    "forwarder_headers": "",
    # X_Forwarded_For would reach the application under the same name as X-Forwarded-For.
    "header_map": "drop",
    # "auto" takes another parser when its package happens to be installed; the tests run with this one.
    "http_parser": "python",
    # The application logs requests. gunicorn's own lines go to the handlers of app/observability/logs.py.
    "accesslog": None,
    "errorlog": None,
    # The socket would be made in the home directory, which may not exist or not be writable.
    "control_socket_disable": True,
    "proc_name": "gatepost",
}


def gunicorn_settings() -> dict[str, Any]:
    """Return gunicorn's settings and hooks by their names. If the settings are invalid, the process ends."""
    # In memory: on a disk that stalls, a worker that can't touch its heartbeat file would look as if it hung.
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    # prometheus_client merges the metrics of the workers through files in this folder. It looks for the variable when
    # it is imported, so this comes before the imports from `app`. After SIGHUP, which reads the settings again, the
    # folder is kept.
    if METRICS_FOLDER not in os.environ:
        os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix=OWN_PREFIX, dir=in_memory)
    from app.observability import logs
    from app.settings import ConfigurationError, load_settings

    # Not the hook on_exit: gunicorn does not call it when its address is in use.
    atexit.register(remove_metrics_folder, os.getpid())
    try:
        settings = load_settings()
    except ConfigurationError as error:
        # One message for the operator. An exception in a worker would make gunicorn start workers without end. After
        # SIGHUP too, gunicorn ends when its configuration can't be read: check them first with
        # `flask --app run config check`.
        sys.exit(str(error))
    logs.configure(settings)
    logs.capture_unlogged(settings)
    return settings_of(settings) | {"worker_tmp_dir": in_memory}


def settings_of(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings for those of the service."""
    from app.api.errors.gunicorn_worker import ProblemWorker

    return FIXED | {
        "post_fork": post_fork,
        "child_exit": child_exit,
        "bind": settings.bind,
        "workers": settings.web_concurrency,
        "threads": settings.web_threads,
        "worker_class": ProblemWorker,
        # The workers share the memory of one import, and code that can't be imported stops the start. create_app()
        # opens no connection, so the workers share none. With --reload each worker must import the changed code itself.
        "preload_app": "--reload" not in [*sys.argv, *os.environ.get("GUNICORN_CMD_ARGS", "").split()],
        # How long requests in flight may take after SIGTERM.
        "graceful_timeout": settings.graceful_timeout_seconds,
        "loglevel": settings.log_level.lower(),
    }


def post_fork(server: Any, worker: Any) -> None:
    """Move a worker out of the terminal's process group, so that after Ctrl-C only the master signals it.

    A worker that gets SIGINT and the master's SIGQUIT at once can deadlock until the graceful timeout.
    """
    os.setpgrp()


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a worker that has ended from the metrics."""
    from app.observability import metrics

    metrics.forget_process(worker.pid)


def remove_metrics_folder(master_pid: int) -> None:
    """Remove the folder of the metrics, unless this process is a worker, which has inherited the call."""
    if os.getpid() == master_pid and os.path.basename(os.environ[METRICS_FOLDER]).startswith(OWN_PREFIX):  # noqa: PTH119
        shutil.rmtree(os.environ[METRICS_FOLDER], ignore_errors=True)
