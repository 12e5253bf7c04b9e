"""The feature of users: accounts, profiles and roles."""

from __future__ import annotations

from app.api.idempotency import service as idempotency
from app.audit import service as audit
from app.features import Feature
from app.users import commands
from app.users.examples import EXAMPLES
from app.users.models import User
from app.users.views import users

feature = Feature(
    name="users",
    api=(users,),
    tables=(User,),
    exports={"idempotency_keys": idempotency.export, "auth_events": audit.export},
    commands=(commands.users,),
    examples=EXAMPLES,
)
