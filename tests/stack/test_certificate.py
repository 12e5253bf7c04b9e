"""The certificate of nginx: TLS, renewal, files that nginx does not accept, and the test of the settings."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from app.api.middleware.headers import SECURITY_HEADERS
from gatepost.testing.services import LOOPBACK
from tests.stack.conftest import Front
from tests.stack.wire import TIMEOUT_SECONDS, Application, call, eventually
from tests.support.services.nginx import NginxServer

ACCEPTED, EXPIRY = "gatepost_tls_files_accepted", "gatepost_tls_expiry_timestamp_seconds"
DAY_SECONDS = 24 * 3600


@pytest.fixture
def nginx(front: Front, application: Application) -> NginxServer:
    """An nginx without a certificate."""
    return front(application.address)


@pytest.fixture(scope="module")
def tester(lasting_front: Front) -> NginxServer:
    """An nginx for tests of other settings."""
    return lasting_front(f"{LOOPBACK}:9", busybox=True)


@pytest.fixture(params=["the system's tools", "BusyBox"])
def renewed(front: Front, application: Application, request: pytest.FixtureRequest) -> NginxServer:
    """An nginx with a certificate, with the system's shell and tools or with those of the image."""
    nginx = front(application.address, busybox=request.param == "BusyBox")
    renew_certificate(nginx, "First")
    return nginx


def give_certificate(nginx: NginxServer, name: str, *, days: int = 2) -> None:
    """Put a new certificate of this organization into the folder."""
    make_certificate(nginx.tls_folder, name, days=days)
    for part in ("privkey", "fullchain"):
        (nginx.tls_folder / f"{part}.new").replace(nginx.tls_folder / f"{part}.pem")


def renew_certificate(nginx: NginxServer, name: str) -> None:
    """Give nginx a new certificate, and wait until no worker with the old one accepts connections any longer."""
    workers = nginx.worker_pids()
    give_certificate(nginx, name)
    eventually(lambda: organization(nginx) == name)
    eventually(lambda: workers.isdisjoint(nginx.worker_pids()))


