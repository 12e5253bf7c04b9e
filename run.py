"""What gunicorn (`run:app`), flask (`--app run`) and a person (`python run.py`) start."""

import sys

if __name__ == "__main__":
    from app.serve import become_gunicorn

    become_gunicorn(sys.argv[1:])

from app import create_app

app = create_app()
