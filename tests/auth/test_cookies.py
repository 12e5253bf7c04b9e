"""The refresh token as a cookie: when it is set, how it is used with its CSRF token, and when it is deleted."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.auth.cookies import make_csrf_token
from app.auth.sessions import GRACE_USES
from app.components import components_of
from gatepost.testing.applications import NewClient, clients
from gatepost.testing.openapi_document import Document
from tests.auth.support import bearer, claims_of, get_me, log_in, reissue, session_row
from tests.conftest import API, PASSWORD, Clock, Person, problem

NAME = "gatepost_refresh"
PATH = API + "/auth"
ORIGIN = "https://app.example.com"
REVOKED = (401, "token_revoked")
INVALID = (401, "token_invalid")
REQUIRED = (401, "authentication_required")
MALFORMED = (400, "malformed_request")


@dataclass
class Browser:
    """A page that signed in with the cookie: its cookie and CSRF token, and its requests."""

    client: FlaskClient
    cookie: str
    csrf: str
    name: str = NAME

    def post(
        self, path: str, *, cookie: str | None = None, csrf: str | None = "", headers: Any = None, **options: Any
    ) -> TestResponse:
        """Send a request with the cookie and the CSRF token, or with others; None omits the header."""
        sent = {"Cookie": f"{self.name}={self.cookie}" if cookie is None else cookie}
        if csrf is not None:
            sent["X-CSRF-TOKEN"] = csrf or self.csrf
        return self.client.post(PATH + path, headers={**sent, **(headers or {})}, **options)

    def refresh(self, **options: Any) -> TestResponse:
        """Call POST /auth/refresh with the cookie."""
        return self.post("/refresh", **options)

    def keep(self, response: TestResponse) -> None:
        """Store the cookie of a response, as a browser does."""
        assert response.status_code == 200, response.text
        self.cookie = cookie_of(response).value


def cookie_of(response: TestResponse, name: str = NAME) -> Morsel[str]:
    """Return the only cookie that a response sets."""
    [line] = response.headers.getlist("Set-Cookie")
    parsed = SimpleCookie(line)
    assert [*parsed] == [name]
    return parsed[name]


def is_dropped(response: TestResponse) -> bool:
    """Return whether a response deletes the cookie."""
    if not response.headers.getlist("Set-Cookie"):
        return False
    morsel = cookie_of(response)
    assert (morsel.value == "") == (morsel["max-age"] == "0")
    assert (morsel["path"], morsel["secure"], morsel["httponly"]) == (PATH, True, True)
    return morsel.value == ""


@pytest.fixture
def bare(app: Flask) -> FlaskClient:
    """A client without a cookie jar: these tests write the Cookie header themselves."""
    return app.test_client(use_cookies=False)


def sign_in(client: FlaskClient, person: Person, *, path: str = f"{PATH}/login", **options: Any) -> TestResponse:
    """Log in with the cookie."""
    return client.post(path, json={"email": person.email, "password": PASSWORD, "cookie": True}, **options)


def open_browser(client: FlaskClient, person: Person) -> Browser:
    """Log in and return the page."""
    response = sign_in(client, person)
    assert response.status_code == 200, response.text
    return Browser(client, cookie_of(response).value, response.get_json()["csrf_token"])


@pytest.fixture
def browser(app: Flask, bare: FlaskClient, alice: Person) -> Browser:
    """A page with Alice's session, created without a login, which would hash a password."""
    with app.app_context():
        csrf = make_csrf_token(alice.grant)
    return Browser(bare, alice.refresh_token, csrf)


@pytest.fixture
def configured(app: Flask) -> Iterator[NewClient]:
    """Return a function that makes a client of an application with other settings on the same database."""
    with clients(components_of(app).settings, use_cookies=False) as make:
        yield make


# Setting the cookie


