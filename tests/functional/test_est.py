"""EST (RFC 7030): curl and strongSwan's pki enroll through tunnels, and curl through plain forwarding."""

import base64
import concurrent.futures
import re
import socket
import ssl

import pytest
from support import programs
from support.certferry import PATIENCE
from support.daemons import Daemon, accepts, unused_port
from support.enrolling import Device, assert_carried, assert_needs_proxy, assert_verifies, curl, fetched
from support.est_server import EstServer
from support.raw_http import Client

NAME = "est.enroll.test"
PKCS10 = ("--header", "Content-Type: application/pkcs10")
BASIC = ("--user", "device:first-password")


@pytest.fixture
def est(authority):
    with EstServer(authority, NAME, "127.0.0.1") as server:
        yield server


@pytest.fixture
def est_plain(authority):
    with EstServer(authority) as server:
        yield server


@pytest.fixture
def device(home):
    return Device(home)


def trusting(authority):
    return ("--cacert", authority.root.cert)


def assert_tunnelled(proxy, server, **more):
    return assert_carried(proxy, "tunnel", method="CONNECT", host=NAME, port=server.port, status=200, **more)


# Inside a tunnel.


def test_curl_fetches_cacerts(proxy, authority, est, device):
    def run():
        return curl(device.directory, proxy.url, "--fail", *trusting(authority), est.url("cacerts"))

    done = run()
    assert done.returncode == 0, programs.told(done)
    assert_verifies(device.directory, authority.root.cert, device.keep(done.stdout), "CN=Certferry test CA")
    line = assert_tunnelled(proxy, est, sni=NAME)
    assert line["bytes_up"] > 0 and line["bytes_down"] > len(done.stdout)
    assert_needs_proxy(proxy, run)


def test_curl_enrolls_with_basic_authentication(proxy, authority, est, device):
    post = (*trusting(authority), *PKCS10, *BASIC, "--data-binary", f"@{device.request_base64}")

    def run():
        return curl(device.directory, proxy.url, "--fail", *post, est.url("simpleenroll"))

    done = run()
    assert done.returncode == 0, programs.told(done)
    assert_verifies(device.directory, authority.root.cert, device.keep(done.stdout), "CN=device1")
    assert_tunnelled(proxy, est)
    assert_needs_proxy(proxy, run)


def test_curl_enrolls_and_renews_with_client_certificates(proxy, authority, est, device):
    """The certificate that the factory gave enrolls; the enrolled one renews itself (RFC 7030 section 4.2.2)."""
    factory = authority.server("serial-4711")
    post = (*trusting(authority), *PKCS10, "--data-binary", f"@{device.request_base64}")
    first = ("--cert", factory.cert, "--key", factory.key)
    answer = fetched(device.directory, proxy.url, *post, *first, est.url("simpleenroll"))
    enrolled = device.keep(answer)
    assert_verifies(device.directory, authority.root.cert, enrolled, "CN=device1")

    def renew():
        own = ("--cert", enrolled, "--key", device.key)
        return curl(device.directory, proxy.url, "--fail", *post, *own, est.url("simplereenroll"))

    done = renew()
    assert done.returncode == 0, programs.told(done)
    assert_verifies(device.directory, authority.root.cert, device.keep(done.stdout, "renewed"), "CN=device1")
    assert [seen.client_name for seen in est.seen] == ["commonName=serial-4711", "commonName=device1"]
    assert_tunnelled(proxy, est)
    assert_needs_proxy(proxy, renew)


def test_the_servers_own_refusal_reaches_the_client(proxy, authority, est, device):
    """401 comes from the CA: the proxy's part went well."""
    post = (*trusting(authority), *PKCS10, "--data-binary", f"@{device.request_base64}")
    done = curl(device.directory, proxy.url, "--fail", *post, "--user", "device:wrong", est.url("simpleenroll"))
    assert done.returncode == 22 and b"401" in done.stderr, programs.told(done)
    assert_tunnelled(proxy, est)


def test_csrattrs_without_content(proxy, authority, est, home):
    write = ("--write-out", "%{http_code}")
    assert fetched(home, proxy.url, *trusting(authority), *write, est.url("csrattrs")) == b"204"
    assert_tunnelled(proxy, est)


