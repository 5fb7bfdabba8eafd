"""CMP (RFC 4210 over HTTP, RFC 9811): openssl cmp against its own mock server, by forwarding and through tunnels."""

import contextlib
import socket
import threading

import pytest
from support import pki, programs
from support.daemons import CmpServer
from support.enrolling import Device, assert_carried, assert_needs_proxy, assert_verifies
from support.origins import pages

NAME = "cmp.enroll.test"


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return Device(tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="module")
def issued(authority, device):
    """The certificate of the device that the mock server answers with."""
    path = device.directory / "issued.pem"
    root = authority.root
    options = ("-in", device.request, "-inform", "DER", "-CA", root.cert, "-CAkey", root.key, "-days", "5")
    pki.openssl(device.directory, "x509", "-req", *options, "-set_serial", "4711", "-out", path)
    return path


@pytest.fixture(scope="module")
def cmp_server(tmp_path_factory, authority, issued):
    with CmpServer(tmp_path_factory.mktemp("cmp"), authority, issued) as server:
        yield server


def openssl_cmp(home, command, *options, patience=20, **variables):
    """Seconds of patience: it tries to reach a dead proxy again and again for so long."""
    common = ("-config", "", "-cmd", command, "-recipient", "/CN=Certferry test CA", "-msg_timeout", patience)
    return programs.run(home, "openssl", "cmp", *common, *CmpServer.SECRET, *options, **variables)


def assert_forwarded(proxy, server, **more):
    return assert_carried(proxy, "cmp", host=NAME, port=server.port, method="POST", status=200, **more)


@pytest.mark.parametrize("command", ["ir", "cr", "p10cr", "kur"])
def test_enrollment(proxy, authority, cmp_server, device, issued, home, command):
    out = home / "enrolled.pem"
    wanted = {
        "ir": ("-newkey", device.key, "-subject", "/CN=device1"),
        "cr": ("-newkey", device.key, "-subject", "/CN=device1"),
        "p10cr": ("-csr", device.request),
        "kur": ("-newkey", device.key, "-oldcert", issued),
    }[command]
    where = ("-server", f"{NAME}:{cmp_server.port}/pkix/", "-proxy", proxy.url, "-certout", out)

    def run(patience=20):
        return openssl_cmp(home, command, *wanted, *where, patience=patience)

    done = run()
    assert done.returncode == 0, programs.told(done)
    assert_verifies(home, authority.root.cert, out, "CN=device1")
    line = assert_forwarded(proxy, cmp_server)
    assert line["bytes_up"] > 100 and line["bytes_down"] > 100
    # The request and its confirmation.
    proxy.wait_log(lambda _: len(proxy.log()) == 2)
    assert {line["outcome"] for line in proxy.log()} == {"ok"}
    assert_needs_proxy(proxy, lambda: run(patience=1))


def test_general_message(proxy, cmp_server, home):
    where = ("-server", f"{NAME}:{cmp_server.port}", "-proxy", proxy.url)
    done = openssl_cmp(home, "genm", *where)
    assert done.returncode == 0, programs.told(done)
    assert_forwarded(proxy, cmp_server)


def test_well_known_path(proxy, http_origin, home):
    """The mock server has one path only; what matters is that the refusal is the origin's, and the name in the log."""
    server = http_origin(pages({}))
    path = ".well-known/cmp/p/factory/getcacerts"
    where = ("-server", f"{NAME}:{server.port}", "-path", path, "-proxy", proxy.url)
    assert openssl_cmp(home, "genm", *where).returncode != 0
    assert server.requests[0].target == "/" + path
    assert_forwarded(proxy, server, operation="getcacerts")


def test_revocation(proxy, cmp_server, issued, home):
    where = ("-server", f"{NAME}:{cmp_server.port}/pkix/", "-proxy", proxy.url)
    done = openssl_cmp(home, "rr", "-oldcert", issued, "-revreason", "4", *where)
    assert done.returncode == 0, programs.told(done)
    assert_forwarded(proxy, cmp_server)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_proxy_from_the_environment(proxy, cmp_server, home, variable):
    where = ("-server", f"{NAME}:{cmp_server.port}/pkix/")
    done = openssl_cmp(home, "genm", *where, **{variable: proxy.url})
    assert done.returncode == 0, programs.told(done)
    assert_forwarded(proxy, cmp_server)


def test_refusal(certferry, enroll_settings, cmp_server, home):
    proxy = certferry(enroll_settings | {"allowed.domains": "example.test"})
    where = ("-server", f"{NAME}:{cmp_server.port}/pkix/", "-proxy", proxy.url)
    done = openssl_cmp(home, "genm", *where)
    assert done.returncode != 0
    assert "403" in programs.told(done) or "Host not in the allowlist" in programs.told(done), programs.told(done)
    proxy.wait_log(lambda line: line["outcome"] == "host-denied" and line["class"] == "cmp")


# Over TLS: a tunnel. The mock server knows no TLS, so an origin of ours ends it.


def copy(source, send, close):
    with contextlib.suppress(OSError):
        while data := source(65536):
            send(data)
    with contextlib.suppress(OSError):
        close()


def ends_tls_before(port):
    """An origin's script that passes on to that port what comes inside TLS."""

    def script(connection):
        with socket.create_connection(("127.0.0.1", port)) as server:
            up = (connection.recv, server.sendall, lambda: server.shutdown(socket.SHUT_WR))
            thread = threading.Thread(target=copy, args=up, daemon=True)
            thread.start()
            copy(server.recv, connection.send, lambda: connection.sock.shutdown(socket.SHUT_RDWR))
            thread.join()

    return script


def test_through_a_tunnel(proxy, authority, cmp_server, origin, device, home):
    front = origin(ends_tls_before(cmp_server.port), certificate=authority.server(NAME))
    out = home / "enrolled.pem"
    tls = ("-tls_used", "-tls_trusted", authority.root.cert, "-tls_host", NAME)
    where = ("-server", f"https://{NAME}:{front.port}/pkix/", "-proxy", proxy.url)
    wanted = ("-newkey", device.key, "-subject", "/CN=device1", "-certout", out)

    def run(patience=20):
        return openssl_cmp(home, "ir", *tls, *where, *wanted, patience=patience)

    done = run()
    assert done.returncode == 0, programs.told(done)
    assert_verifies(home, authority.root.cert, out, "CN=device1")
    assert_carried(proxy, "tunnel", method="CONNECT", host=NAME, port=front.port, status=200)
    assert_needs_proxy(proxy, lambda: run(patience=1))
