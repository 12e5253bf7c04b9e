"""Extension points of accounts, through which other features take part without being imported here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from blinker import Signal

# Sent with user_id=int in the transaction that disables an account, before it commits.
user_disabled = Signal("gatepost.user-disabled")

Exporter = Callable[[int], Iterable[Mapping[str, Any]]]
# By member of the export document, a function that yields its objects for a user id. Their values are those of JSON, or
# aware times.
exporters: dict[str, Exporter] = {}
