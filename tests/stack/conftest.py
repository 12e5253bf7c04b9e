"""Fixtures: the production stack without Docker, which is nginx, two replicas, PostgreSQL and Redis."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import PASSWORD, migrate
from tests.stack.wire import Answer, Application, call
from tests.support.services.nginx import NginxServer
from tests.support.services.redis import RedisServer

API = "/api/v1"
MAX_QUEUE_SECONDS = 4
Front = Callable[..., NginxServer]


def _starting() -> Iterator[Front]:
    with ExitStack() as stack:

        def start(
            *servers: str,
            env: dict[str, str] | None = None,
            names: tuple[str, ...] | None = None,
            busybox: bool = False,
            changes: dict[str, str] | None = None,
        ) -> NginxServer:
            try:
                server = NginxServer(*servers, env=env, names=names, busybox=busybox, changes=changes)
                return stack.enter_context(server)
            except ServiceMissing as error:
                skip_or_fail(error)

        yield start


@pytest.fixture
def front() -> Iterator[Front]:
    """Return a function that starts an nginx, which ends with the test, so that few run at the same time."""
    yield from _starting()


@pytest.fixture(scope="session")
def lasting_front() -> Iterator[Front]:
    """Return a function that starts an nginx that several tests share."""
    yield from _starting()


@pytest.fixture
def application() -> Iterator[Application]:
    """An application whose behaviour a test chooses."""
    with Application() as application:
        yield application


@dataclass(frozen=True)
class Stack:
    """The service with two replicas."""

    nginx: NginxServer
    replicas: tuple[GatepostServer, GatepostServer]
    redis: RedisServer
    # The environment of a replica.
    env: dict[str, str]

    def call(self, method: str, path: str, *, token: str = "", **options: object) -> Answer:
        """Call the API through nginx."""
        headers = dict(options.pop("headers", {}))  # type: ignore[call-overload]
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return call(self.nginx.port, method, API + path, headers=headers, **options)  # type: ignore[arg-type]

    def register(self) -> str:
        """Register an account and return its access token."""
        account = {"email": f"{secrets.token_hex(6)}@example.com", "name": "Alice", "password": PASSWORD}
        answer = self.call("POST", "/auth/register", payload=account)
        assert answer.status == 201, answer.body
        return str(answer.json()["access_token"])


@pytest.fixture(scope="session")
def stack(lasting_front: Front, postgres: PostgresServer) -> Iterator[Stack]:
    """The stack that tests share. A test that stops a part of it starts it again."""
    url = postgres.create_database(f"gatepost_{secrets.token_hex(4)}")
    migrate(url)
    with ExitStack() as started:
        try:
            redis = started.enter_context(RedisServer())
        except ServiceMissing as error:
            skip_or_fail(error)
        env = {
            "DATABASE_URL": url,
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "REDIS_URL": redis.url,
            "TRUSTED_PROXIES": "1",
            "CORS_ORIGINS": "https://app.example.com,http://localhost:5173",
            "RATELIMIT_DEFAULT": "100000 per minute",
            "RATELIMIT_REGISTER": "1000 per hour",
            # Twice the default, so that a busy machine does not look like an overloaded service.
            "MAX_QUEUE_MS": str(MAX_QUEUE_SECONDS * 1000),
            "LOG_FORMAT": "json",
        }
        first, second = (started.enter_context(GatepostServer(env)) for _ in range(2))
        servers = [f"127.0.0.1:{replica.port}" for replica in (first, second)]
        nginx = lasting_front(*servers, env={"NGINX_RATE": "10000r/s", "NGINX_BURST": "10000"})
        yield Stack(nginx, (first, second), redis, env)
