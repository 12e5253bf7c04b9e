"""The WSGI application `app` for gunicorn, granian and flask; `python run.py` starts the server that SERVER names."""

import sys

from gatepost.server import make_app, start_server

if __name__ == "__main__":
    start_server(sys.argv[1:])

app = make_app()
