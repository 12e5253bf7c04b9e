"""Gatepost with access tokens that live for seconds, for tests of expiry: `gunicorn tests.support.hasty:app`."""

from __future__ import annotations

import os
from datetime import timedelta

from app.auth import tokens
from run import app

SECONDS = float(os.environ["HASTY_ACCESS_SECONDS"])

# With the leeway for other machines' clocks even the shortest life would last half a minute.
tokens.LEEWAY_SECONDS = 0
app.config.update(JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=SECONDS), JWT_DECODE_LEEWAY=0)
