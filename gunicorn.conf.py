"""gunicorn's configuration: `gunicorn -c gunicorn.conf.py run:app`. What an operator may change are settings."""

from gatepost.gunicorn_settings import gunicorn_settings

globals().update(gunicorn_settings())
