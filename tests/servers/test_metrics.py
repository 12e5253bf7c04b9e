"""Metrics: a scrape shows the numbers of all workers, whichever worker answers it."""

from __future__ import annotations

from gatepost.testing.services.gatepost import GatepostServer
from tests.servers.conftest import PREFIX
from tests.servers.wire import Connection, connections_to_workers, get, request, wait_until

ROUTE = "/problems/<name>"
SERIES = f'gatepost_requests_total{{method="GET",route="{ROUTE}",status="200"}}'


def read_number(text: str, series: str) -> float:
    """Return the value of one series, 0 if it is not there."""
    found = [line for line in text.splitlines() if line.startswith(series + " ")]
    assert len(found) <= 1, found
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def scrape(connection: Connection, series: str = SERIES, target: str = "/metrics") -> float:
    """Return the value of one series, as the worker of this connection shows it."""
    answer = connection.ask(request(f"GET {target} HTTP/1.1"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return read_number(answer.body.decode(), series)


def test_a_scrape_of_any_worker_shows_the_sum_over_all_workers(server: GatepostServer) -> None:
    with connections_to_workers(server) as connections:
        assert len(connections) == 2
        before = scrape(connections[0])
        for count, connection in enumerate(connections, start=3):
            for _ in range(count):
                assert connection.ask(request("GET /problems/not-found HTTP/1.1")).status == 200
        # A server may send a response before it has counted it.
        wait_until(lambda: scrape(connections[0]) == before + 3 + 4, "the requests are not counted")
        assert [scrape(connection) for connection in connections] == [before + 3 + 4] * 2


def test_histograms_are_summed_too(server: GatepostServer) -> None:
    series = f'gatepost_request_duration_seconds_count{{method="GET",route="{ROUTE}"}}'
    with connections_to_workers(server) as connections:
        before = scrape(connections[0], series)
        for connection in connections:
            assert connection.ask(request("GET /problems/forbidden HTTP/1.1")).status == 200
        wait_until(lambda: scrape(connections[0], series) == before + 2, "the requests are not counted")
        assert [scrape(connection, series) for connection in connections] == [before + 2] * 2


def test_the_state_of_the_service_is_one_value_and_not_a_sum(server: GatepostServer) -> None:
    with connections_to_workers(server) as connections:
        for _ in range(2):
            assert [scrape(connection, "gatepost_ready") for connection in connections] == [1, 1]
        assert [scrape(connection, "gatepost_maintenance") for connection in connections] == [0, 0]


def test_one_worker_shows_its_own_numbers_at_both_places(proxied: GatepostServer) -> None:
    series = SERIES.replace(ROUTE, PREFIX + ROUTE)
    with Connection(proxied) as connection:
        before = scrape(connection, series)
        for _ in range(5):
            assert get(proxied, f"{PREFIX}/problems/not-found").status == 200
        wait_until(lambda: scrape(connection, series) == before + 5, "the requests are not counted")
        assert scrape(connection, series, f"{PREFIX}/metrics") == before + 5
