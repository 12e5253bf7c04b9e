"""Fixtures for the tests of posts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Person

Write = Callable[..., dict[str, Any]]


@pytest.fixture
def write() -> Write:
    """Return a function that creates a post through the API: `write(alice, status="draft")`."""

    def add(author: Person, **members: Any) -> dict[str, Any]:
        response = author.post("/posts", json={"title": "Hello", "content": "World", **members})
        assert response.status_code == 201, response.text
        document: dict[str, Any] = response.get_json()
        return document

    return add


def as_listed(post: dict[str, Any]) -> dict[str, Any]:
    """Return what a list shows of a post."""
    return {name: value for name, value in post.items() if name != "content"} | {"excerpt": post["content"][:280]}
