"""What gunicorn (`run:app`), flask (`--app run`) and a person (`python run.py`) start."""

import atexit
import gc
import sys

if __name__ == "__main__":
    from app.serve import become_gunicorn

    become_gunicorn(sys.argv[1:])

from werkzeug.serving import WSGIRequestHandler

from app import create_app
from app.auth.key_commands import make_bare_app
from app.settings import ConfigurationError

# The interpreter's last collections would look at every object of the application, for a third of a second of each
# process that ends, workers that are reloaded among them, to free what the system takes back anyway.
atexit.register(gc.freeze)

# `flask run` names no versions either.
WSGIRequestHandler.version_string = lambda self: "gatepost"  # type: ignore[method-assign]

try:
    app = create_app()
except ConfigurationError as error:
    if {"keys", "generate"} <= set(sys.argv):
        # The key that is about to be made may be what the settings lack.
        app = make_bare_app()
    else:
        # For `flask`, `config check` above all: gunicorn's configuration has ended with the same words before.
        sys.exit(f"{error}\n\n{error.effective}" if {"config", "check"} <= set(sys.argv) else str(error))
