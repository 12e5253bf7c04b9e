"""The feature of the audit log: logins, failed logins and changes of accounts, in a table that is only appended to."""

from __future__ import annotations

from app.audit import commands
from app.audit.examples import EXAMPLES
from app.audit.models import AuthEvent
from app.audit.views import audit
from app.features import Feature

feature = Feature(name="audit", api=(audit,), tables=(AuthEvent,), commands=(commands.audit,), examples=EXAMPLES)
