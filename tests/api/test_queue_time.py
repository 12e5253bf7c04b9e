"""X-Request-Start: a request that has waited too long between the proxy and the application is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from werkzeug.test import TestResponse

from app.api.middleware.queue_time import find_queue_seconds
from gatepost.testing.applications import NewClient, clients
from tests.conftest import API, Clock, problem, settings_for

NOW = 1_700_000_000.0
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def new_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewClient]:
    """Return a function that makes a client of an application behind a proxy, with an empty database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('queue') / 'empty.db'}"
    settings = settings_for(url, trusted_proxies=1, max_queue_ms=2000)
    with clients(settings) as make:
        yield make


def get(client: FlaskClient, clock: Clock, seconds: float, path: str = "/nowhere", **options: str) -> TestResponse:
    """GET a path with a request that nginx received so many seconds ago."""
    headers = {"X-Request-Start": f"t={clock.now.timestamp() - seconds:.3f}", **options}
    return client.get(path, headers=headers)


def shed() -> float:
    """The number of refused requests that this process has counted."""
    return REGISTRY.get_sample_value("gatepost_requests_shed_total") or 0.0


# The header


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("t=1699999997.5", 2.5),
        ("t=1699999997.500", 2.5),
        ("1699999997.5", 2.5),
        ("t=1700000000", 0.0),
        ("1699999997500", 2.5),
        ("t=1699999997500", 2.5),
        ("1699999997500.25", 2.49975),
        ("t=1699999997500000", 2.5),
        ("1699999997500000", 2.5),
        (" t=1699999997.5 ", 2.5),
        ("t=1699996400.000", 3600.0),
    ],
)
def test_the_time_may_be_in_seconds_milliseconds_or_microseconds(header: str, seconds: float) -> None:
    assert find_queue_seconds(header, NOW) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "header",
    [
        *("", "t=", "t=x", "yesterday", "t=-1699999997.5", "t=+1699999997.5", "t=1699999997.", "t=.5", "t=1.699e9"),
        *("t=0", "t=169999999", "t=16999999975", "t=1699999997500000000", "t=9" * 500, "t=1699999997,5"),
        *("t=1699999997.5, t=1699999998.5", "T=1699999997.5", "t= 1699999997.5", "t=1_699_999_997"),
        *("t=\u0661\u0666\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0667", "t=1699999997.5\n;", "t=NaN", "t=Infinity"),
    ],
    ids=ascii,
)
def test_a_header_that_is_no_time_is_ignored(header: str) -> None:
    assert find_queue_seconds(header, NOW) is None


@pytest.mark.parametrize(
    "header", ["t=1700000000.001", "1700000005000", "t=9999999999", "t=1699996399.999", "t=1000000000"]
)
def test_a_time_that_is_not_plausible_is_ignored(header: str) -> None:
    """A wrong clock, of the proxy or of the application, must not refuse every request."""
    assert find_queue_seconds(header, NOW) is None


# The refusal


def test_a_request_that_has_waited_too_long_is_refused(new_client: NewClient, clock: Clock) -> None:
    client = new_client()
    before = shed()
    response = get(client, clock, 2.5)
    assert problem(response) == (503, "overloaded")
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Cache-Control"] == "no-store"
    assert shed() == before + 1
    assert problem(get(client, clock, 1.9)) == (404, "not_found")
    assert shed() == before + 1


def test_a_request_that_nginx_retries_after_a_timeout_is_not_refused(new_client: NewClient, clock: Clock) -> None:
    """nginx sends the time of the first attempt again. The default of NGINX_APP_TIMEOUT is 8 s."""
    client = new_client()
    assert problem(get(client, clock, 7.9)) == (503, "overloaded")
    assert problem(get(client, clock, 8.1)) == (404, "not_found")
    started = {"X-Request-Start": f"t={clock.now.timestamp() - 8.1:.3f}"}
    tagged = {**started, "If-Match": '"x"'}
    assert problem(client.put("/nowhere", headers=started)) == (404, "not_found")
    assert problem(client.get("/nowhere", headers=tagged)) == (404, "not_found")
    # nginx does not retry these, which have therefore waited.
    for method, headers in (("POST", started), ("PATCH", started), ("DELETE", started), ("PUT", tagged)):
        assert problem(client.open("/nowhere", method=method, headers=headers)) == (503, "overloaded"), method


@pytest.mark.parametrize("header", ["t={0:.3f}", "{1}", "t={1}", "t={2}", "{2}"])
def test_the_forms_of_other_proxies_are_understood(new_client: NewClient, clock: Clock, header: str) -> None:
    start = clock.now.timestamp() - 3
    value = header.format(start, int(start * 1e3), int(start * 1e6))
    assert problem(new_client().get("/nowhere", headers={"X-Request-Start": value})) == (503, "overloaded")


def test_the_refusal_has_the_headers_of_every_response(new_client: NewClient, clock: Clock) -> None:
    response = get(new_client(), clock, 3, API + "/posts", Origin=ORIGIN, **{"X-Request-ID": "mine"})
    assert problem(response) == (503, "overloaded")
    assert response.headers["X-Request-ID"] == "mine"
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_is_refused_before_any_other_work(new_client: NewClient, clock: Clock) -> None:
    """Neither the rate limit counts it, nor is its Accept header, its token or the database looked at."""
    client = new_client(ratelimit_enabled=True, ratelimit_default="1 per minute")
    options = {"Accept": "text/html", "Authorization": "Bearer x"}
    for _ in range(3):
        response = get(client, clock, 3, API + "/auth/me", **options)
        assert problem(response) == (503, "overloaded")
        assert "X-RateLimit-Limit" not in response.headers
    assert problem(get(client, clock, 0)) == (404, "not_found")
    assert problem(get(client, clock, 0)) == (429, "rate_limited")


@pytest.mark.parametrize("prefix", ["", "/example"])
@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics"])
def test_probes_are_never_refused(new_client: NewClient, clock: Clock, prefix: str, path: str) -> None:
    client = new_client(service_prefix=prefix)
    for place in {path, prefix + path}:
        response = get(client, clock, 3, place)
        # Readiness reports the empty database with a 503 of its own, which is not a problem document.
        assert response.status_code == (503 if path == "/health/ready" else 200)
        assert response.mimetype != "application/problem+json"


def test_a_preflight_is_never_refused(new_client: NewClient, clock: Clock) -> None:
    """Otherwise the browser would report a CORS error instead of the 503 of the request itself."""
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "X-Request-Start": f"t={clock.now.timestamp() - 3:.3f}",
    }
    response = new_client().options(API + "/posts", headers=headers)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


# Settings


def test_without_a_trusted_proxy_the_header_is_ignored(new_client: NewClient, clock: Clock) -> None:
    """Any client could send it."""
    assert problem(get(new_client(trusted_proxies=0), clock, 3)) == (404, "not_found")


def test_the_check_can_be_switched_off(new_client: NewClient, clock: Clock) -> None:
    assert problem(get(new_client(max_queue_ms=0), clock, 3)) == (404, "not_found")


@pytest.mark.parametrize(("max_queue_ms", "status"), [(500, 503), (2000, 404), (60_000, 404)])
def test_the_limit_is_a_setting(new_client: NewClient, clock: Clock, max_queue_ms: int, status: int) -> None:
    assert get(new_client(max_queue_ms=max_queue_ms), clock, 1).status_code == status


@pytest.mark.parametrize("seconds", [-60, 3700, 10**8])
def test_a_wrong_clock_refuses_nothing(new_client: NewClient, clock: Clock, seconds: int) -> None:
    assert problem(get(new_client(), clock, seconds)) == (404, "not_found")