def test_path_prefix_and_label(proxy, authority, est, device):
    """Hosted CAs put their own path before /.well-known/est, and a label behind it."""
    url = est.url("simpleenroll", prefix="/iot/ca/v1", label="factory-7")
    post = (*trusting(authority), *PKCS10, *BASIC, "--data-binary", f"@{device.request_base64}")
    enrolled = device.keep(fetched(device.directory, proxy.url, *post, url))
    assert_verifies(device.directory, authority.root.cert, enrolled, "CN=device1")
    assert est.seen[0].path == "/iot/ca/v1/.well-known/est/factory-7/simpleenroll"
    assert_tunnelled(proxy, est)


def test_http_1_0_and_connect_1_0(proxy, authority, est, home):
    old = ("--proxy1.0", proxy.url, "--http1.0")
    done = programs.run(home, "curl", "--disable", "-sS", "--fail", *old, *trusting(authority), est.url("cacerts"))
    assert done.returncode == 0, programs.told(done)
    assert est.seen[0].version == "HTTP/1.0"
    assert_tunnelled(proxy, est)


def test_server_that_closes_before_the_clients_last_octets(certferry, enroll_settings, origin):
    """
    Python's and other servers close when they have answered; TLS clients then still send their close_notify, to which
    the server's kernel says RST. All had arrived both ways: no reset for the log to tell of.
    """
    proxy = certferry(enroll_settings | {"tunnel.sni": "off"})

    def script(connection):
        connection.read_until(b"ask")
        connection.send(b"answer")

    server = origin(script)
    with Client(proxy) as client:
        client.send(f"CONNECT {NAME}:{server.port} HTTP/1.0\r\n\r\nask".encode())
        assert client.head().status == 200
        assert client.recv() + client.recv() == b"answer", "and its FIN"
        server.wait_done(1)
        client.send(b"close_notify")
        line = proxy.wait_log(lambda line: line["class"] == "tunnel")
    assert line["outcome"] == "ok" and line["bytes_down"] == len(b"answer")


def test_several_requests_in_one_tunnel(proxy, authority, est, home):
    urls = [est.url("cacerts"), est.url("csrattrs"), est.url("cacerts")]
    fetched(home, proxy.url, *trusting(authority), *urls)
    assert [seen.connection for seen in est.seen] == [1, 1, 1]
    assert_tunnelled(proxy, est)
    assert len(proxy.log()) == 1


def iot_edge(proxy, server, authority, message):
    """
    Does what Azure IoT Edge does: reads until the bytes so far end with an empty line, and waits for ever if a byte
    more has come with it; credentials go out unasked in two fields.
    """
    host = f"{NAME}:{server.port}"
    credentials = "Basic " + base64.b64encode(b"edge:secret").decode()
    head = f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nauthorization: {credentials}\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as plain:
        plain.sendall(f"{head}proxy-authorization: {credentials}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += plain.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.count(b"\r\n") == 2, answer
        with authority.client_context().wrap_socket(plain, server_hostname=NAME) as tls:
            tls.sendall(message)
            with tls.makefile("rb") as reader:
                return reader.read()


def test_iot_edge_asks_for_cacerts_and_enrolls_at_once(proxy, authority, est, device):
    body = device.request_base64.read_bytes()
    common = f"Host: {NAME}\r\nConnection: close\r\n"
    basic = "Authorization: Basic " + base64.b64encode(b"device:first-password").decode()
    messages = [
        f"GET /.well-known/est/cacerts HTTP/1.1\r\n{common}\r\n".encode(),
        f"POST /.well-known/est/simpleenroll HTTP/1.1\r\n{common}{basic}\r\n"
        f"Content-Type: application/pkcs10\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body,
    ]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda message: iot_edge(proxy, est, authority, message), messages))
    for stem, answer in zip(("root", "enrolled"), answers, strict=True):
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert_verifies(device.directory, authority.root.cert, device.keep(content, stem))
    assert_tunnelled(proxy, est)


# strongSwan's pki knows no proxy: socat stands between. It reads base64 without line breaks only.


@pytest.fixture
def relay(proxy, home):
    """Factory: relay(server) -> port of a socat that leads to that server through a tunnel of the proxy's."""
    started = []

    def start(server):
        port = unused_port()
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"
        via = f"PROXY:127.0.0.1:{NAME}:{server.port},proxyport={proxy.port}"
        started.append(Daemon(home / "socat", "socat", listen, via))
        assert accepts(port, started[-1].process), started[-1].lines.all()
        return port

    yield start
    for daemon in started:
        daemon.close()


