"""SCEP (RFC 8894): micromdm's scepclient and strongSwan's pki enroll by forwarding; long messages by GET."""

import pytest
from support import programs
from support.daemons import ScepDaemon
from support.enrolling import Device, assert_carried, assert_needs_proxy, assert_verifies, curl
from support.origins import pages
from support.scep_server import ScepServer

NAME = "scep.enroll.test"
REQUEST_LINE_MAX = 32 * 1024  # limit.request.line as shipped


@pytest.fixture(scope="module")
def scepserver(tmp_path_factory):
    with ScepDaemon(tmp_path_factory.mktemp("scepserver")) as server:
        yield server


@pytest.fixture
def scep(home):
    with ScepServer(home) as server:
        yield server


def assert_forwarded(proxy, server, operation, **more):
    return assert_carried(proxy, "scep", operation, host=NAME, port=server.port, status=200, **more)


def scepclient(home, proxy, server, cn, **variables):
    url = f"http://{NAME}:{server.port}/scep"
    files = ("-private-key", home / f"{cn}.key", "-certificate", home / f"{cn}.pem")
    options = ("-server-url", url, "-challenge", ScepDaemon.CHALLENGE, "-cn", cn, *files)
    return programs.run(home, "scepclient", *options, **({"http_proxy": proxy.url} | variables))


def test_scepclient_enrolls(proxy, scepserver, home):
    done = scepclient(home, proxy, scepserver, "device1")
    assert done.returncode == 0, programs.told(done)
    assert_verifies(home, scepserver.ca_cert, home / "device1.pem", "CN=device1")
    lines = [
        assert_forwarded(proxy, scepserver, "GetCACert", method="GET"),
        assert_forwarded(proxy, scepserver, "GetCACaps", method="GET"),
        assert_forwarded(proxy, scepserver, "PKIOperation", method="POST"),
    ]
    assert len({line["client_port"] for line in lines}) == 1, "one kept connection of the client's"
    assert lines[2]["bytes_up"] > 1000 and lines[2]["bytes_down"] > 1000
    assert_needs_proxy(proxy, lambda: scepclient(home, proxy, scepserver, "device2"))


def test_scepclient_finds_the_proxy_in_either_case(proxy, scepserver, home):
    done = scepclient(home, proxy, scepserver, "device1", http_proxy=None, HTTP_PROXY=proxy.url)
    assert done.returncode == 0, programs.told(done)
    assert_forwarded(proxy, scepserver, "PKIOperation")


def test_scepclient_prints_why_it_was_refused(certferry, enroll_settings, scepserver, home):
    proxy = certferry(enroll_settings | {"allowed.domains": "example.test"})
    done = scepclient(home, proxy, scepserver, "device1")
    assert done.returncode != 0
    assert "allowed.domains" in programs.told(done), programs.told(done)
    proxy.wait_log(lambda line: line["outcome"] == "host-denied" and line["operation"] == "GetCACert")


def test_strongswan_fetches_the_ca_certificate(proxy, scep, home):
    out = home / "fetched.pem"
    options = ("--url", f"http://{NAME}:{scep.port}/scep", "--caout", out, "--outform", "pem", "--force")
    done = programs.run(home, "pki", "--scepca", *options, http_proxy=proxy.url)
    assert done.returncode == 0, programs.told(done)
    assert_verifies(home, scep.ca_cert, out, "CN=SCEP test CA")
    assert_forwarded(proxy, scep, "GetCACert", method="GET")


def test_strongswan_enrolls(proxy, scep, home):
    device = Device(home, key=("rsa:2048",))
    trust = ("--cacert-enc", scep.ca_cert, "--cacert-sig", scep.ca_cert)
    options = ("--in", device.key, "--dn", "CN=device1", "--password", "first", *trust, "--cipher", "des3")

    def run():
        url = f"http://{NAME}:{scep.port}/scep"
        return programs.run(home, "pki", "--scep", "--url", url, *options, "--outform", "pem", http_proxy=proxy.url)

    done = run()
    assert done.returncode == 0, programs.told(done)
    enrolled = home / "enrolled.pem"
    enrolled.write_bytes(done.stdout)
    assert_verifies(home, scep.ca_cert, enrolled, "CN=device1")
    assert_forwarded(proxy, scep, "GetCACaps", method="GET")
    assert_forwarded(proxy, scep, "PKIOperation", method="POST")
    assert_needs_proxy(proxy, run)


# SCEP by GET carries the whole message in the request line.


def get_of(server, line_octets):
    """A URL whose request line, as the proxy gets it and without CRLF, has that many octets."""
    url = f"http://{NAME}:{server.port}/cgi-bin/pkiclient.exe?operation=PKIOperation&message="
    return url + "A" * (line_octets - len(f"GET {url} HTTP/1.1"))


@pytest.mark.parametrize("octets", [3500, 16 * 1024, REQUEST_LINE_MAX])
def test_message_by_get(proxy, http_origin, home, octets):
    server = http_origin(pages({"/cgi-bin/pkiclient.exe": b"signed"}))
    url = get_of(server, octets)
    done = curl(home, proxy.url, "--fail", url)
    assert done.stdout == b"signed", programs.told(done)
    assert server.requests[0].target == url.partition(str(server.port))[2]
    assert_forwarded(proxy, server, "PKIOperation", method="GET")


def test_message_by_get_too_long(proxy, http_origin, home):
    server = http_origin(pages({"/cgi-bin/pkiclient.exe": b"signed"}))
    write = ("--output", "/dev/stdout", "--write-out", "%{http_code}")
    done = curl(home, proxy.url, *write, get_of(server, REQUEST_LINE_MAX + 1))
    assert done.stdout.endswith(b"414"), programs.told(done)
    assert b"limit.request.line" in done.stdout, "the answer names the remedy"
    proxy.wait_log(lambda line: line["outcome"] == "request-line-too-long" and line["status"] == 414)
    assert server.connections() == []
    done = curl(home, proxy.url, "--fail", get_of(server, 3500))
    assert done.stdout == b"signed", programs.told(done)


def test_message_by_get_under_a_raised_limit(certferry, enroll_settings, http_origin, home):
    proxy = certferry(enroll_settings | {"limit.request.line": "60KiB"})
    server = http_origin(pages({"/cgi-bin/pkiclient.exe": b"signed"}))
    done = curl(home, proxy.url, "--fail", get_of(server, 60 * 1024))
    assert done.stdout == b"signed", programs.told(done)
