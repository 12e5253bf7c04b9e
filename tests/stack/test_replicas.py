"""Replicas and certificates that come and go while nginx serves."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from app.api.middleware.headers import SECURITY_HEADERS
from tests.stack.conftest import API, Front, Stack
from tests.stack.wire import Application, call, eventually
from tests.support.crowd import CLIENTS, Crowd
from tests.support.services import LOOPBACK
from tests.support.services.nginx import COMES_AND_GOES, NginxServer
from tests.support.services.process import is_alive
from tests.support.services.process import send as send_signal

# As start.sh has it.
FORGET_ROUNDS = 5


@pytest.fixture(params=["the system's tools", "BusyBox"])
def named(front: Front, request: pytest.FixtureRequest) -> Callable[..., NginxServer]:
    """Return a function that starts an nginx by start.sh under a shell: the system's, and the image's."""
    return partial(front, busybox=request.param == "BusyBox", env={"NGINX_RATE": "10000r/s", "NGINX_BURST": "10000"})


def wait_for_rounds(nginx: NginxServer, name: str, count: int) -> None:
    """Wait until replicas have been looked for so many times more, the last time to the end."""
    enough = nginx.rounds(name) + count + 1
    eventually(lambda: nginx.rounds(name) >= enough)


class TestNames:
    def test_replicas_are_found_and_forgotten_as_their_names_are(self, named: Callable[..., NginxServer]) -> None:
        with Application() as one, Application() as two:
            nginx = named(f"one:{one.port}", f"two:{two.port}", names=("one",))

            def answered(*expected: Application) -> bool:
                before = {application: len(application.seen) for application in (one, two)}
                assert all(call(nginx.port, "GET", "/").status == 200 for _ in range(8))
                return {a for a in before if len(a.seen) > before[a]} == set(expected)

            assert answered(one)
            nginx.set_names("one", "two")
            eventually(lambda: answered(one, two))
            nginx.set_names("two")
            wait_for_rounds(nginx, "one", FORGET_ROUNDS)
            eventually(lambda: answered(two))
            # Nobody has an address: most likely, all are starting again at the ones they had.
            nginx.set_names()
            wait_for_rounds(nginx, "one", FORGET_ROUNDS)
            assert answered(two)
            assert nginx.reloads() == 2

    @pytest.mark.parametrize("first", ["one", f"one {COMES_AND_GOES}"])
    def test_those_that_come_and_go_are_kept(
        self, named: Callable[..., NginxServer], application: Application, first: str
    ) -> None:
        with Application() as two:
            nginx = named(f"one:{application.port}", f"two:{two.port}", names=("one", "two"))
            nginx.set_names(first, f"two {COMES_AND_GOES}")
            ends = nginx.rounds("two") + 2 * FORGET_ROUNDS
            while nginx.rounds("two") < ends:
                assert call(nginx.port, "POST", "/", body=b"{}").status == 200
            assert nginx.reloads() == 0
            assert application.seen
            assert two.seen

    def test_one_that_is_missing_is_forgotten_after_some_rounds_alone(
        self, named: Callable[..., NginxServer], application: Application
    ) -> None:
        with Application() as gone:
            pass
        nginx = named(f"one:{application.port}", f"gone:{gone.port}", names=("one", "gone"))
        nginx.set_names("one")
        missed_from = nginx.rounds("gone")
        while nginx.reloads() == 0:
            assert call(nginx.port, "POST", "/", body=b"{}").status == 200
            assert nginx.rounds("gone") < missed_from + 100 * FORGET_ROUNDS
        assert nginx.rounds("gone") >= missed_from + FORGET_ROUNDS - 1
        wait_for_rounds(nginx, "gone", FORGET_ROUNDS)
        assert nginx.reloads() == 1

    def test_nginx_starts_before_the_application(
        self, named: Callable[..., NginxServer], application: Application
    ) -> None:
        nginx = named(f"app:{application.port}", names=())
        assert call(nginx.port, "GET", "/").status == 502
        nginx.set_names("app")
        eventually(lambda: call(nginx.port, "GET", "/").status == 200)

    def test_without_a_change_nothing_is_read_again(
        self, named: Callable[..., NginxServer], application: Application
    ) -> None:
        nginx = named(f"app:{application.port}", names=("app",))
        before = nginx.worker_pids()
        wait_for_rounds(nginx, "app", 3)
        assert (nginx.worker_pids(), nginx.reloads()) == (before, 0)


class TestWatcher:
    @pytest.fixture
    def nginx(self, named: Callable[..., NginxServer], application: Application) -> NginxServer:
        """An nginx that has looked for replicas."""
        nginx = named(f"app:{application.port}", names=("app",))
        eventually(nginx.is_healthy)
        return nginx

    def test_one_that_dies_is_replaced(self, nginx: NginxServer) -> None:
        for below in [family[1:] for family in nginx.watchers()]:
            send_signal(below, signal.SIGKILL)
        wait_for_rounds(nginx, "app", 2)
        nginx.set_names()
        assert nginx.is_healthy()

    def test_without_one_the_health_check_fails(self, nginx: NginxServer, application: Application) -> None:
        for family in nginx.watchers():
            send_signal(family, signal.SIGKILL)
        eventually(lambda: not nginx.watchers())
        assert nginx.is_healthy()
        nginx.age_last_round(seconds=120)
        assert not nginx.is_healthy()
        # What is known already is served all the same.
        assert call(nginx.port, "GET", "/").status == 200

    def test_it_ends_with_nginx(self, nginx: NginxServer) -> None:
        watchers = [process for family in nginx.watchers() for process in family]
        nginx.stop()
        assert not nginx.is_healthy()
        eventually(lambda: not any(map(is_alive, watchers)))


class TestCertificate:
    @pytest.fixture
    def nginx(self, front: Front, application: Application) -> NginxServer:
        """An nginx without a certificate."""
        return front(application.address)

    def give_certificate(self, nginx: NginxServer, name: str) -> None:
        for part in ("fullchain", "privkey"):
            (nginx.tls_folder / f"{part}.new").touch()
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", f"/O={name}/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-out", "fullchain.new", "-keyout", "privkey.new"),
            ],
            cwd=nginx.tls_folder,
            check=True,
            capture_output=True,
        )
        for part in ("privkey", "fullchain"):
            file = nginx.tls_folder / f"{part}.new"
            # The server is an ordinary user, who must be able to read it.
            file.chmod(0o644)
            file.rename(nginx.tls_folder / f"{part}.pem")

    def organization(self, nginx: NginxServer) -> str:
        """Whose certificate nginx shows, to a client that trusts the one in the folder."""
        trusting = ssl.create_default_context(cafile=str(nginx.tls_folder / "fullchain.pem"))
        connection = http.client.HTTPSConnection("localhost", nginx.tls_port, timeout=5, context=trusting)
        try:
            connection.connect()
            certificate: Any = connection.sock.getpeercert()
        except (ssl.SSLError, ConnectionError):
            return ""
        finally:
            connection.close()
        return str(dict(pair[0] for pair in certificate["subject"])["organizationName"])

    def test_tls_comes_with_a_certificate_and_follows_its_renewal(
        self, nginx: NginxServer, application: Application
    ) -> None:
        plain = call(nginx.port, "GET", "/x")
        assert (plain.status, plain.headers.get_all("Strict-Transport-Security")) == (200, None)
        self.give_certificate(nginx, "First")
        eventually(lambda: self.organization(nginx) == "First")
        trusting = ssl.create_default_context(cafile=str(nginx.tls_folder / "fullchain.pem"))
        for target, status in {"/x": 200, "/metrics": 404}.items():
            answer = call(nginx.tls_port, "GET", target, tls=trusting)
            assert (answer.status, answer.only("Strict-Transport-Security")) == (status, "max-age=31536000")
        assert application.seen[-1].all("X-Forwarded-Proto") == ["https"]
        self.give_certificate(nginx, "Second")
        eventually(lambda: self.organization(nginx) == "Second")

    def test_plain_http_then_leads_to_tls(self, nginx: NginxServer, application: Application) -> None:
        self.give_certificate(nginx, "First")
        eventually(lambda: self.organization(nginx) == "First")
        # Workers from before the certificate may take a connection or two.
        eventually(lambda: call(nginx.port, "GET", "/").status == 308)
        application.seen.clear()
        answer = call(nginx.port, "POST", "/x?a=b", body=b"{}", headers={"Host": "localhost"})
        assert answer.status == 308
        assert answer.only("Location") == f"https://localhost:{nginx.tls_port}/x?a=b"
        for name, value in SECURITY_HEADERS.items():
            assert answer.only(name) == value
        assert application.seen == []
        assert call(nginx.port, "GET", "/health").status == 200

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_old_tls_is_refused(self, nginx: NginxServer) -> None:
        self.give_certificate(nginx, "First")
        eventually(lambda: self.organization(nginx) == "First")

        def answers(version: ssl.TLSVersion) -> bool:
            context = ssl.create_default_context(cafile=str(nginx.tls_folder / "fullchain.pem"))
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            try:
                return call(nginx.tls_port, "GET", "/x", tls=context).status == 200
            except ssl.SSLError:
                return False

        versions = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
        assert [answers(version) for version in versions] == [False, False, True, True]

    def test_a_certificate_that_is_none_changes_nothing(self, nginx: NginxServer) -> None:
        for part in ("fullchain", "privkey"):
            (nginx.tls_folder / f"{part}.pem").write_text("nonsense")
        eventually(lambda: "emerg" in nginx.log_text())
        assert call(nginx.port, "GET", "/x").status == 200


class Load(Crowd):
    """Clients that keep their connections, each reading and writing in turn, and what they were told."""

    def __init__(self, stack: Stack) -> None:
        self.written: list[str] = []
        self.cut_off: list[str] = []
        self._stack = stack
        self._token = stack.register()
        super().__init__()

    def work(self, requests: int = 40) -> None:
        """Wait until so many more requests were answered."""
        enough = self.statuses.total() + requests
        eventually(lambda: self.statuses.total() >= enough)

    def check_that_reads_succeed_and_writes_are_single(self, unknown: int) -> None:
        """Check that all reads were answered, and all writes or with the status that says that it is `unknown`."""
        told = (self.statuses, self.cut_off)
        assert {status for method, status in self.statuses if method == "GET"} == {200}, told
        assert {status for method, status in self.statuses if method == "POST"} <= {201, unknown}, told
        found = Counter(self.titles())
        assert max(found.values()) == 1
        assert found.keys() >= set(self.written)
        assert len(found) <= len(self.written) + self.statuses["POST", unknown]

    def titles(self) -> list[str]:
        """Every post that the clients wrote and that is there."""
        found, path = [], f"/posts?limit=100&author_id={self._author()}"
        while path:
            page = self._stack.call("GET", path).json()
            found += [post["title"] for post in page["items"]]
            cursor = page["pagination"]["next_cursor"]
            path = f"/posts?limit=100&author_id={self._author()}&cursor={cursor}" if cursor else ""
        return found

    def _author(self) -> int:
        return int(self._stack.call("GET", "/auth/me", token=self._token).json()["id"])

    def work_as(self, number: int) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._stack.nginx.port, timeout=30)
        count = 0
        while not self.over.is_set():
            count += 1
            title = f"{number}-{count}"
            self._count("GET", self._ask(connection, "GET", f"{API}/posts?limit=1"))
            status = self._ask(connection, "POST", f"{API}/posts", {"title": title, "content": "x"})
            self._count("POST", status)
            if status == 201:
                self.written.append(title)
        connection.close()

    def _count(self, method: str, status: int) -> None:
        self.statuses[method, status] += 1

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, payload: object = None) -> int:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        body = None if payload is None else json.dumps(payload)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            self.cut_off.append(f"{method}: {error!r}")
            connection.close()
            return 0
        return response.status


@contextmanager
def load(stack: Stack) -> Iterator[Load]:
    """Let clients work as long as the block lasts."""
    clients = Load(stack)
    try:
        yield clients
    finally:
        clients.end()


@pytest.mark.slow
class TestRolling:
    def test_replicas_restart_one_by_one_without_a_failure(self, stack: Stack) -> None:
        with load(stack) as clients:
            for replica in stack.replicas:
                clients.work()
                assert replica.stop() == 0
                clients.work()
                replica.start()
            clients.work()
        assert set(clients.statuses) == {("GET", 200), ("POST", 201)}, clients.statuses
        assert sorted(clients.titles()) == sorted(clients.written)

    def test_a_reload_of_the_application_fails_nobody(self, stack: Stack) -> None:
        with load(stack) as clients:
            for replica in stack.replicas:
                workers = set(replica.worker_pids())
                replica.signal(signal.SIGHUP)
                eventually(lambda: workers.isdisjoint(replica.worker_pids()))  # noqa: B023
            clients.work()
        assert set(clients.statuses) == {("GET", 200), ("POST", 201)}, clients.statuses
        assert sorted(clients.titles()) == sorted(clients.written)

    def test_a_replica_that_dies_costs_no_read_and_doubles_no_write(self, stack: Stack) -> None:
        with load(stack) as clients:
            clients.work()
            stack.replicas[0].kill()
            clients.work()
            stack.replicas[0].start()
            clients.work()
        # What was under way in the dead replica is unknown to all, and said to be.
        clients.check_that_reads_succeed_and_writes_are_single(502)
        assert clients.statuses["POST", 502] <= CLIENTS

    def test_a_frozen_replica_costs_no_read_and_doubles_no_write(self, stack: Stack, front: Front) -> None:
        servers = [f"{LOOPBACK}:{replica.port}" for replica in stack.replicas]
        waits = {"NGINX_APP_TIMEOUT": "3s", "NGINX_RETRY_TIMEOUT": "30s"}
        nginx = front(*servers, env={**waits, "NGINX_RATE": "10000r/s", "NGINX_BURST": "10000"})
        with load(replace(stack, nginx=nginx)) as clients:
            clients.work()
            stack.replicas[0].freeze()
            try:
                eventually(lambda: clients.statuses["POST", 504] > 0)
                clients.work()
            finally:
                stack.replicas[0].thaw()
            clients.work()
        # The replica carries out, in the end, what it was sent before it froze; so nobody else may.
        clients.check_that_reads_succeed_and_writes_are_single(504)