@pytest.fixture
def est_unbroken(authority):
    with EstServer(authority, NAME, "127.0.0.1", line_breaks=False) as server:
        yield server


def test_strongswan_fetches_cacerts(proxy, authority, est_unbroken, relay, home):
    url = f"https://127.0.0.1:{relay(est_unbroken)}"
    out = home / "root.pem"
    options = ("--cacert", authority.root.cert, "--caout", out, "--outform", "pem", "--force")
    done = programs.run(home, "pki", "--estca", "--url", url, *options)
    assert done.returncode == 0, programs.told(done)
    assert_verifies(home, authority.root.cert, out, "CN=Certferry test CA")
    assert_tunnelled(proxy, est_unbroken)


def test_strongswan_enrolls_and_renews(proxy, authority, est_unbroken, relay, device):
    url = f"https://127.0.0.1:{relay(est_unbroken)}"
    common = ("pki", "--est", "--url", url, "--in", device.request, "--cacert", authority.root.cert, "--outform", "pem")
    done = programs.run(device.directory, *common, "--userpass", "device:first-password")
    assert done.returncode == 0, programs.told(done)
    enrolled = device.directory / "enrolled.pem"
    enrolled.write_bytes(done.stdout)
    assert_verifies(device.directory, authority.root.cert, enrolled, "CN=device1")

    def renew():
        return programs.run(device.directory, *common, "--cert", enrolled, "--key", device.key)

    done = renew()
    assert done.returncode == 0, programs.told(done)
    enrolled.write_bytes(done.stdout)
    assert_verifies(device.directory, authority.root.cert, enrolled, "CN=device1")
    operations = [seen.path.rpartition("/")[2] for seen in est_unbroken.seen]
    assert operations == ["simpleenroll", "simplereenroll"]
    assert_tunnelled(proxy, est_unbroken)
    assert_needs_proxy(proxy, renew)


# EST over plain HTTP is forwarded, and the log knows it.


def assert_forwarded(proxy, server, operation, **more):
    return assert_carried(proxy, "est", operation, host=NAME, port=server.port, **more)


def test_plain_cacerts_and_enrollment(proxy, authority, est_plain, device):
    root = device.keep(fetched(device.directory, proxy.url, est_plain.url("cacerts")), "root")
    assert_verifies(device.directory, authority.root.cert, root)
    assert_forwarded(proxy, est_plain, "cacerts", method="GET", status=200)

    def run():
        post = (*PKCS10, *BASIC, "--data-binary", f"@{device.request_base64}")
        return curl(device.directory, proxy.url, "--fail", *post, est_plain.url("simpleenroll", prefix="/mpki"))

    done = run()
    assert done.returncode == 0, programs.told(done)
    assert_verifies(device.directory, authority.root.cert, device.keep(done.stdout), "CN=device1")
    line = assert_forwarded(proxy, est_plain, "simpleenroll", method="POST", status=200)
    assert line["bytes_up"] >= device.request_base64.stat().st_size
    assert line["bytes_down"] >= len(done.stdout)
    assert_needs_proxy(proxy, run)


def test_plain_refusal_of_the_server(proxy, est_plain, home):
    done = curl(home, proxy.url, "--data", "x", "--write-out", "%{http_code}", est_plain.url("simpleenroll"))
    assert done.stdout == b"401", programs.told(done)
    assert_forwarded(proxy, est_plain, "simpleenroll", status=401)


def test_plain_without_content(proxy, est_plain, home):
    assert fetched(home, proxy.url, "--write-out", "%{http_code}", est_plain.url("csrattrs")) == b"204"
    assert_forwarded(proxy, est_plain, "csrattrs", status=204)


@pytest.fixture
def long_request(device):
    """A request of more than 1 MiB, from which size on curl waits for 100 Continue: base64 may hold white space."""
    path = device.directory / "long.b64"
    path.write_bytes(device.request_base64.read_bytes() + b"\n" * (1200 * 1024))
    return path


def test_plain_expect_100_continue(proxy, authority, est_plain, device, long_request):
    post = (*PKCS10, *BASIC, "--data-binary", f"@{long_request}")
    # curl would send the body after so long without a 100: longer than it may take, so that the 100 is what matters.
    patient = ("--expect100-timeout", "50", "--verbose", "--fail")
    done = curl(device.directory, proxy.url, *post, *patient, est_plain.url("simpleenroll"))
    assert done.returncode == 0, programs.told(done)
    assert b"< HTTP/1.1 100 Continue" in done.stderr, programs.told(done)
    assert est_plain.seen[0].header("Expect").lower() == "100-continue"
    assert len(est_plain.seen[0].body) == long_request.stat().st_size
    assert_verifies(device.directory, authority.root.cert, device.keep(done.stdout), "CN=device1")
    assert_forwarded(proxy, est_plain, "simpleenroll", status=200)