def make_certificate(folder: Path, name: str, *, days: int = 2) -> None:
    """Write fullchain.new and privkey.new."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", str(days), "-subj", f"/O={name}/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-out", "fullchain.new", "-keyout", "privkey.new"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    for part in ("privkey", "fullchain"):
        # nginx runs as an unprivileged user.
        (folder / f"{part}.new").chmod(0o644)


def organization(nginx: NginxServer) -> str:
    """Return the organization in the certificate that nginx serves; "" without TLS."""
    try:
        pem = ssl.get_server_certificate((LOOPBACK, nginx.tls_port), timeout=TIMEOUT_SECONDS)
    except OSError:
        return ""
    (attribute,) = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(
        NameOID.ORGANIZATION_NAME
    )
    return str(attribute.value)


def test_a_certificate_turns_tls_on_and_its_renewal_is_noticed(nginx: NginxServer, application: Application) -> None:
    plain = call(nginx.port, "GET", "/x")
    assert (plain.status, plain.headers.get_all("Strict-Transport-Security")) == (200, None)
    give_certificate(nginx, "First")
    eventually(lambda: organization(nginx) == "First")
    trusting = ssl.create_default_context(cafile=str(nginx.tls_folder / "fullchain.pem"))
    for target, status in {"/x": 200, "/metrics": 404}.items():
        answer = call(nginx.tls_port, "GET", target, tls=trusting)
        assert (answer.status, answer.only("Strict-Transport-Security")) == (status, "max-age=31536000")
    assert application.seen[-1].all("X-Forwarded-Proto") == ["https"]
    give_certificate(nginx, "Second")
    eventually(lambda: organization(nginx) == "Second")


def test_plain_http_is_then_redirected_to_tls(nginx: NginxServer, application: Application) -> None:
    give_certificate(nginx, "First")
    eventually(lambda: organization(nginx) == "First")
    # Workers without the certificate may still accept some connections.
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
def test_old_versions_of_tls_are_refused(nginx: NginxServer) -> None:
    give_certificate(nginx, "First")
    eventually(lambda: organization(nginx) == "First")

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


def spoil_key(nginx: NginxServer) -> None:
    make_certificate(nginx.tls_folder, "Other")
    (nginx.tls_folder / "privkey.new").replace(nginx.tls_folder / "privkey.pem")


def spoil_certificate(nginx: NginxServer) -> None:
    (nginx.tls_folder / "fullchain.pem").write_text("nonsense")


def protect_key(nginx: NginxServer) -> None:
    (nginx.tls_folder / "privkey.pem").chmod(0)


def remove_key(nginx: NginxServer) -> None:
    (nginx.tls_folder / "privkey.pem").unlink()


def remove_both(nginx: NginxServer) -> None:
    for part in ("privkey", "fullchain"):
        (nginx.tls_folder / f"{part}.pem").unlink()


def link_to_nothing(nginx: NginxServer) -> None:
    remove_both(nginx)
    for part in ("privkey", "fullchain"):
        (nginx.tls_folder / f"{part}.pem").symlink_to(f"../../archive/{part}1.pem")


def protect_folder(nginx: NginxServer) -> None:
    nginx.tls_folder.chmod(0)


# What is done to the files, and a part of the reason that nginx logs.
FAULTS: dict[str, tuple[Callable[[NginxServer], None], str]] = {
    "a key of another certificate": (spoil_key, "key values mismatch"),
    "no certificate in the file": (spoil_certificate, "fullchain.pem"),
    "a key that nginx cannot read": (protect_key, "privkey.pem"),
    "no key": (remove_key, "privkey.pem"),
    "no files": (remove_both, "fullchain.pem"),
    "links to files that are not mounted": (link_to_nothing, "fullchain.pem"),
    "a folder that nginx cannot read": (protect_folder, "fullchain.pem"),
}


def errors(nginx: NginxServer) -> list[dict[str, str]]:
    """Return the errors that nginx and its script have logged; every line is one JSON object."""
    lines = [json.loads(line) for line in nginx.log_text().splitlines()]
    return [line for line in lines if line["level"] == "error"]


@pytest.mark.parametrize("renewed", ["BusyBox"], indirect=True)
def test_nginx_keeps_its_certificate_and_reports_files_that_it_does_not_accept(renewed: NginxServer) -> None:
    for number, (fault, (spoil, reason)) in enumerate(FAULTS.items(), start=1):
        assert renewed.metrics()[ACCEPTED] == 1
        served, reloads = organization(renewed), renewed.reloads()
        spoil(renewed)
        eventually(lambda: renewed.metrics()[ACCEPTED] == 0)
        eventually(lambda: len(errors(renewed)) == number)  # noqa: B023  # called before the next round
        error = errors(renewed)[-1]
        assert (error["logger"], error["event"]) == ("nginx", "certificate refused")
        assert reason in error["reason"], fault
        assert (organization(renewed), renewed.reloads()) == (served, reloads), fault
        assert renewed.metrics()[EXPIRY] > time.time()
        assert renewed.is_healthy()
        # Without any files, another nginx would start without TLS, as intended.
        if fault != "no files":
            tested = renewed.test()
            assert tested.returncode == 1
            assert reason in json.loads(tested.stdout)["reason"], fault
        renewed.tls_folder.chmod(0o755)
        renew_certificate(renewed, f"Correction {number}")
        assert renewed.test().returncode == 0


def test_replicas_change_while_the_certificate_is_refused(front: Front) -> None:
    with Application() as one, Application() as two:
        nginx = front(f"one:{one.port}", f"two:{two.port}", names=("one",), busybox=True)
        give_certificate(nginx, "First")
        eventually(lambda: organization(nginx) == "First")
        spoil_key(nginx)
        eventually(lambda: bool(errors(nginx)))
        nginx.set_names("two")
        context = ssl._create_unverified_context()  # organization() checks the certificate
        eventually(lambda: call(nginx.tls_port, "GET", "/", tls=context).status == 200 and bool(two.seen))
        assert organization(nginx) == "First"


@pytest.mark.parametrize("renewed", ["BusyBox"], indirect=True)
@pytest.mark.parametrize("fault", ["a key of another certificate", "links to files that are not mounted"])
def test_after_a_start_with_such_files_nothing_is_served_unencrypted_until_they_are_corrected(
    renewed: NginxServer, application: Application, fault: str
) -> None:
    FAULTS[fault][0](renewed)
    renewed.stop()
    renewed.start()
    assert not renewed.is_healthy()
    assert renewed.metrics() == {ACCEPTED: 0}
    assert organization(renewed) == ""
    application.seen.clear()
    assert call(renewed.port, "GET", "/x").status == 308
    assert application.seen == []
    assert call(renewed.port, "GET", "/health").status == 200
    give_certificate(renewed, "Second")
    eventually(lambda: organization(renewed) == "Second")
    eventually(renewed.is_healthy)


def test_without_a_certificate_invalid_files_change_nothing(nginx: NginxServer) -> None:
    assert nginx.metrics() == {}
    for part in ("fullchain", "privkey"):
        (nginx.tls_folder / f"{part}.pem").write_text("nonsense")
    eventually(lambda: bool(errors(nginx)))
    eventually(lambda: nginx.metrics() == {ACCEPTED: 0})
    assert call(nginx.port, "GET", "/x").status == 200
    assert nginx.is_healthy()


# From 2050 on, certificates contain the time in another form.
@pytest.mark.parametrize("days", [1, 90, 36500])
def test_the_expiry_of_the_certificate_is_a_metric(renewed: NginxServer, days: int) -> None:
    give_certificate(renewed, "Long", days=days)
    eventually(lambda: organization(renewed) == "Long")
    expected = time.time() + days * DAY_SECONDS
    eventually(lambda: abs(renewed.metrics()[EXPIRY] - expected) < 10 * TIMEOUT_SECONDS)
    # Tools such as `openssl pkcs12` and `openssl x509 -text` write text before the certificate.
    chain = renewed.tls_folder / "fullchain.pem"
    text = "Bag Attributes\n    localKeyID: 01 02\n"
    (renewed.tls_folder / "fullchain.new").write_text(text + chain.read_text())
    (renewed.tls_folder / "fullchain.new").chmod(0o644)
    reloads = renewed.reloads()
    (renewed.tls_folder / "fullchain.new").replace(chain)
    eventually(lambda: renewed.reloads() > reloads)
    assert abs(renewed.metrics()[EXPIRY] - expected) < 10 * TIMEOUT_SECONDS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("NGINX_CONNECTIONS", value) for value in ("many", "-1", "0", "1; 2")),
        *(("NGINX_RATE", value) for value in ("20r/h", "fast")),
        *(("NGINX_BURST", "many"), ("NGINX_APP_CONNECTIONS", "many"), ("NGINX_WORKERS", "few")),
        *(("NGINX_APP_TIMEOUT", "long"), ("NGINX_RETRY_TIMEOUT", "8 s"), ("MAX_BODY_BYTES", "1 MB")),
        *(("NGINX_TRUSTED_BALANCER", "balancer"), ("NGINX_LISTEN", "localhost:http"), ("CORS_ORIGINS", 'a"b')),
    ],
)
def test_the_test_names_a_setting_that_nginx_does_not_accept(tester: NginxServer, name: str, value: str) -> None:
    tested = tester.test(**{name: value})
    assert tested.returncode == 1
    (line,) = tested.stdout.splitlines()
    found = json.loads(line)
    assert (found["level"], found["event"]) == ("error", "settings refused")
    assert name in found["reason"].partition(": ")[0]


def test_nginx_does_not_start_with_such_a_setting_and_reports_it_as_json(tester: NginxServer) -> None:
    assert tester.test().returncode == 0
    started = tester.run_script(env={"NGINX_CONNECTIONS": "many"})
    assert started.returncode == 1
    assert json.loads(started.stdout)["reason"].startswith('NGINX_CONNECTIONS: invalid number of connections "many"')
    # The one that runs uses the same folder.
    assert tester.is_healthy()
