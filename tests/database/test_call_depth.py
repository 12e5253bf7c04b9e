"""The number of our functions between a view and the driver, which decides how easily a query is followed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.components import components_of
from tests.conftest import API, ROOT, Person

MAX_FRAMES = 5
POST = {"title": "Title", "content": "Text"}
Stack = list[tuple[str, str]]


@contextmanager
def recorded_stacks(view: str) -> Iterator[list[Stack]]:
    """Collect the stack of each call of a driver's `execute` below the view of this name, the view first.

    A stack has the file and the name of each function below app/.
    """
    stacks: list[Stack] = []

    def note(frame: FrameType | None, event: str, argument: Any) -> None:
        # Of other events the argument can be an object that is not complete yet: its attributes must not be read.
        if event != "c_call" or getattr(argument, "__name__", "") != "execute":
            return
        if not type(getattr(argument, "__self__", None)).__module__.startswith(("sqlite3", "psycopg2")):
            return
        stack: Stack = []
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(f"{ROOT}/app/"):
                stack.insert(0, (file, frame.f_code.co_name))
            if frame.f_code.co_name == view and file.endswith("/views.py"):
                stacks.append(stack)
                return
            frame = frame.f_back

    sys.setprofile(note)
    try:
        yield stacks
    finally:
        sys.setprofile(None)


def list_posts(client: FlaskClient, alice: Person) -> int:
    return client.get(f"{API}/posts").status_code


def list_posts_by_page(client: FlaskClient, alice: Person) -> int:
    return client.get(f"{API}/posts?page=1").status_code


def list_users(client: FlaskClient, alice: Person) -> int:
    return alice.get("/users?q=a").status_code


def list_own_events(client: FlaskClient, alice: Person) -> int:
    return alice.get("/auth/events").status_code


def get_post(client: FlaskClient, alice: Person) -> int:
    post_id = alice.post("/posts", json=POST).get_json()["id"]
    return client.get(f"{API}/posts/{post_id}").status_code


def create_post(client: FlaskClient, alice: Person) -> int:
    return alice.post("/posts", json=POST).status_code


def refresh(client: FlaskClient, alice: Person) -> int:
    headers = {"Authorization": f"Bearer {alice.refresh_token}"}
    return client.post(f"{API}/auth/refresh", headers=headers).status_code


@pytest.mark.parametrize(
    ("view", "call"),
    [
        ("list_posts", list_posts),
        ("list_posts", list_posts_by_page),
        ("list_users", list_users),
        ("list_own_events", list_own_events),
        ("get_post", get_post),
        ("create_post", create_post),
        ("refresh", refresh),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_at_most_five_frames_lead_from_the_view_to_the_driver(
    app: Flask, client: FlaskClient, alice: Person, view: str, call: Callable[[FlaskClient, Person], int]
) -> None:
    assert components_of(app).executor.is_enabled
    with recorded_stacks(view) as stacks:
        assert call(client, alice) in (200, 201)
    assert stacks
    too_deep = [stack for stack in stacks if len(stack) > MAX_FRAMES]
    assert not too_deep