@pytest.mark.parametrize("route", ["register", "login", "refresh", "refresh by bearer"])
def test_with_cookie_true_the_refresh_token_is_only_in_the_cookie(bare: FlaskClient, alice: Person, route: str) -> None:
    bodies: dict[str, Any] = {
        "register": {"email": "dave@example.com", "name": "Dave", "password": PASSWORD},
        "login": {"email": alice.email, "password": PASSWORD},
        "refresh": {"refresh_token": alice.refresh_token},
        "refresh by bearer": {},
    }
    headers = bearer(alice.refresh_token) if route.endswith("bearer") else {}
    path = f"{PATH}/{route.split()[0]}"
    response = bare.post(path, json={**bodies[route], "cookie": True}, headers=headers)
    assert response.status_code in (200, 201)
    answer, morsel = response.get_json(), cookie_of(response)
    assert answer.keys() - {"user"} == {
        *("access_token", "csrf_token", "token_type", "expires_in", "refresh_expires_in"),
    }
    assert morsel.value not in response.text
    assert claims_of(morsel.value)["type"] == "refresh"
    assert (morsel["path"], morsel["domain"], morsel["samesite"]) == (PATH, "", "Strict")
    assert morsel["secure"]
    assert morsel["httponly"]
    assert int(morsel["max-age"]) == answer["refresh_expires_in"] == 604_800
    assert response.headers["Cache-Control"] == "no-store"
    assert get_me(bare, answer["access_token"]).status_code == 200


@pytest.mark.parametrize("cookie", [{}, {"cookie": False}])
def test_with_cookie_false_no_cookie_is_set(bare: FlaskClient, alice: Person, cookie: dict[str, bool]) -> None:
    login = bare.post(f"{PATH}/login", json={"email": alice.email, "password": PASSWORD, **cookie})
    again = bare.post(f"{PATH}/refresh", json={"refresh_token": login.get_json()["refresh_token"], **cookie})
    for response in (login, again):
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        assert "csrf_token" not in response.get_json()


@pytest.mark.parametrize("value", ["true", 1, 1.0, None, [], {}])
def test_cookie_must_be_a_boolean(bare: FlaskClient, alice: Person, value: object) -> None:
    response = bare.post(f"{PATH}/login", json={"email": alice.email, "password": PASSWORD, "cookie": value})
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"].keys() == {"cookie"}
    assert "Set-Cookie" not in response.headers


def test_a_failed_login_sets_no_cookie(bare: FlaskClient, alice: Person) -> None:
    response = bare.post(f"{PATH}/login", json={"email": alice.email, "password": "wrong", "cookie": True})
    assert problem(response) == (401, "invalid_credentials")
    assert "Set-Cookie" not in response.headers


