"""What other features may hang on to accounts without accounts knowing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from blinker import Signal

# Sent with user_id=int in the transaction that disables an account, before it commits.
user_disabled = Signal("gatepost.user-disabled")

Exporter = Callable[[int], Iterable[Mapping[str, Any]]]
# Name of the member in the export document → what gives its objects for a user id, a few at a time.
exporters: dict[str, Exporter] = {}
