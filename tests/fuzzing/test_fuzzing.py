"""Tests that Schemathesis finds faults with this configuration, and that its hooks ignore only listed refusals."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest

from app.users.schemas import HOW_TO_ALLOW
from tests.conftest import ROOT
from tests.fuzzing.hooks import BEYOND_SCHEMAS, is_beyond_schemas, map_body
from tests.fuzzing.plan import PASSWORD, SEED, Share
from tests.fuzzing.runs import fuzz


@pytest.mark.slow
def test_faults_are_found() -> None:
    share = Share(examples=1, seed=SEED, phases="coverage")
    only = "^/(health/ready|api/v1/posts)$"
    outcome = fuzz("sqlite", "anonymous", share, application="tests.fuzzing.faulty:app", only=only)
    assert not outcome.is_clean
    assert "ST103 Undocumented status code" in outcome.output
    assert "'splendid'" in outcome.output or '"splendid"' in outcome.output
    assert outcome.failures >= 2


def response_of(document: dict[str, Any]) -> Mock:
    """Return a response with this body."""
    return Mock(content=json.dumps(document).encode())


def test_only_the_listed_refusals_are_ignored() -> None:
    for name, texts in BEYOND_SCHEMAS.items():
        for text in texts:
            assert is_beyond_schemas(response_of({"code": name, "detail": text}))
            assert is_beyond_schemas(response_of({"code": "validation_error", "detail": "", "errors": {name: [text]}}))
    for errors in ({"cursor": ["Must be a string."]}, {"page": ["Give page or cursor, not both."], "title": ["No."]}):
        assert not is_beyond_schemas(response_of({"code": "validation_error", "detail": "", "errors": errors}))
    assert not is_beyond_schemas(response_of({"code": "malformed_request", "detail": "The body is not JSON."}))
    assert not is_beyond_schemas(Mock(content=b"<html>"))


def test_bodies_keep_maintenance_off_and_have_the_password() -> None:
    context = Mock()
    assert map_body(context, {"maintenance": True, "message": "x"}) == {"maintenance": False, "message": "x"}
    assert map_body(context, {"current_password": "odd", "new_password": "y"})["current_password"] == PASSWORD
    with_integers = map_body(context, {"retry_after": 193.0, "title": 0.5})
    assert repr(with_integers) == repr({"retry_after": 193, "title": 0.5})
    others: list[Any] = [[], "text", {"maintenance": "true"}, {"current_password": "even"}, None]
    for body in others:
        assert map_body(context, body) == body


def test_every_ignored_text_is_in_the_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    for texts in BEYOND_SCHEMAS.values():
        for text in texts:
            # The code inserts the numbers of some, and joins two constants in another.
            parts = {"row 10000", "128 characters", "20 with", f" {HOW_TO_ALLOW}"}
            assert any(text.partition(part)[0] in code for part in parts), text
