"""The weather service over TLS."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from examples.weather import transport
from examples.weather.client import WeatherClient
from examples.weather.problems import UpstreamUnavailable
from examples.weather.settings import WeatherSettings
from examples.weather.tests.upstream import LOOPBACK, PATIENT, QUICK, Request, Timeouts, Upstream

HOST = "localhost"
AT_MOST_SECONDS = 5 * QUICK["total_seconds"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and its certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text + signed.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def tls_upstream(certificate: Path, upstream: Upstream) -> Upstream:
    """A weather service that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    upstream.stop()
    upstream.start(context)
    return upstream


def client_of(port: int, timeouts: Timeouts) -> WeatherClient:
    """Return a client that connects over TLS."""
    return WeatherClient(WeatherSettings(url=f"https://{HOST}:{port}/v1", **timeouts), retry_seconds=3600)


def trust(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients trust a certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(transport, "_tls_context", lambda: context)


def test_the_weather_is_read_over_tls(
    tls_upstream: Upstream, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(certificate, monkeypatch)
    assert client_of(tls_upstream.port, PATIENT).current("Lisbon").temperature_c == 17.5


def test_a_certificate_of_an_unknown_issuer_is_refused(tls_upstream: Upstream) -> None:
    with pytest.raises(UpstreamUnavailable):
        client_of(tls_upstream.port, PATIENT).current("Lisbon")
    assert tls_upstream.cities == []


def test_a_slow_response_over_tls_ends_in_time(
    tls_upstream: Upstream, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(certificate, monkeypatch)

    def drip(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        request.send_slowly([b"x"] * 500)

    tls_upstream.respond = drip
    started = time.monotonic()
    with pytest.raises(UpstreamUnavailable):
        client_of(tls_upstream.port, QUICK).current("Lisbon")
    assert time.monotonic() - started < AT_MOST_SECONDS
    assert tls_upstream.cities


def test_a_handshake_that_is_not_answered_ends_in_time() -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:
        client = client_of(listening.getsockname()[1], QUICK)
        started = time.monotonic()
        with pytest.raises(UpstreamUnavailable):
            client.current("Lisbon")
    assert time.monotonic() - started < AT_MOST_SECONDS