def test_plain_expectation_refused_by_the_server(proxy, est_plain, device, long_request):
    """The server answers 401 after the body; what curl makes of the pause is its own affair."""
    post = (*PKCS10, "--data-binary", f"@{long_request}", "--write-out", "%{http_code}")
    done = curl(device.directory, proxy.url, *post, est_plain.url("simpleenroll"))
    assert done.stdout == b"401", programs.told(done)
    assert_forwarded(proxy, est_plain, "simpleenroll", status=401)


def test_plain_chunked_upload(proxy, authority, est_plain, device):
    post = (*PKCS10, *BASIC, "--header", "Transfer-Encoding: chunked", "--data-binary", f"@{device.request_base64}")
    enrolled = device.keep(fetched(device.directory, proxy.url, *post, est_plain.url("simpleenroll")))
    assert_verifies(device.directory, authority.root.cert, enrolled, "CN=device1")
    assert est_plain.seen[0].header("Transfer-Encoding").lower() == "chunked"
    assert est_plain.seen[0].header("Content-Length") == ""
    assert_forwarded(proxy, est_plain, "simpleenroll", status=200)


def test_plain_http_1_0_client(proxy, authority, est_plain, device):
    """The origin is spoken to in HTTP/1.1 whatever the client speaks (RFC 9110 section 2.5)."""
    root = device.keep(fetched(device.directory, proxy.url, "--http1.0", est_plain.url("cacerts")))
    assert_verifies(device.directory, authority.root.cert, root)
    assert est_plain.seen[0].version == "HTTP/1.1"
    assert_forwarded(proxy, est_plain, "cacerts", status=200)


def test_plain_keep_alive_on_both_sides(proxy, est_plain, device):
    post = (*PKCS10, *BASIC, "--data-binary", f"@{device.request_base64}", est_plain.url("simpleenroll"))
    urls = [est_plain.url("cacerts"), est_plain.url("csrattrs"), est_plain.url("cacerts")]
    count = ("--write-out", "%{num_connects} ")
    done = curl(device.directory, proxy.url, "-o", "/dev/null", *count, *post)
    assert done.stdout == b"1 ", programs.told(done)
    output = [word for url in urls for word in ("-o", "/dev/null", url)]
    done = curl(device.directory, proxy.url, *count, *output)
    assert done.stdout == b"1 0 0 ", programs.told(done)
    proxy.wait_log(lambda _: len(proxy.log()) == 4)
    ports = [line["client_port"] for line in proxy.log()]
    assert len(set(ports)) == 2 and len(set(ports[1:])) == 1, "three requests on one connection of the client's"
    assert len({seen.connection for seen in est_plain.seen[1:]}) == 1, "and on one connection to the origin"


def test_hostname_unknown_to_the_clients_own_resolver():
    """What all these tests rest on: only the proxy's name server knows the names."""
    with pytest.raises(OSError):
        socket.getaddrinfo(NAME, 443)


def test_openssl_s_client_sees_the_servers_own_certificate(proxy, authority, est, home):
    connect = ("-connect", f"{NAME}:{est.port}", "-servername", NAME, "-proxy", f"127.0.0.1:{proxy.port}")
    done = programs.run(home, "openssl", "s_client", *connect, "-CAfile", authority.root.cert, "-verify_return_error")
    assert done.returncode == 0, programs.told(done)
    block = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", done.stdout.decode(), re.DOTALL)
    assert ssl.PEM_cert_to_DER_cert(block[0]) == authority.server(NAME, "127.0.0.1").der()
    assert_tunnelled(proxy, est, sni=NAME)


def test_a_refused_name_reaches_nobody(certferry, enroll_settings, authority, est, home):
    proxy = certferry(enroll_settings | {"allowed.domains": "example.test"})
    done = curl(home, proxy.url, *trusting(authority), est.url("cacerts"))
    assert done.returncode == 56 and b"403" in done.stderr, programs.told(done)
    proxy.wait_log(lambda line: line["outcome"] == "host-denied" and line["status"] == 403)
    assert est.connections == 0
