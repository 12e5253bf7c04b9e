"""Changes of the replicas and of the certificate while nginx runs."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.process import is_alive
from gatepost.testing.services.process import send as send_signal
from tests.stack.conftest import Front, Stack
from tests.stack.wire import TIMEOUT_SECONDS, Application, Seen, call, eventually, plain
from tests.support.crowd import BROKEN_OFF, CLIENTS, Crowd
from tests.support.services.nginx import COMES_AND_GOES, NginxServer

# The value in start.sh.
FORGET_ROUNDS = 5
UNLIMITED = {"NGINX_RATE": "10000r/s", "NGINX_BURST": "10000"}


@pytest.fixture(params=["the system's tools", "BusyBox"])
def named(front: Front, request: pytest.FixtureRequest) -> Callable[..., NginxServer]:
    """Return a function that starts an nginx with the system's shell and tools, and with those of the image."""
    return partial(front, busybox=request.param == "BusyBox", env=UNLIMITED)


def wait_for_rounds(nginx: NginxServer, name: str, count: int) -> None:
    """Wait until the script has completed this many further rounds of looking for replicas."""
    enough = nginx.rounds(name) + count + 1
    eventually(lambda: nginx.rounds(name) >= enough)


class TestNames:
    def test_nginx_follows_the_addresses_of_the_names(self, named: Callable[..., NginxServer]) -> None:
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
            # If no name has an address, nginx keeps the last ones.
            nginx.set_names()
            wait_for_rounds(nginx, "one", FORGET_ROUNDS)
            assert answered(two)
            assert nginx.reloads() == 2

    @pytest.mark.parametrize("first", ["one", f"one {COMES_AND_GOES}"])
    def test_addresses_that_come_and_go_are_kept(
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

    def test_a_missing_address_is_removed_after_some_rounds_only(
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

    def test_nginx_is_not_reloaded_without_a_change(
        self, named: Callable[..., NginxServer], application: Application
    ) -> None:
        nginx = named(f"app:{application.port}", names=("app",))
        before = nginx.worker_pids()
        wait_for_rounds(nginx, "app", 3)
        assert (nginx.worker_pids(), nginx.reloads()) == (before, 0)


class TestLeaveOut:
    """`start.sh leave-out`, which a rolling upgrade uses before it stops a replica."""

    @pytest.fixture
    def replicas(self) -> Iterator[tuple[Application, Application]]:
        """Two replicas."""
        with Application() as one, Application() as two:
            yield one, two

    @pytest.fixture
    def nginx(self, named: Callable[..., NginxServer], replicas: tuple[Application, Application]) -> NginxServer:
        """An nginx that has both replicas."""
        return named(*(replica.address for replica in replicas))

    def ask(self, nginx: NginxServer, replicas: tuple[Application, Application]) -> list[int]:
        """Send some requests, and return how many each replica got."""
        before = [len(replica.seen) for replica in replicas]
        assert [call(nginx.port, "POST", "/", body=b"{}").status for _ in range(8)] == [200] * 8
        return [len(replica.seen) - count for replica, count in zip(replicas, before, strict=True)]

    def test_a_replica_gets_no_request_until_it_is_added_again(
        self, nginx: NginxServer, replicas: tuple[Application, Application]
    ) -> None:
        assert min(self.ask(nginx, replicas)) > 0
        for number, replica in enumerate(replicas):
            assert nginx.leave_out(replica.address).returncode == 0
            assert self.ask(nginx, replicas)[number] == 0
        assert nginx.leave_out().returncode == 0
        eventually(lambda: min(self.ask(nginx, replicas)) > 0)

    def test_it_waits_for_the_requests_in_flight(
        self, nginx: NginxServer, replicas: tuple[Application, Application]
    ) -> None:
        over = threading.Event()

        def wait(seen: Seen) -> bytes | None:
            return plain(seen) if over.wait(TIMEOUT_SECONDS) else None

        slow = replicas[0]
        slow.behave = wait
        with ThreadPoolExecutor(3) as pool:
            requests = [pool.submit(call, nginx.port, "GET", "/") for _ in replicas]
            eventually(lambda: bool(slow.seen))
            left_out = pool.submit(nginx.leave_out, slow.address)
            eventually(lambda: nginx.reloads() == 1)
            assert not futures.wait([left_out], timeout=1).done
            over.set()
            assert left_out.result().returncode == 0
            assert [request.result().status for request in requests] == [200, 200]

    def test_the_last_replicas_cannot_be_removed(
        self, named: Callable[..., NginxServer], replicas: tuple[Application, Application]
    ) -> None:
        addresses = [replica.address for replica in replicas]
        nginx = named(*addresses, env={**UNLIMITED, "NGINX_LEAVE_OUT_SECONDS": "1"})
        failed = nginx.leave_out(*addresses)
        assert failed.returncode == 1
        assert addresses[0] in failed.stderr
        assert min(self.ask(nginx, replicas)) > 0
        # A failed command removes nothing later either.
        assert nginx.reloads() == 0


class TestWatcher:
    @pytest.fixture
    def nginx(self, named: Callable[..., NginxServer], application: Application) -> NginxServer:
        """An nginx whose script has completed a round."""
        nginx = named(f"app:{application.port}", names=("app",))
        eventually(nginx.is_healthy)
        return nginx

    def test_a_killed_loop_starts_again(self, nginx: NginxServer) -> None:
        for below in [family[1:] for family in nginx.watchers()]:
            send_signal(below, signal.SIGKILL)
        wait_for_rounds(nginx, "app", 2)
        nginx.set_names()
        assert nginx.is_healthy()

    def test_without_the_loop_the_health_check_fails(self, nginx: NginxServer, application: Application) -> None:
        for family in nginx.watchers():
            send_signal(family, signal.SIGKILL)
        eventually(lambda: not nginx.watchers())
        assert nginx.is_healthy()
        nginx.age_last_round(seconds=120)
        assert not nginx.is_healthy()
        # nginx still serves with the configuration that it has.
        assert call(nginx.port, "GET", "/").status == 200

    def test_it_ends_with_nginx(self, nginx: NginxServer) -> None:
        watchers = [process for family in nginx.watchers() for process in family]
        nginx.stop()
        assert not nginx.is_healthy()
        eventually(lambda: not any(map(is_alive, watchers)))


class Load(Crowd):
    """Clients of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._token = stack, stack.register()
        # Without a pause they would slow down the starts that they wait for.
        super().__init__(stack.nginx.port, self._token, pause_seconds=0.05)

    def check_that_all_requests_succeeded(self) -> None:
        """Check the statuses, and that each confirmed write exists exactly once."""
        assert set(self.statuses) == {("GET", 200), ("POST", 201)}, (self.statuses, self.codes)
        assert sorted(self.titles()) == sorted(self.written)

    def check_that_reads_succeeded_and_writes_are_single(self, unknown: int) -> None:
        """Check that all reads succeeded, and all writes except those with the status `unknown`, and none twice.

        A replica that stops between the head and the body of a response breaks it off: nginx has passed on the head by
        then and cannot repeat the request. Each client can meet that once.
        """
        statuses = Counter(self.statuses)
        assert sum(statuses.pop((method, BROKEN_OFF), 0) for method in ("GET", "POST")) <= CLIENTS, self.statuses
        assert {status for method, status in statuses if method == "GET"} == {200}, self.statuses
        assert {status for method, status in statuses if method == "POST"} <= {201, unknown}, self.statuses
        found = Counter(self.titles())
        assert max(found.values()) == 1
        assert found.keys() >= set(self.written)
        assert len(found) <= len(self.written) + self.statuses["POST", unknown] + self.statuses["POST", BROKEN_OFF]

    def titles(self) -> list[str]:
        """Return the titles of all posts of the clients that exist."""
        author = self._stack.call("GET", "/auth/me", token=self._token).json()["id"]
        path = first = f"/posts?limit=100&author_id={author}"
        found = []
        while path:
            page = self._stack.call("GET", path).json()
            found += [post["title"] for post in page["items"]]
            cursor = page["pagination"]["next_cursor"]
            path = f"{first}&cursor={cursor}" if cursor else ""
        return found


ServedBy = Callable[[str], Stack]


@pytest.mark.slow
class TestRolling:
    @pytest.fixture
    def served_by(self, stack: Stack, front: Front) -> Iterator[ServedBy]:
        """Return a function that gives the stack with replicas under the server of this name."""
        with ExitStack() as started:

            def start(server: str) -> Stack:
                if server == "gunicorn":
                    return stack
                first, second = (started.enter_context(GatepostServer(stack.env, server=server)) for _ in range(2))
                addresses = [f"{LOOPBACK}:{replica.port}" for replica in (first, second)]
                return replace(stack, nginx=front(*addresses, env=UNLIMITED), replicas=(first, second))

            yield start

    @pytest.mark.parametrize("server", ["gunicorn", "granian"])
    def test_replicas_restart_one_by_one_without_a_failure(self, served_by: ServedBy, server: str) -> None:
        stack = served_by(server)
        with Load(stack) as clients:
            for replica in stack.replicas:
                clients.work()
                left_out = stack.nginx.leave_out(f"{LOOPBACK}:{replica.port}")
                assert left_out.returncode == 0, left_out.stderr
                assert replica.stop() == 0
                clients.work()
                replica.start()
            assert stack.nginx.leave_out().returncode == 0
            clients.work()
        clients.check_that_all_requests_succeeded()

    def test_a_reload_of_the_application_fails_no_request(self, stack: Stack) -> None:
        with Load(stack) as clients:
            for replica in stack.replicas:
                workers = set(replica.worker_pids())
                replica.signal(signal.SIGHUP)
                eventually(lambda: workers.isdisjoint(replica.worker_pids()))  # noqa: B023
            clients.work()
        clients.check_that_all_requests_succeeded()

    def test_a_killed_replica_fails_no_read_and_repeats_no_write(self, stack: Stack) -> None:
        with Load(stack) as clients:
            clients.work()
            stack.replicas[0].kill()
            clients.work()
            stack.replicas[0].start()
            clients.work()
        # A write that was in flight to the killed replica may or may not have been carried out.
        clients.check_that_reads_succeeded_and_writes_are_single(502)
        assert clients.statuses["POST", 502] <= CLIENTS

    def test_a_frozen_replica_fails_no_read_and_repeats_no_write(self, stack: Stack, front: Front) -> None:
        servers = [f"{LOOPBACK}:{replica.port}" for replica in stack.replicas]
        nginx = front(*servers, env={**UNLIMITED, "NGINX_APP_TIMEOUT": "3s", "NGINX_RETRY_TIMEOUT": "60s"})
        with Load(replace(stack, nginx=nginx)) as clients:
            clients.work()
            stack.replicas[0].freeze()
            try:
                eventually(lambda: clients.statuses["POST", 504] > 0)
                clients.work()
            finally:
                stack.replicas[0].thaw()
            clients.work()
        # The replica later carries out the writes that it received before it froze, so no other replica may do so.
        clients.check_that_reads_succeeded_and_writes_are_single(504)
