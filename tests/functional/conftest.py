"""Fixtures of the functional tests. Whatever a test starts here is stopped and examined at its end."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.certferry import Certferry, stop_all  # noqa: E402
from support.dns_server import DnsServer  # noqa: E402
from support.origins import HttpOrigin, Origin  # noqa: E402
from support.pki import Authority  # noqa: E402


@pytest.fixture
def certferry(tmp_path):
    """
    Factory: certferry(settings, args=(), **variables) -> running Certferry. At the end of the test all are stopped, and
    the test fails if one crashed, left a sanitizer report or did not end with 0 on SIGTERM.
    """
    started = []

    def start(settings=None, args=(), **how):
        proxy = Certferry(tmp_path / f"certferry-{len(started) + 1}", settings, args, **how)
        started.append(proxy)
        return proxy

    yield start
    stop_all(started)
    faults = [proxy.fault() for proxy in started if proxy.fault()]
    assert not faults, "\n".join(faults)


@pytest.fixture
def dns():
    """Names below enroll.test lead to 127.0.0.1; dns.names, dns.mode and so on may be changed at any time."""
    with DnsServer({"*.enroll.test": ["127.0.0.1"]}) as server:
        yield server


@pytest.fixture
def enroll_settings(dns):
    """Settings that allow enroll.test on every port and ask the test's own DNS server."""
    return {
        "allowed.domains": "enroll.test",
        "allowed.connect.ports": "1-65535",
        "allowed.http.ports": "1-65535",
        "resolver.servers": dns.address,
    }


@pytest.fixture
def proxy(certferry, enroll_settings):
    """A running certferry that lets enroll.test through."""
    return certferry(enroll_settings)


@pytest.fixture
def origin():
    """Factory: origin(script, certificate=..., alpn=..., address=...) -> Origin, closed at the end."""
    started = []

    def start(script, **how):
        started.append(Origin(script, **how))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def http_origin():
    """Factory: http_origin(answer, ...) -> HttpOrigin, closed at the end."""
    started = []

    def start(answer, **how):
        started.append(HttpOrigin(answer, **how))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The CA of this test process."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def home(tmp_path):
    """An empty home directory for clients."""
    path = tmp_path / "home"
    path.mkdir()
    return path
