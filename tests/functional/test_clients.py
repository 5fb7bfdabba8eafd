"""
HTTP clients of every family, over a tunnel and in absolute form. Each gets the right answer, sees the origin's own
certificate, goes through the proxy with every byte, fails without it, and can tell its user why it was refused.
"""

import base64
import hashlib
import random
import re

import pytest
from support import pki, programs
from support.certferry import ENDED_WELL
from support.fetchers import CERTIFICATE, Curl, Java, Script, Wget, fingerprint
from support.origins import http2_page, pages

NAME = "ca.enroll.test"
# More than fits into one segment or one buffer of anybody.
PAGE = random.Random(1).randbytes(300_000)
REFUSED = "403 Host not in the allowlist"
NODE = {"NODE_PATH": "/usr/share/nodejs"}

FETCHERS = [
    Curl(),
    Curl("curl-proxy1.0", proxy_option="--proxy1.0"),
    Wget(),
    Script("/usr/bin/python3", "python_requests.py", "Tunnel connection failed: 403 PHRASE"),
    Script("/usr/bin/python3", "python_urllib.py", "Tunnel connection failed: 403 PHRASE"),
    Script("/usr/bin/python3", "python_http_client.py", "Tunnel connection failed: 403 PHRASE"),
    Script("node", "node_core.js", "CONNECT: 403 PHRASE", environment=NODE),
    Script("node", "node_undici.js", "200 when HTTP Tunneling", tunnels_http=True, environment=NODE),
    Java("UrlConnection.java", "HTTP/1.1 403 PHRASE"),
    Java("NewHttpClient.java", "Tunnel failed, got: 403"),
]
# Hands the refusal of a CONNECT to its caller as if the origin had answered so.
PROXY_AGENT = Script("node", "node_proxy_agent.js", None, environment=NODE)


def by_name(fetchers):
    return pytest.mark.parametrize("fetcher", fetchers, ids=[fetcher.name for fetcher in fetchers])


@pytest.fixture
def certificate(authority):
    return authority.server(NAME)


@pytest.fixture
def tls_origin(http_origin, certificate):
    return http_origin(pages({"/page": PAGE}), certificate=certificate)


@pytest.fixture
def plain_origin(http_origin):
    return http_origin(pages({"/page": PAGE}))


@by_name([*FETCHERS, PROXY_AGENT])
def test_through_a_tunnel(fetcher, proxy, authority, certificate, tls_origin, home):
    url = f"https://{NAME}:{tls_origin.port}/page"

    fetched = fetcher.fetch(home, proxy, authority, url)
    assert fetched.worked, fetched.told
    assert (fetched.status, fetched.body) == (200, PAGE)
    if fetcher.name != "wget":
        assert fetched.certificate == certificate.fingerprint()

    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert (line["host"], line["port"], line["sni"]) == (NAME, tls_origin.port, NAME)
    assert (line["address"], line["status"]) == ("127.0.0.1", 200)
    assert line["outcome"] in ENDED_WELL
    assert line["bytes_up"] > 0 and line["bytes_down"] > len(PAGE)
    assert tls_origin.connections()[0].server_name == NAME

    assert proxy.stop() == 0
    again = fetcher.fetch(home, proxy, authority, url)
    assert not again.worked, again.told
    assert len(tls_origin.connections()) == 1


@by_name([fetcher for fetcher in [*FETCHERS, PROXY_AGENT] if not fetcher.tunnels_http])
def test_in_absolute_form(fetcher, proxy, authority, plain_origin, home):
    url = f"http://{NAME}:{plain_origin.port}/page"
    message = random.Random(2).randbytes(200_000)

    fetched = fetcher.fetch(home, proxy, authority, url)
    assert fetched.worked, fetched.told
    assert (fetched.status, fetched.body) == (200, PAGE)
    posted = fetcher.fetch(home, proxy, authority, url, "POST", message)
    assert posted.worked, posted.told
    assert (posted.status, posted.body) == (200, message)

    for method, request in zip(("GET", "POST"), plain_origin.requests, strict=True):
        assert (request.method, request.target, request.version) == (method, "/page", "HTTP/1.1")
        assert request.header("host") == f"{NAME}:{plain_origin.port}"
        assert "certferry" in request.header("via")
        assert not [name for name, _ in request.headers if name.lower().startswith("proxy-")]
        line = proxy.wait_log(lambda line, method=method: line["method"] == method)
        assert (line["host"], line["port"], line["status"]) == (NAME, plain_origin.port, 200)
        assert line["outcome"] == "ok"
    assert proxy.log()[0]["bytes_down"] >= len(PAGE)
    assert proxy.log()[1]["bytes_up"] >= len(message)

    assert proxy.stop() == 0
    again = fetcher.fetch(home, proxy, authority, url)
    assert not again.worked, again.told
    assert len(plain_origin.requests) == 2