def test_a_session_that_was_rolled_back_has_no_cookie(
    bare: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.views.access_token_seconds", lambda: 1 / 0)
    response = sign_in(bare, alice)
    assert response.status_code == 500
    assert "Set-Cookie" not in response.headers


def test_the_path_of_the_cookie_has_the_service_prefix(configured: NewClient, alice: Person) -> None:
    response = sign_in(configured(service_prefix="/example"), alice, path=f"/example{PATH}/login")
    assert cookie_of(response)["path"] == "/example" + PATH


@pytest.mark.parametrize("same_site", ["strict", "lax", "none"])
def test_its_attributes_can_be_set(configured: NewClient, alice: Person, same_site: str) -> None:
    client = configured(cookie_secure=same_site == "none", cookie_samesite=same_site)
    morsel = cookie_of(sign_in(client, alice))
    assert (morsel["samesite"], bool(morsel["secure"])) == (same_site.title(), same_site == "none")
    assert morsel["httponly"]


def test_over_tls_the_cookie_has_the_secure_prefix(bare: FlaskClient, alice: Person) -> None:
    """RFC 6265bis: `__Secure-` requires Secure and TLS; `__Host-` would also require Path=/."""
    tls: dict[str, Any] = {"base_url": "https://api.example.com"}
    response = sign_in(bare, alice, **tls)
    morsel = cookie_of(response, f"__Secure-{NAME}")
    assert morsel["secure"]
    page = Browser(bare, morsel.value, response.get_json()["csrf_token"], f"__Secure-{NAME}")
    planted = page.refresh(cookie=f"{NAME}={page.cookie}", **tls)
    assert problem(planted) == REQUIRED
    refreshed = page.refresh(**tls)
    assert refreshed.status_code == 200
    assert cookie_of(refreshed, f"__Secure-{NAME}").value != page.cookie


# Refreshing


def test_a_cookie_rotates_like_any_refresh_token(app: Flask, browser: Browser, alice: Person) -> None:
    for generation in (2, 3, 4):
        response = browser.refresh()
        browser.keep(response)
        answer = response.get_json()
        assert answer.keys() == {"access_token", "csrf_token", "token_type", "expires_in", "refresh_expires_in"}
        assert answer["csrf_token"] == browser.csrf
        assert claims_of(browser.cookie)["gen"] == generation
        assert claims_of(answer["access_token"])["fresh"] is False
        assert get_me(browser.client, answer["access_token"]).get_json()["id"] == alice.id
    assert session_row(app, claims_of(browser.cookie)["sid"]).generation == 4


@pytest.mark.parametrize("body", [{}, {"cookie": False}, {"cookie": True}])
def test_a_token_sent_in_the_cookie_is_replaced_in_the_cookie(browser: Browser, body: dict[str, bool]) -> None:
    """Otherwise JavaScript could ask for the token that the HttpOnly cookie hides from it."""
    response = browser.refresh(json=body)
    assert "refresh_token" not in response.get_json()
    assert cookie_of(response).value not in response.text


def test_a_second_tab_can_use_the_replaced_cookie(browser: Browser, clock: Clock) -> None:
    first = browser.refresh()
    clock.forward(seconds=3)
    second = browser.refresh()
    generations = [claims_of(cookie_of(response).value)["gen"] for response in (first, second)]
    assert generations == [2, 2]
    browser.keep(second)
    clock.forward(minutes=1)
    browser.keep(browser.refresh())
    assert claims_of(browser.cookie)["gen"] == 3


def test_tabs_that_refresh_at_once_all_stay_signed_in(app: Flask, browser: Browser) -> None:
    def refresh(_: int) -> TestResponse:
        return replace(browser, client=app.test_client(use_cookies=False)).refresh()

    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(refresh, range(4))]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {claims_of(cookie_of(answer).value)["gen"] for answer in answers} == {2}
    browser.keep(answers[-1])
    browser.keep(browser.refresh())


def test_a_replayed_cookie_ends_the_session_and_is_deleted(app: Flask, browser: Browser, clock: Clock) -> None:
    stolen = browser.cookie
    refreshed = browser.refresh()
    browser.keep(refreshed)
    assert get_me(browser.client, refreshed.get_json()["access_token"]).status_code == 200
    clock.forward(seconds=60)
    replay = browser.refresh(cookie=f"{NAME}={stolen}")
    assert problem(replay) == REVOKED
    assert is_dropped(replay)
    assert session_row(app, claims_of(stolen)["sid"]).revoked_reason == "replay"
    after = browser.refresh()
    assert problem(after) == REVOKED
    assert is_dropped(after)


def test_a_refused_cookie_of_a_session_that_lives_is_kept(app: Flask, browser: Browser, clock: Clock) -> None:
    later = browser.refresh(cookie=f"{NAME}={reissue(browser.cookie, gen=7)}")
    assert problem(later) == REVOKED
    foreign = browser.refresh(cookie=f"{NAME}={reissue(browser.cookie, nonce='A' * 16)}")
    assert problem(foreign) == INVALID
    replaced = browser.cookie
    browser.keep(browser.refresh())
    for _ in range(GRACE_USES):
        assert browser.refresh(cookie=f"{NAME}={replaced}").status_code == 200
    limited = browser.refresh(cookie=f"{NAME}={replaced}")
    assert problem(limited) == (429, "rate_limited")
    assert not any("Set-Cookie" in response.headers for response in (later, foreign, limited))
    assert browser.refresh().status_code == 200


def test_the_csrf_token_is_bound_to_the_row_of_the_session(app: Flask, browser: Browser, alice: Person) -> None:
    """After a database was wiped, the id may be that of another session."""
    with app.app_context():
        former = make_csrf_token(replace(alice.grant, nonce="A" * 16))
    assert problem(browser.refresh(csrf=former)) == INVALID
    assert browser.refresh().status_code == 200


