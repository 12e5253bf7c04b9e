"""Views protected by Flask-JWT-Extended's decorator behave like our endpoints with the same access policy."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    current_user,
    decode_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    verify_jwt_in_request,
)
from werkzeug.test import TestResponse

from app import create_app
from app.api.access import FRESH, OPTIONAL, SIGNED_IN, AccessPolicy, Caller
from app.api.errors import TokenExpired, TokenInvalid
from app.api.fields import OutputSchema
from app.api.responses import ok
from app.api.routing import Api
from app.auth.extension import Manager
from app.auth.sessions import GRACE_USES
from gatepost.testing.applications import replica
from tests.auth.support import bearer, claims_of, get_me, log_in, refresh, reissue, session_row, sign
from tests.auth.test_authorization_header import NO_ONE_BEARER_TOKEN, OTHER_SCHEMES, TAKEN
from tests.conftest import Clock, Person, problem, settings_for

POLICIES: dict[str, tuple[AccessPolicy, Any]] = {
    "plain": (SIGNED_IN, jwt_required()),
    "optional": (OPTIONAL, jwt_required(optional=True)),
    "fresh": (FRESH, jwt_required(fresh=True)),
}
REVOKED, INVALID, EXPIRED = (401, "token_revoked"), (401, "token_invalid"), (401, "token_expired")
OTHER_KEY = "another-key-that-is-long-enough-0123456789"


def describe_caller() -> dict[str, Any]:
    """Return the caller that the extension identified, and the one that the request log will name."""
    logged = g.get("caller")
    return {
        "identity": get_jwt_identity(),
        "id": current_user.id if current_user else None,
        "logged": logged.id if logged else None,
        "type": get_jwt().get("type"),
    }


def add_feature(app: Flask) -> None:
    """Add each access policy twice: as an endpoint of ours, and with the decorator of the extension."""
    ours = Api("ours", __name__)
    for name, (policy, decorator) in POLICIES.items():

        def view(caller: Caller | None) -> SimpleNamespace:
            return SimpleNamespace()

        view.__name__ = name
        ours.operation("GET", f"/ours/{name}", access=policy, answer=ok(OutputSchema()))(view)
        app.add_url_rule(f"/theirs/{name}", f"theirs_{name}", decorator(describe_caller))
    app.register_blueprint(ours)
    app.add_url_rule("/theirs/refresh", "theirs_refresh", jwt_required(refresh=True)(describe_caller))
    app.add_url_rule("/theirs/any", "theirs_any", jwt_required(verify_type=False)(describe_caller))
    app.add_url_rule("/theirs/query", "theirs_query", jwt_required(locations="query_string")(describe_caller))
    app.add_url_rule("/theirs/unguarded", "theirs_unguarded", lambda: {"seen": True})
    app.add_url_rule("/theirs/role", "theirs_role", jwt_required()(lambda: {"admin": current_user.is_admin}))
    app.add_url_rule(
        "/theirs/midst", "theirs_midst", lambda: {"anybody": verify_jwt_in_request(optional=True) is not None}
    )


@pytest.fixture(scope="module")
def lasting(shared_url: str) -> Iterator[Flask]:
    """An application with these views, on the database of `app`."""
    with replica(shared_url, jwt_previous_secret_keys=(OTHER_KEY,)) as lasting:
        add_feature(lasting)
        yield lasting


@pytest.fixture
def extended(app: Flask, lasting: Flask) -> Flask:
    """The application with these views, on an empty database."""
    return lasting


@pytest.fixture
def client(extended: Flask) -> FlaskClient:
    """A client of the application with these views."""
    return extended.test_client()


def call(client: FlaskClient, path: str, header: str | None) -> TestResponse:
    environ = {} if header is None else {"HTTP_AUTHORIZATION": header}
    return client.get(path, environ_overrides=environ)


def essence(response: TestResponse) -> tuple[Any, ...]:
    """Return what must be equal in both responses: for a success only the status."""
    if response.status_code == 200:
        return (200,)
    code = problem(response)
    return (
        *code,
        response.get_json()["detail"],
        response.headers["WWW-Authenticate"],
        response.headers["Cache-Control"],
    )


Scenario = Callable[[Person], str | None]
SCENARIOS: dict[str, Scenario] = {
    "no header": lambda person: None,
    "good": lambda person: person.access_token,
    "refresh": lambda person: person.refresh_token,
    "not fresh": lambda person: reissue(person.access_token, fresh=False),
    "expired": lambda person: reissue(person.access_token, exp=1),
    "expired and not fresh": lambda person: reissue(person.access_token, exp=1, fresh=False),
    "not yet": lambda person: reissue(person.access_token, nbf=2**33),
    "previous key without its name": lambda person: reissue(person.access_token, key=OTHER_KEY),
    "unknown key": lambda person: reissue(person.access_token, key="x" * 40),
    "unknown kid": lambda person: reissue(person.access_token, headers={"kid": "unknown"}),
    "no kid": lambda person: reissue(person.access_token, headers={"kid": None}),
    "plain typ": lambda person: reissue(person.access_token, headers={"typ": "JWT"}),
    "crit": lambda person: reissue(person.access_token, headers={"crit": ["exp"]}),
    "none": lambda person: reissue(person.access_token, headers={"alg": "none"}).rpartition(".")[0] + ".",
    "another issuer": lambda person: reissue(person.access_token, iss="somebody"),
    "another audience": lambda person: reissue(person.access_token, aud="somebody"),
    "two audiences": lambda person: reissue(person.access_token, aud=["gatepost", "somebody"]),
    "another type": lambda person: reissue(person.access_token, type="admin"),
    "no exp": lambda person: reissue(person.access_token, without=["exp"]),
    "no jti": lambda person: reissue(person.access_token, without=["jti"]),
    "no type": lambda person: reissue(person.access_token, without=["type"]),
    "no fresh": lambda person: reissue(person.access_token, without=["fresh"]),
    "no sid": lambda person: reissue(person.access_token, without=["sid"]),
    "no nonce": lambda person: reissue(person.access_token, without=["nonce"]),
    "another nonce": lambda person: reissue(person.access_token, nonce="A" * 16),
    "expires too late": lambda person: reissue(person.access_token, exp=10**400),
    "empty subject": lambda person: reissue(person.access_token, sub=""),
    "subject too large": lambda person: reissue(person.access_token, sub=str(2**63)),
    "unknown subject": lambda person: reissue(person.access_token, sub="999999"),
    "unknown session": lambda person: reissue(person.access_token, sid=999999),
    "unknown session and not fresh": lambda person: reissue(person.access_token, sid=999999, fresh=False),
    "no token": lambda person: "null",
    "deep header": lambda person: sign(b"[" * 3000, {}),
    "deep payload": lambda person: sign(jwt.get_unverified_header(person.access_token), b"[" * 3000),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_decorator_validates_a_token_as_an_access_policy_does(
    client: FlaskClient, alice: Person, policy: str, scenario: str
) -> None:
    token = SCENARIOS[scenario](alice)
    header = None if token is None else f"Bearer {token}"
    assert essence(call(client, f"/theirs/{policy}", header)) == essence(call(client, f"/ours/{policy}", header))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("form", TAKEN + NO_ONE_BEARER_TOKEN + OTHER_SCHEMES)
def test_the_decorator_reads_the_header_as_an_access_policy_does(
    client: FlaskClient, alice: Person, policy: str, form: str
) -> None:
    header = form.replace("{}", alice.access_token)
    assert essence(call(client, f"/theirs/{policy}", header)) == essence(call(client, f"/ours/{policy}", header))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_caller_is_the_current_user(client: FlaskClient, alice: Person, policy: str) -> None:
    answer = client.get(f"/theirs/{policy}", headers=alice.headers).get_json()
    assert answer == {"identity": str(alice.id), "id": alice.id, "logged": alice.id, "type": "access"}


def test_an_optional_view_without_a_token_has_no_current_user(client: FlaskClient) -> None:
    answer = client.get("/theirs/optional").get_json()
    assert answer == {"identity": None, "id": None, "logged": None, "type": None}


@pytest.mark.parametrize("policy", ["plain", "fresh"])
def test_a_token_of_a_previous_key_is_accepted(
    extended: Flask, app: Flask, database_url: str, alice: Person, policy: str
) -> None:
    older = create_app(settings_for(database_url, jwt_secret_key=OTHER_KEY)).test_client()
    token = log_in(older, alice.email).get_json()["access_token"]
    assert call(extended.test_client(), f"/theirs/{policy}", f"Bearer {token}").status_code == 200


def end_session(alice: Person, carol: Person) -> None:
    alice.delete(f"/auth/sessions/{alice.session_id}")


def disable(alice: Person, carol: Person) -> None:
    carol.patch(f"/users/{alice.id}", json={"is_active": False})


def delete(alice: Person, carol: Person) -> None:
    carol.delete(f"/users/{alice.id}")


@pytest.mark.parametrize("end", [end_session, disable, delete])
@pytest.mark.parametrize("path", ["plain", "optional", "fresh", "refresh", "any"])
def test_the_end_of_a_session_takes_effect_with_the_next_request(
    client: FlaskClient, alice: Person, carol: Person, path: str, end: Callable[[Person, Person], None]
) -> None:
    header = f"Bearer {alice.refresh_token if path == 'refresh' else alice.access_token}"
    assert call(client, f"/theirs/{path}", header).status_code == 200
    end(alice, carol)
    assert problem(call(client, f"/theirs/{path}", header)) == REVOKED


def test_a_new_role_takes_effect_with_the_next_request(client: FlaskClient, alice: Person, carol: Person) -> None:
    assert client.get("/theirs/role", headers=alice.headers).get_json() == {"admin": False}
    carol.patch(f"/users/{alice.id}", json={"role": "admin"})
    assert client.get("/theirs/role", headers=alice.headers).get_json() == {"admin": True}


# Refresh tokens


def test_a_view_for_refresh_tokens_accepts_the_newest_one(client: FlaskClient, app: Flask, alice: Person) -> None:
    answer = client.get("/theirs/refresh", headers=bearer(alice.refresh_token))
    assert answer.get_json() == {"identity": str(alice.id), "id": alice.id, "logged": alice.id, "type": "refresh"}
    assert session_row(app, alice.session_id).generation == 1
    assert problem(client.get("/theirs/refresh", headers=alice.headers)) == INVALID


def test_a_replaced_one_is_accepted_in_the_grace_period_and_a_replay_after(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock
) -> None:
    answer = refresh(client, alice.refresh_token).get_json()
    newest = answer["refresh_token"]
    assert get_me(client, answer["access_token"]).status_code == 200
    clock.forward(seconds=9)
    assert client.get("/theirs/refresh", headers=bearer(alice.refresh_token)).status_code == 200
    assert session_row(app, alice.session_id).grace_uses == 0
    clock.forward(seconds=1)
    assert problem(client.get("/theirs/refresh", headers=bearer(alice.refresh_token))) == REVOKED
    assert session_row(app, alice.session_id).revoked_reason == "replay"
    assert problem(client.get("/theirs/refresh", headers=bearer(newest))) == REVOKED
    assert problem(get_me(client, alice.access_token)) == REVOKED


@pytest.mark.parametrize("generation", [2, 9])
def test_a_generation_that_was_never_issued_is_refused(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock, generation: int
) -> None:
    clock.forward(minutes=1)
    token = reissue(alice.refresh_token, gen=generation)
    assert problem(client.get("/theirs/refresh", headers=bearer(token))) == REVOKED
    assert session_row(app, alice.session_id).revoked_at is None


def test_a_replaced_one_is_accepted_until_its_successor_was_used(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock
) -> None:
    newest = refresh(client, alice.refresh_token).get_json()["refresh_token"]
    clock.forward(minutes=1)
    for _ in range(2):
        assert client.get("/theirs/refresh", headers=bearer(alice.refresh_token)).status_code == 200
    assert session_row(app, alice.session_id).confirmed_generation == 1
    assert client.get("/theirs/refresh", headers=bearer(newest)).status_code == 200
    assert session_row(app, alice.session_id).confirmed_generation == 2
    assert problem(client.get("/theirs/refresh", headers=bearer(alice.refresh_token))) == REVOKED
    assert session_row(app, alice.session_id).revoked_reason == "replay"


def test_one_that_was_exchanged_too_often_is_limited_here_too(client: FlaskClient, alice: Person, clock: Clock) -> None:
    for _ in range(1 + GRACE_USES):
        assert refresh(client, alice.refresh_token).status_code == 200
    limited = client.get("/theirs/refresh", headers=bearer(alice.refresh_token))
    assert problem(limited) == (429, "rate_limited")
    assert limited.headers["Retry-After"] == "1"


def test_a_view_may_accept_both_kinds(client: FlaskClient, alice: Person) -> None:
    kinds = [client.get("/theirs/any", headers=bearer(t)).get_json() for t in (alice.access_token, alice.refresh_token)]
    assert [answer["type"] for answer in kinds] == ["access", "refresh"]


# Other token locations


def test_a_token_in_the_query_is_validated_in_the_same_way(client: FlaskClient, alice: Person, bob: Person) -> None:
    # The caller is the one of the token in the query, not the one in the header.
    response = client.get(f"/theirs/query?jwt={alice.access_token}", headers=bob.headers)
    assert response.get_json()["id"] == alice.id
    for token, expected in (
        (reissue(alice.access_token, without=["type"]), INVALID),
        (reissue(alice.access_token, exp=1), EXPIRED),
        (reissue(alice.access_token, sid=999999), REVOKED),
        ("null", INVALID),
    ):
        assert problem(client.get(f"/theirs/query?jwt={token}")) == expected
    assert problem(client.get("/theirs/query", headers=alice.headers)) == (401, "authentication_required")


@pytest.mark.parametrize("path", ["plain", "optional"])
def test_a_client_cannot_set_the_header_that_the_extension_reads(client: FlaskClient, alice: Person, path: str) -> None:
    response = client.get(f"/theirs/{path}", headers={"X-Gatepost-Bearer": alice.access_token})
    assert essence(response) == essence(client.get(f"/ours/{path}"))


@pytest.mark.parametrize("form", NO_ONE_BEARER_TOKEN)
def test_an_unprotected_view_ignores_the_header(client: FlaskClient, form: str) -> None:
    assert call(client, "/theirs/unguarded", form).get_json() == {"seen": True}


def test_an_unknown_path_is_404_with_any_header(client: FlaskClient) -> None:
    assert problem(call(client, "/theirs/nothing", ",, ,")) == (404, "not_found")


# Calls by a view


def test_a_view_may_verify_the_token_itself(client: FlaskClient, alice: Person) -> None:
    assert client.get("/theirs/midst").get_json() == {"anybody": False}
    assert client.get("/theirs/midst", headers=alice.headers).get_json() == {"anybody": True}
    assert problem(client.get("/theirs/midst", headers=bearer("null"))) == INVALID


def test_a_token_may_be_decoded_by_a_call(extended: Flask, alice: Person) -> None:
    with extended.test_request_context():
        assert decode_token(alice.access_token)["sub"] == str(alice.id)
        expired = reissue(alice.access_token, exp=1)
        with pytest.raises(TokenExpired):
            decode_token(expired)
        assert decode_token(expired, allow_expired=True)["sub"] == str(alice.id)


def test_a_token_created_by_the_extension_alone_is_refused(extended: Flask, alice: Person) -> None:
    with extended.test_request_context():
        token = create_access_token(str(alice.id))
    for policy in POLICIES:
        assert problem(call(extended.test_client(), f"/theirs/{policy}", f"Bearer {token}")) == INVALID


def test_the_extension_calls_our_validation(client: FlaskClient, alice: Person) -> None:
    """`Manager` overrides a private method of Flask-JWT-Extended, which a new version may rename or stop calling.

    Then `@jwt_required()` and `decode_token()` accept what only `read_token()` refuses: here a `typ` of another kind,
    a name that is twice in the header, and a signature in another spelling of base64.
    """
    ours, theirs = (inspect.signature(kind._decode_jwt_from_config).parameters for kind in (Manager, JWTManager))
    assert list(ours) == list(theirs)
    header, payload, signature = alice.access_token.split(".")
    named = jwt.get_unverified_header(alice.access_token)
    twice = json.dumps(named).replace("{", '{"typ": "JWT", ', 1).encode()
    forms = [
        reissue(alice.access_token, headers={"typ": "JWT"}),
        sign(twice, claims_of(alice.access_token)),
        f"{header}.{payload}.{signature}=",
    ]
    assert client.get(f"/theirs/query?jwt={alice.access_token}").status_code == 200
    for token in forms:
        assert problem(client.get(f"/theirs/query?jwt={token}")) == INVALID
        with client.application.test_request_context(), pytest.raises(TokenInvalid):
            decode_token(token)
