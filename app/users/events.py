"""What other features may hang on to accounts without accounts knowing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blinker import Signal

# Sent with user_id=int in the transaction that disables an account, before it commits.
user_disabled = Signal("gatepost.user-disabled")

Exporter = Callable[[int], Any]
# Name of the member in the export document → what returns its JSON value for a user id.
exporters: dict[str, Exporter] = {}
