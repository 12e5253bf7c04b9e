"""Forms of the Authorization header, on a route that requires a token and on one where it is optional."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.auth.support import log_in
from tests.conftest import API, Person, problem

MALFORMED, REQUIRED = (400, "malformed_request"), (401, "authentication_required")
TAKEN = [
    *("Bearer {}", "bearer {}", "BEARER {}", "bEaReR {}", "Bearer  {}", "Bearer      {}", " Bearer {}", "Bearer {} "),
    "\tBearer {}\t",
]
EMPTY = ["", " ", "\t", " \t  "]
NO_ONE_BEARER_TOKEN = [
    *(",", ",,,", ",, ,", ";", "Bearer", "bearer", "Bearer ", "Bearer,", "Bearer ,", "Bearer =", "Bearer\t{}"),
    *("Bearer    ", "Bearer\t", "Bearer \t{}"),
    *("Bearer\xa0{}", "Bearer {}\x00", "Bearer \x00{}", "Bearer {},", "Bearer ,{}", ",Bearer {}"),
    *("Bearer {}, Bearer {}", "Bearer {},Bearer {}", "Bearer {} {}", "Bearer Bearer {}", "Bearer token={}"),
    *('Bearer "{}"', "Bearer <{}>", "Bearer {};", "Bearer {}\xe9", "B\xe9arer {}", "Bearer: {}", "Bearer={}"),
    *("Basic YTpi, Bearer {}", "Basic YTpi,bearer {}", "Bearer {}, Basic YTpi", "\xff\xfe", "\x00"),
]
OTHER_SCHEMES = [
    *("Basic YTpi", "basic YTpi", "Basic ", "Basic", 'Digest username="a", realm="b", uri="/"', "Negotiate YIIJ"),
    *("Token {}", "JWT {}", "{}", "Bearer-ish {}", "NotBearer {}", "Bearers {}"),
]


def call(client: FlaskClient, method: str, path: str, header: str) -> TestResponse:
    return client.open(API + path, method=method, environ_overrides={"HTTP_AUTHORIZATION": header})


@pytest.mark.parametrize("form", TAKEN)
def test_the_scheme_has_any_case_and_space_around_it(client: FlaskClient, alice: Person, form: str) -> None:
    assert call(client, "GET", "/auth/me", form.format(alice.access_token)).status_code == 200
    assert call(client, "POST", "/auth/refresh", form.format(alice.refresh_token)).status_code == 200


@pytest.mark.parametrize("form", NO_ONE_BEARER_TOKEN)
def test_a_header_without_one_bearer_token_is_malformed(client: FlaskClient, alice: Person, form: str) -> None:
    for method, path, token in (
        ("GET", "/auth/me", alice.access_token),
        ("POST", "/auth/refresh", alice.refresh_token),
        ("POST", "/auth/logout", alice.access_token),
        # Where a token is optional, a malformed one is not ignored.
        ("GET", "/posts", alice.access_token),
    ):
        response = call(client, method, path, form.replace("{}", token))
        assert problem(response) == MALFORMED
        assert response.headers["WWW-Authenticate"] == (
            'Bearer realm="gatepost", error="invalid_request", '
            'error_description="The Authorization header does not contain exactly one bearer token."'
        )


@pytest.mark.parametrize("header", EMPTY)
def test_an_empty_header_is_no_credential(client: FlaskClient, alice: Person, header: str) -> None:
    for method, path in (("GET", "/auth/me"), ("POST", "/auth/refresh"), ("POST", "/auth/logout"), ("POST", "/posts")):
        response = call(client, method, path, header)
        assert problem(response) == REQUIRED
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'
    assert call(client, "GET", "/posts", header).status_code == 200
    body = {"refresh_token": alice.refresh_token}
    environ = {"HTTP_AUTHORIZATION": header}
    assert client.post(f"{API}/auth/refresh", json=body, environ_overrides=environ).status_code == 200


@pytest.mark.parametrize("form", OTHER_SCHEMES)
def test_another_scheme_counts_as_no_credentials(client: FlaskClient, alice: Person, form: str) -> None:
    for method, path, token in (
        ("GET", "/auth/me", alice.access_token),
        ("POST", "/auth/refresh", alice.refresh_token),
        ("GET", "/posts", alice.access_token),
    ):
        response = call(client, method, path, form.replace("{}", token))
        assert problem(response) == REQUIRED
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'


def test_a_token_in_the_body_is_not_read_beside_another_scheme(client: FlaskClient, alice: Person) -> None:
    body = {"refresh_token": alice.refresh_token}
    response = client.post(f"{API}/auth/refresh", json=body, headers={"Authorization": "Basic YTpi"})
    assert problem(response) == REQUIRED


@pytest.mark.parametrize("query", ["access_token={}", "jwt={}", "token={}"])
def test_no_token_is_taken_from_the_query(client: FlaskClient, alice: Person, query: str) -> None:
    # RFC 6750 section 5.3: URLs are logged. The 401 comes before the 422 for the unknown parameter.
    response = client.get(f"{API}/auth/me?{query.format(alice.access_token)}")
    assert problem(response) == REQUIRED


@pytest.mark.parametrize("name", ["access_token_cookie", "access_token", "refresh_token_cookie", "token"])
def test_no_access_token_is_taken_from_a_cookie(client: FlaskClient, alice: Person, name: str) -> None:
    client.set_cookie(name, alice.access_token)
    assert problem(client.get(f"{API}/auth/me")) == REQUIRED


@pytest.mark.parametrize("header", ["X-Gatepost-Bearer", "X-Authorization", "Proxy-Authorization"])
def test_no_token_is_taken_from_another_header(client: FlaskClient, alice: Person, header: str) -> None:
    for value in (alice.access_token, f"Bearer {alice.access_token}"):
        assert problem(client.get(f"{API}/auth/me", headers={header: value})) == REQUIRED


@pytest.mark.parametrize("form", EMPTY + NO_ONE_BEARER_TOKEN + OTHER_SCHEMES)
def test_a_route_for_anyone_ignores_the_header(client: FlaskClient, form: str) -> None:
    environ = {"HTTP_AUTHORIZATION": form}
    response = log_in(client, "nobody@example.com", environ_overrides=environ)
    assert problem(response) == (401, "invalid_credentials")


def test_a_problem_does_not_repeat_the_header(client: FlaskClient, alice: Person) -> None:
    response = call(client, "GET", "/auth/me", f"Bearer {alice.access_token}, Basic YTpi")
    assert alice.access_token not in response.text
    assert "YTpi" not in response.text