@pytest.mark.parametrize("end", ["ended by the user", "disabled by an administrator"])
def test_the_cookie_of_an_ended_session_is_deleted(browser: Browser, alice: Person, carol: Person, end: str) -> None:
    if end.startswith("ended"):
        assert alice.delete("/auth/sessions?include_current=true").status_code == 204
    else:
        assert carol.patch(f"/users/{alice.id}", json={"is_active": False}).status_code == 200
    response = browser.refresh()
    assert problem(response) == REVOKED
    assert is_dropped(response)


def test_a_new_password_ends_the_cookies_of_other_browsers(bare: FlaskClient, browser: Browser, alice: Person) -> None:
    change = {"current_password": PASSWORD, "new_password": "staple of a new battery"}
    token = browser.refresh().get_json()["access_token"]
    other = open_browser(bare, alice)
    # The browser sends its cookie too, which this route ignores.
    changed = other.client.post(
        f"{PATH}/password", json=change, headers={**bearer(token), "Cookie": f"{NAME}={browser.cookie}"}
    )
    assert changed.status_code == 204
    assert "Set-Cookie" not in changed.headers
    assert problem(other.refresh()) == REVOKED
    assert browser.refresh().status_code == 200


def test_an_expired_cookie_is_deleted(browser: Browser) -> None:
    expired = reissue(browser.cookie, iat=1, nbf=1, exp=2)
    response = browser.refresh(cookie=f"{NAME}={expired}")
    assert problem(response) == (401, "token_expired")
    assert is_dropped(response)


# The CSRF token


def test_a_cookie_without_csrf_token_is_no_credential(app: Flask, browser: Browser) -> None:
    own = {"Cookie": f"{NAME}={browser.cookie}; X-CSRF-TOKEN={browser.csrf}"}
    others: list[dict[str, str]] = [{}, {"Origin": ORIGIN}, {"Origin": "https://evil.example"}]
    others += [{"X-Requested-With": "XMLHttpRequest"}, own]
    for path, headers in itertools.product(("/refresh", "/logout"), others):
        response = browser.post(path, csrf=None, headers=headers)
        assert problem(response) == REQUIRED
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'
        assert "X-CSRF-TOKEN" in response.get_json()["detail"]
        assert "Set-Cookie" not in response.headers
    assert session_row(app, claims_of(browser.cookie)["sid"]).generation == 1
    assert browser.refresh().status_code == 200


def test_a_wrong_csrf_token_changes_nothing_and_keeps_the_session(
    app: Flask, bare: FlaskClient, browser: Browser, alice: Person, bob: Person
) -> None:
    """The token of another session is wrong too, whether of the same user or of an attacker."""
    others = [open_browser(bare, alice).csrf, open_browser(bare, bob).csrf]
    nearly = browser.csrf[:-1] + ("0" if browser.csrf[-1] != "0" else "1")
    similar = [*others, nearly, browser.csrf[:-2], browser.csrf + "00", browser.cookie]
    wrong = [*similar, "x", " ", "\u00e9", "0" * 32, "a" * 4000, "null", "00"]
    for path in ("/refresh", "/logout"):
        for csrf in wrong:
            response = browser.post(path, csrf=csrf)
            assert problem(response) == INVALID, csrf
            assert "error=" in response.headers["WWW-Authenticate"]
            assert "Set-Cookie" not in response.headers
    row = session_row(app, claims_of(browser.cookie)["sid"])
    assert (row.generation, row.revoked_at) == (1, None)


def test_an_empty_csrf_token_is_invalid(browser: Browser) -> None:
    assert problem(browser.refresh(csrf=None, headers={"X-CSRF-TOKEN": ""})) == INVALID


