"""How gunicorn serves the application, everywhere: `gunicorn -c gunicorn.conf.py run:app`.

Owns the server's own limits; what an operator may change comes from the application's settings.
"""

import os
import sys

from app.serve import restart_on_change, startup_settings
from app.server import ProblemWorker, ServerLogger, hold_signals

if "--reload" in sys.argv:
    restart_on_change()

settings = startup_settings()

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
limit_request_line = 8190
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
# A heartbeat on a disk that stalls would look like a worker that does.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
# It would need a writable home.
control_socket_disable = True
proc_name = "gatepost"

pre_fork = hold_signals
