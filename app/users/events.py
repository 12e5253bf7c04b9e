"""Events of accounts, by which other features take part without being imported here."""

from __future__ import annotations

from blinker import Signal

# Sent with user_id=int in the transaction that disables an account, before it commits.
user_disabled = Signal("gatepost.user-disabled")