# What each has in common: a tunnel to an http:// URL, which the gate for TLS must be told of.
@by_name([next(fetcher for fetcher in FETCHERS if fetcher.tunnels_http), Curl("curl-proxytunnel", "--proxytunnel")])
def test_tunnel_to_an_http_port(fetcher, certferry, enroll_settings, authority, plain_origin, home):
    proxy = certferry(enroll_settings | {"tunnel.raw.ports": plain_origin.port})

    fetched = fetcher.fetch(home, proxy, authority, f"http://{NAME}:{plain_origin.port}/page")
    assert fetched.worked, fetched.told
    assert (fetched.status, fetched.body) == (200, PAGE)
    assert plain_origin.requests[0].header("via") is None

    line = proxy.wait_log(lambda line: line["method"] == "CONNECT")
    assert line["host"] == NAME and line["outcome"] in ENDED_WELL


@by_name(FETCHERS)
def test_refused_tunnel_says_why(fetcher, proxy, authority, tls_origin, home):
    fetched = fetcher.fetch(home, proxy, authority, f"https://ca.elsewhere.test:{tls_origin.port}/page")
    assert not fetched.worked
    assert fetcher.refused_tunnel.replace("PHRASE", "Host not in the allowlist") in fetched.told

    line = proxy.wait_log(lambda line: line["host"] == "ca.elsewhere.test")
    assert (line["status"], line["outcome"], line["address"]) == (403, "host-denied", "")
    assert not tls_origin.connections()


def test_refused_tunnel_as_a_response(proxy, authority, tls_origin, home):
    fetched = PROXY_AGENT.fetch(home, proxy, authority, f"https://ca.elsewhere.test:{tls_origin.port}/page")
    assert fetched.worked, fetched.told
    assert fetched.status == 403
    assert b"allowed.domains" in fetched.body
    assert not tls_origin.connections()


@by_name([fetcher for fetcher in [*FETCHERS, PROXY_AGENT] if not fetcher.tunnels_http])
def test_refused_in_absolute_form_says_why(fetcher, proxy, authority, plain_origin, home):
    fetched = fetcher.fetch(home, proxy, authority, f"http://ca.elsewhere.test:{plain_origin.port}/page")
    if fetched.worked:
        assert fetched.status == 403
        # The reason and what to do about it.
        assert b"ca.elsewhere.test" in fetched.body
        assert b"allowed.domains" in fetched.body
    else:
        assert fetcher.name == "wget" and REFUSED in fetched.told

    line = proxy.wait_log(lambda line: line["host"] == "ca.elsewhere.test")
    assert (line["status"], line["outcome"], line["address"]) == (403, "host-denied", "")
    assert not plain_origin.connections()


def test_curl_speaks_http2_inside(proxy, authority, certificate, origin, home):
    server = origin(http2_page(b"over h2\n"), certificate=certificate, alpn=("h2", "http/1.1"))

    fetched = Curl("curl", "--http2").fetch(home, proxy, authority, f"https://{NAME}:{server.port}/page")
    assert fetched.worked, fetched.told
    assert (fetched.status, fetched.body) == (200, b"over h2\n")
    assert server.connections()[0].alpn == "h2"
    assert fetched.certificate == certificate.fingerprint()


def test_curl_http11_when_asked(proxy, authority, certificate, http_origin, home):
    server = http_origin(pages({"/page": b"over 1.1\n"}), certificate=certificate, alpn=("h2", "http/1.1"))

    fetched = Curl("curl", "--http1.1").fetch(home, proxy, authority, f"https://{NAME}:{server.port}/page")
    assert (fetched.worked, fetched.body) == (True, b"over 1.1\n"), fetched.told
    assert server.connections()[0].alpn == "http/1.1"


