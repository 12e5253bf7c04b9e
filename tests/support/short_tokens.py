"""The application with access tokens that expire after ACCESS_TOKEN_SECONDS, for tests of expiry."""

from __future__ import annotations

import os
from datetime import timedelta

from app.auth import tokens
from run import app

SECONDS = float(os.environ["ACCESS_TOKEN_SECONDS"])

# The usual leeway for clock differences would extend every token by half a minute.
tokens.LEEWAY_SECONDS = 0
app.config.update(JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=SECONDS), JWT_DECODE_LEEWAY=0)