def test_csrf_tokens_are_compared_in_constant_time(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return secrets.compare_digest(one, other)

    monkeypatch.setattr("app.security.keyed_hashes.hmac.compare_digest", compare)
    assert browser.refresh().status_code == 200
    assert bytes.fromhex(browser.csrf) in [sent for _, sent in compared]


def test_a_csrf_token_stays_valid_after_a_change_of_keys(configured: NewClient, browser: Browser) -> None:
    key = "a-key-for-the-tests-alone-0123456789"
    client = configured(jwt_secret_key="Zx8Cv7Bn6Mq5We4Rt3Yu2Io1Pa0Sd9Fg8Hj7", jwt_previous_secret_keys=(key,))
    page = replace(browser, client=client)
    response = page.refresh()
    page.keep(response)
    assert response.get_json()["csrf_token"] != browser.csrf
    page.csrf = response.get_json()["csrf_token"]
    assert page.refresh().status_code == 200


def test_a_csrf_token_without_a_cookie_is_no_credential(bare: FlaskClient, browser: Browser) -> None:
    response = bare.post(f"{PATH}/refresh", headers={"X-CSRF-TOKEN": browser.csrf})
    assert problem(response) == REQUIRED


# One credential a request


def test_two_credentials_are_refused_and_none_is_used(app: Flask, browser: Browser, alice: Person) -> None:
    member = {"refresh_token": alice.refresh_token}
    for path in ("/refresh", "/logout"):
        for token in (alice.refresh_token, alice.access_token, "rubbish", browser.cookie):
            assert problem(browser.post(path, headers=bearer(token))) == MALFORMED
        answer = browser.post(path, json=member)
        assert problem(answer) == MALFORMED
        assert "Set-Cookie" not in answer.headers
        for csrf in ("", None):
            assert problem(browser.post(path, csrf=csrf, json=member, headers=bearer(alice.access_token))) == MALFORMED
    for session_id in (alice.session_id, claims_of(browser.cookie)["sid"]):
        row = session_row(app, session_id)
        assert (row.generation, row.revoked_at) == (1, None)


@pytest.mark.parametrize("value", ["{cookie}", "rubbish", "{others}"])
def test_without_the_csrf_token_a_cookie_is_no_second_credential(browser: Browser, bob: Person, value: str) -> None:
    """The browser may send the cookie of another service on this host."""
    cookie = f"{NAME}=" + value.format(cookie=browser.cookie, others=reissue(browser.cookie, aud="another"))
    response = browser.refresh(csrf=None, cookie=cookie, json={"refresh_token": bob.refresh_token})
    assert response.status_code == 200
    token = response.get_json()["refresh_token"]
    assert claims_of(token)["sub"] == str(bob.id)
    assert "Set-Cookie" not in response.headers
    assert browser.post("/logout", csrf=None, cookie=cookie, headers=bearer(token)).status_code == 204
    assert browser.refresh().status_code == 200


def test_the_cookie_is_no_credential_on_other_routes(browser: Browser) -> None:
    headers = {"Cookie": f"{NAME}={browser.cookie}", "X-CSRF-TOKEN": browser.csrf}
    for path in ("/auth/me", "/auth/sessions", "/posts?status=draft", "/users"):
        assert problem(browser.client.get(API + path, headers=headers)) == REQUIRED
    assert problem(browser.post("/password", json={})) == REQUIRED


def test_an_access_token_in_the_cookie_is_no_refresh_token(browser: Browser, alice: Person) -> None:
    for path in ("/refresh", "/logout"):
        response = browser.post(path, cookie=f"{NAME}={alice.access_token}")
        assert problem(response) == INVALID


# Deleting the cookie


def test_logout_ends_the_session_and_deletes_the_cookie(app: Flask, browser: Browser) -> None:
    response = browser.post("/logout")
    assert (response.status_code, response.data) == (204, b"")
    assert is_dropped(response)
    assert session_row(app, claims_of(browser.cookie)["sid"]).revoked_reason == "logout"
    for path in ("/refresh", "/logout"):
        again = browser.post(path)
        assert problem(again) == REVOKED
        assert is_dropped(again)


def test_a_logout_that_fails_keeps_the_cookie(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.auth.sessions.end_session", lambda *_, **__: 1 / 0)
    response = browser.post("/logout")
    assert response.status_code == 500
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("path", ["/sessions?include_current=true", "/sessions/{sid}"])
def test_ending_the_current_session_deletes_the_cookie(browser: Browser, path: str) -> None:
    response = browser.refresh()
    browser.keep(response)
    headers = bearer(response.get_json()["access_token"]) | {"Cookie": f"{NAME}={browser.cookie}"}
    sid = claims_of(browser.cookie)["sid"]
    ended = browser.client.delete(PATH + path.format(sid=sid), headers=headers)
    assert ended.status_code == 204
    assert is_dropped(ended)


@pytest.mark.parametrize("junk", ["", "rubbish", None], ids=["empty", "rubbish", "of another"])
def test_ending_another_session_keeps_the_cookie(
    bare: FlaskClient, alice: Person, bob: Person, junk: str | None
) -> None:
    page = open_browser(bare, bob)
    value = page.cookie if junk is None else junk
    headers = alice.headers | {"Cookie": f"{NAME}={value}"}
    for path in (f"/sessions/{alice.session_id}", "/sessions?include_current=true"):
        assert "Set-Cookie" not in bare.delete(PATH + path, headers=headers).headers
    assert page.refresh().status_code == 200


def test_ending_the_other_sessions_keeps_the_cookie(browser: Browser) -> None:
    token = browser.refresh().get_json()["access_token"]
    headers = bearer(token) | {"Cookie": f"{NAME}={browser.cookie}"}
    assert "Set-Cookie" not in browser.client.delete(f"{PATH}/sessions", headers=headers).headers


def test_a_login_without_a_cookie_deletes_an_old_one(browser: Browser, alice: Person) -> None:
    """To a page that still has its CSRF token it would be a second credential, which is refused."""
    response = log_in(browser.client, alice.email, headers={"Cookie": f"{NAME}={browser.cookie}"})
    assert "refresh_token" in response.get_json()
    assert is_dropped(response)


def test_a_login_without_a_cookie_keeps_that_of_another_service(browser: Browser, alice: Person) -> None:
    cookie = reissue(browser.cookie, key="the-key-of-another-service-0123456789")
    response = log_in(browser.client, alice.email, headers={"Cookie": f"{NAME}={cookie}"})
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    "invalid",
    [
        # Another service on this host, or a replica with a newer key.
        {"key": "the-key-of-another-service-0123456789"},
        {"headers": {"kid": "unknown"}},
        {"iss": "another"},
        {"aud": "another"},
        # The clock of this server is 60 s behind that of the server that issued the token.
        {"nbf": 60, "iat": 60},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/refresh", "/logout"])
def test_a_cookie_that_is_invalid_here_is_kept(browser: Browser, invalid: dict[str, Any], path: str) -> None:
    changes = {name: value + time.time() if name in ("iat", "nbf") else value for name, value in invalid.items()}
    changes = {name: int(value) if name in ("iat", "nbf") else value for name, value in changes.items()}
    response = browser.post(path, cookie=f"{NAME}={reissue(browser.cookie, **changes)}")
    assert problem(response) == INVALID
    assert "Set-Cookie" not in response.headers


# Several cookies of the name

SEVERAL = {
    "identical ones": "{name}={good}; {name}={good}",
    "two lines, as servers join them": "{name}={good},{name}={good}",
    "two lines with others": "a=b,{name}={good},c=d; e",
    "an empty one before": "{name}=; {name}={good}",
    "an empty one after": "{name}={good}; {name}=",
    "one without a value": "{name}; {name}={good}",
    "one that a sibling host tossed before": "{name}=tossed; {name}={good}",
    "one that a sibling host tossed after": "{name}={good}; {name}=tossed",
    "another session of the service before": "{name}={other}; {name}={good}",
    "another session of the service after": "{name}={good}; {name}={other}",
    "an expired one": "{name}={expired}; {name}={good}",
    "three": "{name}={other}; {name}={good}; {name}=tossed",
}


@pytest.mark.parametrize("template", SEVERAL.values(), ids=SEVERAL.keys())
def test_of_several_cookies_the_one_that_fits_the_csrf_token_counts(
    browser: Browser, alice: Person, bob: Person, template: str
) -> None:
    cookies = {
        "good": browser.cookie,
        "other": bob.refresh_token,
        "expired": reissue(bob.refresh_token, iat=1, nbf=1, exp=2),
    }
    for path, status in (("/refresh", 200), ("/logout", 204)):
        response = browser.post(path, cookie=template.format(name=NAME, **cookies))
        assert response.status_code == status
        if path == "/refresh":
            browser.keep(response)
            assert claims_of(browser.cookie)["sub"] == str(alice.id)
            cookies["good"] = browser.cookie


def test_of_several_cookies_of_a_session_the_newest_counts(app: Flask, browser: Browser, clock: Clock) -> None:
    """The older one would be a replay, which ends the session."""
    old = browser.cookie
    browser.keep(browser.refresh())
    clock.forward(minutes=1)
    for cookie in (f"{NAME}={old}; {NAME}={browser.cookie}", f"{NAME}={browser.cookie}; {NAME}={old}"):
        response = browser.refresh(cookie=cookie)
        assert response.status_code == 200


def test_if_no_cookie_fits_nothing_is_deleted(browser: Browser, bob: Person) -> None:
    expired = reissue(browser.cookie, iat=1, nbf=1, exp=2)
    for other in ("tossed", bob.refresh_token):
        response = browser.refresh(cookie=f"{NAME}={expired}; {NAME}={other}")
        assert problem(response) == INVALID
        assert "Set-Cookie" not in response.headers


def test_the_name_can_be_set(configured: NewClient, alice: Person) -> None:
    client = configured(cookie_name="shop_refresh")
    body = {"email": alice.email, "password": PASSWORD, "cookie": True}
    for base, name in (("http://localhost", "shop_refresh"), ("https://localhost", "__Secure-shop_refresh")):
        response = client.post(f"{PATH}/login", json=body, base_url=base)
        token = cookie_of(response, name).value
        page = Browser(client, token, response.get_json()["csrf_token"], name)
        # The cookie of another service on this host, with the default name.
        cookie = f"{NAME}=x; __Secure-{NAME}=x; {name}={token}"
        assert page.refresh(cookie=cookie, base_url=base).status_code == 200
    schemes = client.get("/openapi.json").get_json()["components"]["securitySchemes"]
    assert schemes["refreshCookie"]["name"] == "__Secure-shop_refresh"


# Hostile cookies

HOSTILE: dict[str, tuple[str, tuple[int, str]]] = {
    "two that do not fit": (f"{NAME}=tossed; {NAME}={{cut}}", INVALID),
    "two empty ones": (f"{NAME}=; {NAME}=", REQUIRED),
    "commas": (f"{NAME}=,,,{NAME},=", REQUIRED),
    "an empty one": (f"{NAME}=", REQUIRED),
    "no value": (NAME, REQUIRED),
    "nothing": ("", REQUIRED),
    "semicolons": (";;; ;", REQUIRED),
    "equals signs": ("===;=;=x", REQUIRED),
    "another name": ("session={good}", REQUIRED),
    "another case": (f"{NAME.upper()}={{good}}", REQUIRED),
    "the name that TLS has": (f"__Secure-{NAME}={{good}}", REQUIRED),
    "a longer name": (f"x{NAME}={{good}}", REQUIRED),
    "a name with a space that is none": (f"\u00a0{NAME}={{good}}", REQUIRED),
    "rubbish": (f"{NAME}=rubbish", INVALID),
    "dots": (f"{NAME}=..", INVALID),
    "quotes": (f'{NAME}="{{good}}"', INVALID),
    "white space inside": (f"{NAME}={{good}} x", INVALID),
    "control characters": (f"{NAME}=a\x01\x1f\x7f", INVALID),
    "bytes that are no UTF-8": (f"{NAME}=\xff\xfe\x80", INVALID),
    "another cookie that is no UTF-8": ("a=\xff\xfe", REQUIRED),
    "SQL": (f"{NAME}=' OR 1=1 --", INVALID),
    "too long": (f"{NAME}={'A' * 8000}", INVALID),
    "a token that is too long": (f"{NAME}={{good}}{'A' * 8000}", INVALID),
    "a thousand others": ("a=b; " * 1000, REQUIRED),
    "deep JSON as a header": (f"{NAME}={'W1tb' * 1500}.e30.c2ln", INVALID),
    "a cut signature": (f"{NAME}={{cut}}", INVALID),
    "no signature": (f"{NAME}={{bare}}.", INVALID),
}


def hostile(good: str) -> Iterator[tuple[str, str, tuple[int, str]]]:
    """Yield each case with its Cookie header and the expected response."""
    for kind, (template, expected) in HOSTILE.items():
        yield kind, template.format(good=good, cut=good[:-4], bare=good.rpartition(".")[0]), expected


@pytest.mark.parametrize("path", ["/refresh", "/logout"])
def test_hostile_cookies_are_refused(app: Flask, browser: Browser, path: str) -> None:
    for kind, cookie, expected in hostile(browser.cookie):
        response = browser.post(path, cookie=cookie)
        assert problem(response) == expected, kind
        assert "WWW-Authenticate" in response.headers, kind
    row = session_row(app, claims_of(browser.cookie)["sid"])
    assert (row.generation, row.revoked_at) == (1, None)


def test_other_routes_ignore_hostile_cookies(browser: Browser, alice: Person) -> None:
    for kind, cookie, _ in hostile(browser.cookie):
        for path in ("/auth/me", "/posts"):
            response = browser.client.get(API + path, headers=alice.headers | {"Cookie": cookie})
            assert response.status_code == 200, kind


def test_a_cookie_among_others_is_found(browser: Browser) -> None:
    cookie = f'theme=dark; a="b; c";{NAME}={browser.cookie} ;x=\xff; =y; z'
    assert browser.refresh(cookie=cookie).status_code == 200


def test_a_client_that_keeps_cookies_signs_in_refreshes_and_signs_out(client: FlaskClient, alice: Person) -> None:
    """The cookie jar of the test client respects paths, so it sends the cookie only to the auth routes."""
    answer = sign_in(client, alice).get_json()
    headers = {"X-CSRF-TOKEN": answer["csrf_token"]}
    for _ in range(3):
        assert client.post(f"{PATH}/refresh", headers=headers).status_code == 200
    listed = client.get(f"{API}/posts")
    assert "Cookie" not in listed.request.headers
    assert "Cookie" in client.get(f"{PATH}/me").request.headers
    assert client.post(f"{PATH}/logout", headers=headers).status_code == 204
    assert "Cookie" not in client.get(f"{PATH}/me").request.headers


# Other origins


@pytest.mark.parametrize("origins", [("*",), ("*", ORIGIN), (ORIGIN,), ()])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "*"])
def test_no_other_origin_may_send_cookies_even_if_all_may_read(
    configured: NewClient, browser: Browser, origins: tuple[str, ...], origin: str
) -> None:
    page = replace(browser, client=configured(cors_origins=origins))
    response = page.refresh(headers={"Origin": origin})
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Origin" in response.vary


# The OpenAPI document


@pytest.fixture(scope="module")
def document(shared_app: Flask) -> Document:
    """The OpenAPI document."""
    return Document(shared_app.test_client().get("/openapi.json").get_json())


def test_the_document_describes_both_transports(document: Document) -> None:
    schemes = document.content["components"]["securitySchemes"]
    assert (schemes["refreshCookie"]["in"], schemes["refreshCookie"]["name"]) == ("cookie", f"__Secure-{NAME}")
    assert schemes["refreshToken"]["scheme"] == "bearer"
    for name in ("refresh", "log_out"):
        operation = document.operations[name][2]
        assert {"refreshCookie": []} in operation["security"]
        assert "X-CSRF-TOKEN" in [document.resolve(parameter)["name"] for parameter in operation["parameters"]]
    for name, status in (("register", "201"), ("log_in", "200"), ("refresh", "200"), ("log_out", "204")):
        assert "Set-Cookie" in document.operations[name][2]["responses"][status]["headers"]
    for name in ("register", "log_in", "refresh"):
        body = document.operations[name][2]["requestBody"]["content"]["application/json"]["schema"]
        assert document.resolve(body)["properties"]["cookie"]["type"] == "boolean"


def test_responses_match_the_document(document: Document, browser: Browser, clock: Clock) -> None:
    old = browser.cookie
    for response in (
        browser.refresh(),
        browser.refresh(csrf=None),
        browser.refresh(csrf="wrong"),
        browser.refresh(headers=bearer("a.b.c")),
        browser.post("/logout", cookie=f"{NAME}={old}"),
        browser.post("/logout"),
    ):
        document.check(response)