def test_curl_reuses_its_connection(proxy, plain_origin, home):
    url = f"http://{NAME}:{plain_origin.port}/page"
    told = ("--write-out", "%{num_connects}", "--output", "one", "--output", "two")
    done = programs.run(home, "curl", "--disable", "--silent", "--proxy", proxy.url, *told, url, url)
    assert done.returncode == 0, programs.told(done)
    assert done.stdout == b"10"
    assert (home / "one").read_bytes() == (home / "two").read_bytes() == PAGE
    assert len(plain_origin.connections()) == 1


def test_curl_sends_a_large_body_after_100_continue(proxy, authority, plain_origin, home):
    message = random.Random(3).randbytes(3_000_000)
    asks = Curl("curl", "--header", "Expect: 100-continue", "--expect100-timeout", "60")
    posted = asks.fetch(home, proxy, authority, f"http://{NAME}:{plain_origin.port}/page", "POST", message)
    assert posted.worked, posted.told
    assert hashlib.sha256(posted.body).digest() == hashlib.sha256(message).digest()


def test_wget_pins_the_origins_key(proxy, authority, certificate, tls_origin, home):
    der = pki.openssl(home, "pkey", "-in", certificate.key, "-pubout", "-outform", "DER")
    right = base64.b64encode(hashlib.sha256(der).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    url = f"https://{NAME}:{tls_origin.port}/page"
    common = ("wget", "--no-config", "--tries=1", f"--ca-certificate={authority.root.cert}", "--output-document=answer")

    done = programs.run(home, *common, f"--pinnedpubkey=sha256//{right}", url, https_proxy=proxy.url)
    assert done.returncode == 0, programs.told(done)
    assert (home / "answer").read_bytes() == PAGE
    done = programs.run(home, *common, f"--pinnedpubkey=sha256//{wrong}", url, https_proxy=proxy.url)
    assert done.returncode != 0


def test_openssl_s_client(proxy, authority, certificate, tls_origin, home):
    target = f"{NAME}:{tls_origin.port}"
    verify = ("-CAfile", authority.root.cert, "-verify_return_error", "-verify_hostname", NAME, "-servername", NAME)
    command = ("openssl", "s_client", "-proxy", f"127.0.0.1:{proxy.port}", "-connect", target, *verify, "-ign_eof")
    request = f"GET /page HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode()

    done = programs.run(home, *command, stdin=request)
    assert done.returncode == 0, programs.told(done)
    assert PAGE in done.stdout
    assert fingerprint(CERTIFICATE.search(done.stdout)[0]) == certificate.fingerprint()
    line = proxy.wait_log(lambda line: line["host"] == NAME)
    assert line["bytes_down"] > len(PAGE)

    assert proxy.stop() == 0
    assert programs.run(home, *command, stdin=request).returncode != 0


def test_openssl_s_client_refused(proxy, tls_origin, home):
    target = f"ca.elsewhere.test:{tls_origin.port}"
    done = programs.run(home, "openssl", "s_client", "-proxy", f"127.0.0.1:{proxy.port}", "-connect", target)
    assert done.returncode == 1
    assert f"HTTP CONNECT failed, reason={REFUSED}" in re.sub("reason= *", "reason=", programs.told(done))


def test_socat_half_closes(certferry, enroll_settings, origin, home):
    """Ends its own direction first, and only then gets the answer."""

    def answer_after_the_end(connection):
        connection.send(hashlib.sha256(connection.read_to_end()).hexdigest().encode())

    server = origin(answer_after_the_end)
    proxy = certferry(enroll_settings | {"tunnel.raw.ports": server.port})
    where = f"PROXY:127.0.0.1:{NAME}:{server.port},proxyport={proxy.port}"
    # -t: how long socat waits for the other direction after the first has ended.
    command = ("socat", "-t", "60", "STDIO", where)

    done = programs.run(home, *command, stdin=PAGE)
    assert done.returncode == 0, programs.told(done)
    assert done.stdout.decode() == hashlib.sha256(PAGE).hexdigest()
    line = proxy.wait_log(lambda line: line["host"] == NAME)
    assert (line["outcome"], line["bytes_up"], line["bytes_down"]) == ("ok", len(PAGE), 64)

    refused = where.replace(NAME, "ca.elsewhere.test")
    done = programs.run(home, *command[:-1], refused, stdin=PAGE)
    assert done.returncode != 0
    assert "Host not in the allowlist" in programs.told(done)

    assert proxy.stop() == 0
    assert programs.run(home, *command, stdin=PAGE).returncode != 0
