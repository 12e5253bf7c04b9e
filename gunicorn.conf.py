"""How gunicorn serves the application, everywhere: `gunicorn -c gunicorn.conf.py run:app`.

Owns the server's own limits; what an operator may change comes from the application's settings.
"""

import atexit
import os
import shutil
import sys
import tempfile

if "--reload" in sys.argv:
    from app.serve import restart_on_change

    restart_on_change()

# In memory where there is any; a heartbeat on a disk that stalls would look like a worker that does.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def make_metrics_folder() -> None:
    """Name a new folder for the numbers of all workers, removed when the master ends."""
    folder = tempfile.mkdtemp(prefix="gatepost-metrics-", dir=worker_tmp_dir)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    master = os.getpid()

    def remove() -> None:
        if os.getpid() == master:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)


# What counts takes its place when it is imported: here, below. At a SIGHUP it keeps it.
if "app.observability.metrics" not in sys.modules:
    make_metrics_folder()

from app import arbiter  # noqa: E402
from app.lanes import MAX_LINE_BYTES  # noqa: E402
from app.serve import startup_settings  # noqa: E402
from app.server import ProblemWorker, ServerLogger  # noqa: E402

settings = startup_settings()
on_starting = arbiter.on_starting
pre_fork = arbiter.pre_fork
post_fork = arbiter.post_fork
child_exit = arbiter.child_exit
ProblemWorker.max_queued = settings.max_queued_requests
ProblemWorker.max_queue_seconds = settings.max_queue_ms / 1000
ProblemWorker.probe_prefix = settings.service_prefix

bind = settings.bind
workers = settings.web_concurrency
threads = settings.web_threads
worker_class = ProblemWorker
# One import for all workers, and bad code stops the start instead of one worker after the other.
# No connection to a database is open yet when the workers fork.
preload_app = True

# Longer than nginx keeps its side (60 s): the side that sends requests must be the one to close.
keepalive = 75
graceful_timeout = settings.graceful_timeout_seconds
# This watches the worker's main loop; requests run in threads, and have deadlines of their own.
timeout = 30
# Memory that leaks goes back to the system; the jitter keeps workers from leaving together.
max_requests = 20_000
max_requests_jitter = 2_000

# A token in a URL or a header of 8 kB is nginx's limit too. Over it: 414 and 431.
limit_request_line = MAX_LINE_BYTES
limit_request_fields = 100
limit_request_field_size = 8190

# Only the application's ProxyFix, told by TRUSTED_PROXIES, believes forwarding headers.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# X_Forwarded_For would reach the application under the name of X-Forwarded-For.
header_map = "drop"
# The other parser is used wherever its package is present: what is tested here must be what runs.
http_parser = "python"

# The application logs its requests itself.
accesslog = None
logger_class = ServerLogger
loglevel = settings.log_level.lower()
# It would need a writable home.
control_socket_disable = True
proc_name = "gatepost"
