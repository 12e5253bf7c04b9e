"""The settings of weather, and how long answers are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.settings.environment import InvalidValue
from examples.weather.settings import parse_http_url
from examples.weather.store import FOREVER, AnswerStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:8090", "http://localhost:8090"),
        ("https://weather.example.com/v1/", "https://weather.example.com/v1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_a_url(text: str, url: str) -> None:
    assert parse_http_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "localhost:8090",
        "ftp://example.com",
        "http://",
        "http:///path",
        "http://:80",
        "http://example.com:0",
        "http://example.com:x",
        "http://example.com:99999",
        "http://user:password@example.com",
        "http://example.com?city=",
        "http://example.com#x",
        "http://exa mple.com",
        "http://example.com/\r\nX: 1",
        "http://[::1",
    ],
)
def test_no_url(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_http_url(text)


@pytest.mark.parametrize(
    ("cache_control", "age", "fresh", "stale"),
    [
        ("max-age=60", "", 60, None),
        ("Max-Age=60, PUBLIC", "", 60, None),
        ('max-age="60"', "", 60, None),
        ("max-age=60", "20", 40, None),
        ("max-age=60", "90", 0, None),
        ("max-age=60", "soon", 60, None),
        ("max-age=60, must-revalidate", "", 60, 60),
        ("max-age=60, proxy-revalidate", "", 60, 60),
        ("max-age=60, s-maxage=10", "", 10, 10),
        ("max-age=60, stale-if-error=30", "", 60, 90),
        ("max-age=60, stale-if-error=30, must-revalidate", "", 60, 60),
        ("max-age=60, stale-if-error", "", 60, 60),
        ("", "", 0, None),
        ("max-age", "", 0, None),
        ("max-age=-5", "", 0, None),
        ("max-age=soon", "", 0, None),
        (f"max-age={10**30}", "", 365 * 24 * 3600, None),
        (f"max-age={'9' * 5000}", "", 0, None),
        ("max-age=60", "9" * 5000, 0, None),
        (',;=,"', "", 0, None),
    ],
)
def test_how_long_an_answer_is_used(cache_control: str, age: str, fresh: int, stale: int | None) -> None:
    store: AnswerStore[str] = AnswerStore(1)
    store.keep("k", "v", {"cache-control": cache_control, "age": age}, NOW)
    found = store.find("k")
    assert found is not None
    assert found.fresh_until == NOW + timedelta(seconds=fresh)
    assert found.stale_until == (FOREVER if stale is None else NOW + timedelta(seconds=stale))


@pytest.mark.parametrize("cache_control", ["no-store", "No-Store", "max-age=60, no-cache", "private", 'no-cache="a"'])
def test_what_must_not_be_stored_replaces_an_older_answer(cache_control: str) -> None:
    store: AnswerStore[str] = AnswerStore(1)
    store.keep("k", "old", {"cache-control": "max-age=60"}, NOW)
    store.keep("k", "new", {"cache-control": cache_control}, NOW)
    assert store.find("k") is None


def test_the_memory_is_bounded() -> None:
    store: AnswerStore[int] = AnswerStore(3)
    for number in range(3):
        store.keep(str(number), number, {}, NOW)
    assert store.find("0") is not None
    for number in range(3, 5):
        store.keep(str(number), number, {}, NOW)
    assert len(store) == 3
    assert [store.find(str(number)) is not None for number in range(5)] == [True, False, False, True, True]
