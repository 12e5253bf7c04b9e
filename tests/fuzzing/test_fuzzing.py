"""That Schemathesis, as it is run here, would find a fault, and that its hooks excuse no more than they say."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest

from tests.conftest import ROOT
from tests.fuzzing.hooks import BEYOND_SCHEMAS, is_beyond_schemas, map_body
from tests.fuzzing.plan import PASSWORD
from tests.fuzzing.runs import CI_SHARE, Share, fuzz


@pytest.mark.slow
def test_a_fault_would_be_found() -> None:
    share = Share(examples=3, seed=CI_SHARE.seed, phases="examples,fuzzing")
    outcome = fuzz("sqlite", "anonymous", share, application="tests.fuzzing.faulty:app", only="/(ready|posts)$")
    assert not outcome.is_clean
    assert "ST103 Undocumented status code" in outcome.said
    assert "'splendid'" in outcome.said or '"splendid"' in outcome.said
    assert outcome.failures >= 2


def answer(document: dict[str, Any]) -> Mock:
    """An answer with this body."""
    return Mock(content=json.dumps(document).encode())


def test_only_what_no_schema_can_say_excuses_a_refusal() -> None:
    for name, texts in BEYOND_SCHEMAS.items():
        for text in texts:
            assert is_beyond_schemas(answer({"code": name, "detail": text}))
            assert is_beyond_schemas(answer({"code": "validation_error", "detail": "", "errors": {name: [text]}}))
    for errors in ({"cursor": ["Must be a string."]}, {"page": ["Give page or cursor, not both."], "title": ["No."]}):
        assert not is_beyond_schemas(answer({"code": "validation_error", "detail": "", "errors": errors}))
    assert not is_beyond_schemas(answer({"code": "malformed_request", "detail": "The body is not JSON."}))
    assert not is_beyond_schemas(Mock(content=b"<html>"))


def test_the_service_is_left_open_and_the_password_known() -> None:
    context = Mock()
    assert map_body(context, {"maintenance": True, "message": "x"}) == {"maintenance": False, "message": "x"}
    assert map_body(context, {"current_password": "odd", "new_password": "y"})["current_password"] == PASSWORD
    spelt_out = map_body(context, {"retry_after": 193.0, "title": 0.5})
    assert repr(spelt_out) == repr({"retry_after": 193, "title": 0.5})
    others: list[Any] = [[], "text", {"maintenance": "true"}, {"current_password": "even"}, None]
    for body in others:
        assert map_body(context, body) == body


def test_every_excused_text_is_one_that_the_service_says() -> None:
    said = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    for texts in BEYOND_SCHEMAS.values():
        for text in texts:
            # One of them is put together with a number.
            assert text in said or text.partition("row 10000")[0] in said, text
