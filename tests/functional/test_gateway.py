"""
The EST gateway: devices that know of no proxy ask us by our own name, and we ask the CA's servers over verified TLS.
Plain on loopback here; the gateway's own TLS is switched on where it matters.
"""

import base64
import os
import re
import socket
import ssl
import threading
import time
import warnings

import pytest
from support import pki, programs
from support.certferry import BINARY, PATIENCE, ROOT, SANITIZER_STATUS, NotReady
from support.client_pki import DAY, NOW, ClientAuthority
from support.daemons import CmpServer, ScepDaemon, unused_port
from support.enrolling import Device, assert_verifies
from support.est_server import EstServer
from support.fleets import wait_until
from support.gateway import DoorClient, GuideHaproxy, settings, tls_front, tls_settings
from support.origins import HttpOrigin, pages, reply, swallow
from support.pki import Authority
from support.raw_cases import model, tables
from support.raw_http import assert_refused, chunked, metric, request

NAME = "est.enroll.test"
PATH = "/.well-known/est/cacerts"
ORDER = "/scep/x?operation=PKIOperation&message=MIIB"
PKCS10 = ("--header", "Content-Type: application/pkcs10", "--header", "Content-Transfer-Encoding: base64")
BASIC = ("--user", "device:first-password")


@pytest.fixture
def gateway(certferry, enroll_settings, authority):
    """Factory: gateway(*upstreams, **keys) -> certferry, one worker; dots of keys as "_", upstreams as URL or port."""

    def start(*upstreams, **keys):
        urls = [up if isinstance(up, str) else f"https://{NAME}:{up}" for up in upstreams]
        given = enroll_settings | {"threads": "1"} | settings(authority, *urls, **keys)
        return certferry({key: value for key, value in given.items() if value is not None})

    return start


@pytest.fixture
def upstream(http_origin, authority):
    """Factory: upstream(answer, ...) -> HttpOrigin that speaks TLS as NAME."""

    def start(answer=None, names=(NAME,), **how):
        return http_origin(answer or (lambda _: reply(b"fine")), certificate=authority.server(*names), **how)

    return start


def url(proxy, path, scheme="http", host="127.0.0.1"):
    return f"{scheme}://{host}:{proxy.doors['gateway']}{path}"


def curl(home, *arguments, **variables):
    return programs.run(home, "curl", "--disable", "--silent", "--show-error", "--max-time", "60", *arguments, **variables)


def ask(proxy, path=PATH, *fields, **more):
    with DoorClient(proxy) as client:
        return client.fetch(path, *(fields or ("Host: gateway.test",)), **more)


# What goes up and what comes down.


def test_a_request_and_what_the_upstream_gets(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port)
    with DoorClient(proxy, source="127.0.0.9") as client:
        answer = client.fetch(PATH + "?a=b", "Host: gateway.test:8443", "Accept: */*", "Authorization: Basic eDp5")
    assert (answer.status, answer.body) == (200, b"fine")
    assert answer.header("Via") == "1.1 ferry-1"
    seen = server.requests[0]
    assert seen.head.decode().split("\r\n") == [
        f"GET {PATH}?a=b HTTP/1.1",
        f"Host: {NAME}:{server.port}",
        "Accept: */*",
        "Authorization: Basic eDp5",
        "Via: 1.1 ferry-1",
        f"X-Forwarded-Port: {proxy.doors['gateway']}",
        "X-Forwarded-Proto: http",
        "Connection: keep-alive",
        "",
        "",
    ]
    assert server.connections()[0].server_name == NAME, "SNI"
    line = proxy.wait_log(lambda line: line["door"] == "gateway")
    assert line["upstream"] == f"https://{NAME}:{server.port}"
    assert (line["host"], line["port"], line["class"], line["operation"]) == (NAME, server.port, "est", "cacerts")
    assert (line["outcome"], line["status"], line["client"]) == ("ok", 200, "127.0.0.9")
    assert metric(proxy, "upstream_attempts_total", upstream=line["upstream"], result="ok") == 1
    assert metric(proxy, "upstream_up", upstream=line["upstream"]) == 1


def test_clients_are_named_but_for_exceptions(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port, gateway_forwarded_except="127.0.0.2/32")
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        with DoorClient(proxy, source=source) as client:
            assert client.fetch(PATH, "Host: a").status == 200
    assert [seen.header("X-Forwarded-For") for seen in server.requests] == ["127.0.0.1", None, "127.0.0.3"]


def test_nothing_is_added_where_nothing_is_wanted(gateway, upstream):
    server = upstream()
    off = {f"gateway_forwarded_{what}": "off" for what in ("for", "proto", "port")}
    proxy = gateway(server.port, **off, gateway_upstream_host="ca.example")
    ask(proxy)
    names = [name for name, _ in server.requests[0].headers]
    assert names == ["Host", "Via", "Connection"]
    assert server.requests[0].header("Host") == "ca.example"
    assert server.connections()[0].server_name == NAME, "the certificate's name stays the upstream's"


SPOOFED = (
    "X-Forwarded-For: 192.0.2.66",
    "X_Forwarded_For: 192.0.2.66",
    "x-forwarded-host: evil.test",
    "X-Forwarded-Proto: gopher",
    "Forwarded: for=192.0.2.66;proto=https",
    "X-Real-IP: 192.0.2.66",
    "Client-Cert: :AAAA:",
    "Client_Cert_Chain: :AAAA:",
    "SSL-Client-Verify: SUCCESS",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X-HTTP-Method-Override: DELETE",
    "Proxy-Authorization: Basic eDp5",
    "Proxy: http://evil.test:3128",  # HTTP_PROXY of a CGI program, such as pkiclient.exe may be
    "Connection: X-Forwarded-For, Via, Host, close",
)


def test_what_a_client_says_in_our_stead(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port, gateway_forwarded_except="")
    assert ask(proxy, PATH, "Host: gateway.test", *SPOOFED).status == 200
    fields = dict(server.requests[0].headers)
    assert fields.pop("X-Forwarded-For") == "127.0.0.1" and fields.pop("X-Forwarded-Proto") == "http"
    assert fields.pop("X-Forwarded-Port") == str(proxy.doors["gateway"])
    assert set(fields) == {"Host", "Via", "Connection"}, fields
    assert b"192.0.2.66" not in server.requests[0].head and b"evil" not in server.requests[0].head


def test_trailers_stay_behind(gateway, origin, authority):
    def script(connection):
        connection.read_until(b"0\r\n\r\n")
        connection.send(reply())

    server = origin(script, certificate=authority.server(NAME))
    proxy = gateway(server.port)
    with DoorClient(proxy) as client:
        client.send(request(PATH, "Host: a", "Transfer-Encoding: chunked", method="POST"))
        client.send(chunked(b"csr", trailers=("X-Forwarded-For: 192.0.2.66", "X-Other: 1")))
        assert client.response().status == 200
    assert server.connections()[0].received.endswith(b"\r\n\r\n3\r\ncsr\r\n0\r\n\r\n")


def test_urls_of_the_upstream_become_ours(gateway, upstream):
    cookie = "Set-Cookie: a=b; Domain=est.enroll.test; Path=/x"

    def answer(seen):
        host = f"https://{NAME}:{seen.connection.sock.getsockname()[1]}"
        return reply(b"", "302 Found", (f"Location: {host}/scep?x", f"Content-Location: {host}/y", f"X-Url: {host}/z", cookie))

    server = upstream(answer)
    proxy = gateway(server.port)
    got = ask(proxy, PATH, "Host: Gateway.test:8443")
    assert got.header("Location") == "http://gateway.test:8443/scep?x"
    assert got.header("Content-Location") == "http://gateway.test:8443/y"
    assert got.header("X-Url") == f"https://{NAME}:{server.port}/z", "other fields are left alone"
    assert "Set-Cookie: " + got.header("Set-Cookie") == cookie
    got = ask(proxy, PATH, "Accept: */*", version="1.0")
    assert got.header("Location") == "/scep?x", "a client that names no host gets the path alone"


def test_http_1_0_client(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port)
    assert ask(proxy, PATH, "Accept: */*", version="1.0").body == b"fine"
    assert server.requests[0].version == "HTTP/1.1"
    assert server.requests[0].header("Via") == "1.0 ferry-1"


def test_expect_100_continue(gateway, upstream):
    server = upstream(pages({}))
    proxy = gateway(server.port)
    with DoorClient(proxy) as client:
        client.send(request(PATH, "Host: a", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        assert client.head().status == 100
        client.send(b"csr")
        assert client.response().body == b"csr"


# Connections to upstreams.


def test_connections_are_kept_tls_and_all(gateway, upstream):
    server = upstream(pages({PATH: b"certs"}))
    proxy = gateway(server.port)
    for _ in range(2):
        with DoorClient(proxy) as client:
            assert client.fetch(PATH, "Host: a").body == b"certs"
            assert client.fetch(PATH, "Host: a", method="POST", body=b"csr").body == b"csr"
            assert client.fetch(PATH, "Host: a", method="POST", body=b"csr").body == b"csr"
    numbers = [seen.connection.number for seen in server.requests]
    # A POST could not be repeated if the server closed just then: only this client's own connection will do.
    assert numbers == [1] * 6, numbers
    with DoorClient(proxy) as client:
        assert client.fetch(PATH, "Host: a", method="POST", body=b"csr").body == b"csr"
    assert server.requests[-1].connection.number == 2
    assert metric(proxy, "origin_connections_reused_total") == 5


def handshakes(proxy):
    return int(metric(proxy, "upstream_tls_handshakes_total")), int(metric(proxy, "upstream_tls_resumed_total"))


def post(proxy):
    """On a connection of its own, and so one of its own to the upstream."""
    return ask(proxy, method="POST", body=b"csr")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_with_upstreams_are_resumed_until_a_reload(gateway, upstream, authority, version):
    server = upstream()
    server.become(authority.server(NAME), version)
    proxy = gateway(server.port)
    for _ in range(3):
        assert post(proxy).status == 200
    assert handshakes(proxy) == (1, 2)
    # From now on we may believe other CAs, or show another certificate of our own.
    assert "reloaded" in proxy.reload({"gateway.retries": "1"})
    assert post(proxy).status == 200
    assert handshakes(proxy) == (2, 2)
    assert "reloaded" in proxy.reload({"gateway.upstream.resume": "off"})
    for _ in range(2):
        assert post(proxy).status == 200
    assert handshakes(proxy) == (4, 2)


def test_sessions_are_resumed_of_the_same_upstream_only(gateway, upstream):
    first, second = upstream(), upstream()
    proxy = gateway(first.port, second.port)
    for _ in range(4):
        assert post(proxy).status == 200
    assert handshakes(proxy) == (2, 2)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_upstream_that_refuses_a_session_is_verified(gateway, upstream, authority, version):
    server = upstream()
    server.become(authority.server(NAME), version)
    proxy = gateway(server.port, gateway_retries="0")
    assert post(proxy).status == 200
    server.become(authority.server("evil.test"), version)
    assert_refused(proxy, post(proxy), "upstream-certificate")
    assert len(server.requests) == 1
    server.become(authority.server(NAME), version)
    assert post(proxy).status == 200
    assert handshakes(proxy) == (2, 0), "nothing is left of the one that was not believed"


def test_an_idle_connection_that_the_upstream_ends(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port)
    with DoorClient(proxy) as client:
        assert client.fetch(PATH, "Host: a").status == 200
        server.connections()[0].sock.shutdown(socket.SHUT_RDWR)
        server.wait_done(1)
        assert client.fetch(PATH, "Host: a").status == 200
    assert [seen.connection.number for seen in server.requests] == [1, 2]


def test_idle_connections_do_not_survive_a_reload(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port)
    assert ask(proxy).status == 200
    assert "reloaded" in proxy.reload({"gateway.retries": "1"})
    server.wait_done(1)
    assert ask(proxy).status == 200


def test_a_connection_in_use_does_not_survive_a_reload(gateway, upstream, tmp_path):
    """It was made with another CA's word: that request ends well, and no other is sent over it."""
    asked, goes_on = threading.Event(), threading.Event()

    def answer(seen):
        if "slow" in seen.target:
            asked.set()
            goes_on.wait(PATIENCE)
        return reply(b"fine")

    server = upstream(answer)
    proxy = gateway(server.port, gateway_retries="0")
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "Other CA")
    with DoorClient(proxy) as client:
        client.ask(PATH + "?slow", "Host: a")
        assert asked.wait(PATIENCE)
        assert "reloaded" in proxy.reload({"gateway.upstream.ca": stranger.root.cert})
        goes_on.set()
        assert client.response().body == b"fine"
        assert_refused(proxy, client.fetch(PATH, "Host: a"), "upstream-certificate")
    assert_refused(proxy, ask(proxy), "upstream-certificate")
    assert len(server.requests) == 1


# What is refused reaches nobody.


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin",
        "/healthz",
        "/metrics",
        "/.well-known/pvd",
        "/.well-known/est/../../admin",
        "/.well-known/est/%2e%2e/%2e%2e/admin",
        "/.well-known/est/..%2f..%2fadmin",
        "/.well-known/est/..%5c..%5cadmin",
        "/.well-known/est/..;/admin",
        "/.well-known//est/cacerts",
        "//evil.test/.well-known/est/cacerts",
        "/.well-known/est/%c0%ae%c0%ae/admin",
        "/.well-known/est/cacerts%00",
        "/.WELL-KNOWN/est/cacerts",
    ],
)
def test_paths(gateway, upstream, path):
    server = upstream()
    proxy = gateway(server.port)
    line = assert_refused(proxy, ask(proxy, path), "path-denied", door="gateway", method="GET")
    assert line["detail"]
    assert server.connections() == []
    assert ask(proxy, "/.well-known/est/cacerts?x=/../%2e%2e").status == 200, "what is behind ? is no path"


@pytest.mark.parametrize(
    ("octets", "token"),
    [
        (b"GET http://est.enroll.test/scep HTTP/1.1\r\nHost: a\r\n\r\n", "bad-target"),
        (b"GET https://est.enroll.test/scep HTTP/1.1\r\nHost: a\r\n\r\n", "bad-target"),
        (b"CONNECT est.enroll.test:443 HTTP/1.1\r\nHost: a\r\n\r\n", "bad-target"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "bad-target"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad-version"),
        (b"GET est.enroll.test:443/scep/x HTTP/1.1\r\nHost: a\r\n\r\n", "bad-request"),
        (b"GET /scep\\..\\x HTTP/1.1\r\nHost: a\r\n\r\n", "bad-target"),
        (b"TRACE /scep/x HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", "method-denied"),
        (b"DELETE /scep/x HTTP/1.1\r\nHost: a\r\n\r\n", "method-denied"),
        (b"GET /scep/x HTTP/1.1\r\nHost: a\r\nVia: 1.1 ferry-1\r\n\r\n", "proxy-loop"),
        (b"GET /scep/x HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad-request"),
        (b"GET /scep/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad-request"),
        (b"GET /scep/x HTTP/1.1\r\n\r\n", "bad-request"),
    ],
)
def test_requests_that_are_none_for_a_gateway(gateway, upstream, octets, token):
    server = upstream()
    proxy = gateway(server.port)
    with DoorClient(proxy) as client:
        client.send(octets)
        assert_refused(proxy, client.response(), token, door="gateway")
    assert server.connections() == []


def test_names(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port, gateway_names="gateway.test,127.0.0.1")
    assert_refused(proxy, ask(proxy, PATH, "Host: evil.test"), "gateway-name-unknown", host="evil.test")
    assert_refused(proxy, ask(proxy, PATH, "Accept: */*", version="1.0"), "gateway-name-unknown")
    assert server.connections() == []
    for host in ("gateway.test", "GATEWAY.test:443", "127.0.0.1"):
        assert ask(proxy, PATH, f"Host: {host}").status == 200


def test_no_proxy_password_is_asked_of_devices(gateway, upstream, home):
    users = home / "users"
    made = programs.run(home, "htpasswd", "-b", "-B", "-C", "5", "-c", users, "ferry", "secret")
    assert made.returncode == 0, programs.told(made)
    users.chmod(0o600)
    proxy = gateway(upstream().port, auth_file=users)
    assert ask(proxy).status == 200


def test_clients_of_other_networks(gateway, upstream):
    server = upstream()
    proxy = gateway(server.port, gateway_clients_allow="127.0.0.5/32")
    assert_refused(proxy, ask(proxy), "client-denied", door="gateway")
    with DoorClient(proxy, source="127.0.0.5") as client:
        assert client.fetch(PATH, "Host: a").status == 200


# Request smuggling.


def smuggling_cases():
    """The raw cases of framing and fields, as requests in origin form, that are refused whatever the target."""
    for case in (case for cases in tables.by_group().values() for case in cases):
        plain = case.octets.count(b"http://$HOST") >= 1 and not re.match(b"CONNECT|TRACE", case.octets) and not case.guarded
        refused = isinstance(case.expect, model.Refused) and not case.names
        if plain and refused and case.group != "forms of targets":
            yield case


CASES = list(smuggling_cases())


def test_there_are_enough_of_them():
    assert len(CASES) >= 60


@pytest.mark.parametrize("part", range(4))
def test_request_smuggling(gateway, upstream, part):
    """Each is refused as on the proxy's port, and the upstream, over TLS, never gets a whole request of it."""
    server = upstream(pages({}))
    proxy = gateway(server.port, gateway_paths="/**", via_name=model.PSEUDONYM)
    wrong = []
    for case in CASES[part::4]:
        octets = case.octets.replace(b"http://$HOST", b"").replace(b"$HOST", b"a")
        octets = re.sub(rb"^([A-Z]+)  HTTP", rb"\1 / HTTP", octets).replace(b"$VIA", b"1.1 raw-proxy").replace(b"$PORT", b"80")
        with DoorClient(proxy) as client:
            client.send(octets)
            try:
                answer = client.response()
            except (EOFError, ConnectionResetError):
                continue  # closed without a word: nothing was passed on either
            if answer.status not in case.expect.statuses():
                wrong.append((case.group, case.name, answer.status, answer.body))
    assert not wrong, wrong
    assert server.requests == []
    assert ask(proxy).status == 404, "a good request still goes through, and gets its own answer"


def test_a_second_request_behind_a_first(gateway, upstream):
    """Pipelined requests are judged one by one: the second is refused, and does not ride on the first."""
    server = upstream()
    proxy = gateway(server.port)
    with DoorClient(proxy) as client:
        client.send(request(PATH, "Host: a") + request("/admin", "Host: a"))
        assert client.response().status == 200
        assert client.response().status == 403
    assert [seen.target for seen in server.requests] == [PATH]


# The way to upstreams, and what becomes of it.


def assert_unreached(proxy, answer, token, server=None):
    """Refused with that outcome, without a word to the upstream."""
    line = assert_refused(proxy, answer, token, door="gateway")
    assert server is None or not [connection for connection in server.connections() if connection.received]
    return line


def test_an_upstream_of_another_ca(gateway, upstream, tmp_path):
    stranger = Authority(tmp_path / "stranger", "Stranger CA").server(NAME)
    server = HttpOrigin(lambda _: reply(b"trap"), certificate=stranger)
    with server:
        proxy = gateway(server.port, gateway_retries="0")
        line = assert_unreached(proxy, ask(proxy, PATH, "Host: a", method="POST", body=b"csr"), "upstream-certificate", server)
        assert "certificate" in line["detail"] and line["upstream"] == f"https://{NAME}:{server.port}"
        assert server.requests == []
        assert metric(proxy, "upstream_attempts_total", upstream=line["upstream"], result="tls") == 1
        assert metric(proxy, "upstream_up", upstream=line["upstream"]) == 0
        proxy.wait_event(f"upstream https://{NAME}:{server.port} is broken .tls: ")


def test_an_upstream_of_another_name(gateway, upstream):
    server = upstream(names=("other.enroll.test",))
    proxy = gateway(server.port, gateway_retries="0")
    line = assert_unreached(proxy, ask(proxy), "upstream-certificate", server)
    assert "ostname mismatch" in line["detail"], line


def test_an_upstream_without_tls(gateway, origin):
    def script(connection):
        connection.recv()
        connection.send(reply(b"plain", "400 Bad Request"))

    server = origin(script)
    proxy = gateway(server.port, gateway_retries="0")
    assert_refused(proxy, ask(proxy), "upstream-tls")
    assert b"GET" not in server.wait_done(1).received


def test_an_upstream_that_speaks_old_tls_only(gateway, origin, authority):
    server = origin(swallow, certificate=authority.server(NAME))
    with warnings.catch_warnings(action="ignore"):
        server._context.minimum_version = server._context.maximum_version = ssl.TLSVersion.TLSv1_1
    server._context.set_ciphers("ALL:@SECLEVEL=0")
    proxy = gateway(server.port, gateway_retries="0")
    assert_unreached(proxy, ask(proxy), "upstream-tls", server)


def test_an_upstream_that_says_nothing(gateway, origin):
    silent = origin(swallow)
    proxy = gateway(silent.port, gateway_retries="0", gateway_timeout_connect="300ms")
    assert_refused(proxy, ask(proxy), "upstream-timeout")


def test_an_upstream_that_is_not_there(gateway):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        proxy = gateway(held.getsockname()[1], gateway_retries="1")
        began = time.monotonic()
        line = assert_refused(proxy, ask(proxy, PATH, "Host: a", method="POST", body=b"csr"), "connect-refused")
    assert time.monotonic() - began >= 0.9, "the same one is asked again after a second"
    assert metric(proxy, "upstream_retries_total") == 1
    assert metric(proxy, "upstream_attempts_total", upstream=line["upstream"], result="unreachable") == 2


def test_an_upstream_that_comes_while_we_try(gateway, authority):
    """Nothing of a POST is sent before there is TLS, so it may wait for its upstream."""
    port = unused_port()
    proxy = gateway(port, gateway_retries="100")
    with DoorClient(proxy) as client:
        client.ask(PATH, "Host: a", method="POST", body=b"csr" * 1000)
        proxy.wait_event("is broken")
        with HttpOrigin(pages({}), certificate=authority.server(NAME), port=port) as server:
            assert client.response().body == b"csr" * 1000
            assert len(server.requests) == 1


def test_a_client_that_leaves_while_we_try(gateway):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        proxy = gateway(held.getsockname()[1], gateway_retries="100")
        with DoorClient(proxy) as client:
            client.ask(PATH, "Host: a")
            proxy.wait_event("is broken")
            client.reset()
        proxy.wait_log(lambda line: line["outcome"] == "client-reset")


def dies_after(mark):
    """An upstream that ends the connection once it has read that."""

    def script(connection):
        connection.read_until(mark)
        connection.reset()

    return script


def test_a_post_that_may_have_arrived_is_not_repeated(gateway, origin, upstream, authority):
    dying = origin(dies_after(b"csr-end"), certificate=authority.server(NAME))
    other = upstream(pages({}))
    proxy = gateway(dying.port, other.port)
    answer = ask(proxy, PATH, "Host: a", method="POST", body=b"x" * 100000 + b"csr-end")
    line = assert_refused(proxy, answer, "response-incomplete", method="POST")
    assert line["upstream"] == f"https://{NAME}:{dying.port}"
    assert other.connections() == [] and len(dying.connections()) == 1


def test_a_post_whose_upstream_dies_in_the_middle(gateway, origin, upstream, authority):
    dying = origin(dies_after(b"first"), certificate=authority.server(NAME))
    other = upstream(pages({}))
    proxy = gateway(dying.port, other.port)
    with DoorClient(proxy) as client:
        client.send(request(PATH, "Host: a", "Content-Length: 1000000", method="POST") + b"first")
        dying.wait_done(1)
        assert client.response().status == 502
    assert other.connections() == []


@pytest.mark.parametrize("path", [PATH, ORDER])
def test_a_get_that_may_have_arrived_is_not_repeated(gateway, origin, upstream, authority, path):
    """Whether it is safe to ask again the client knows best: SCEP enrolls by GET too, with a password that is good once."""
    dying = origin(dies_after(b"\r\n\r\n"), certificate=authority.server(NAME))
    other = upstream()
    proxy = gateway(dying.port, other.port)
    assert_refused(proxy, ask(proxy, path), "response-incomplete", method="GET")
    assert len(dying.connections()) == 1 and other.connections() == []
    assert metric(proxy, "upstream_retries_total") == 0


def test_a_get_after_an_answer_that_is_none(gateway, origin, upstream, authority):
    def script(connection):
        connection.read_until(b"\r\n\r\n")
        connection.send(b"no HTTP\r\n\r\n")

    broken = origin(script, certificate=authority.server(NAME))
    other = upstream()
    proxy = gateway(broken.port, other.port)
    assert_refused(proxy, ask(proxy), "response-malformed")
    assert other.connections() == []


def dies_on_the_second_request(connection):
    """Keeps its first connection after the answer, and ends it, and all later ones, with the next request unanswered."""
    if connection.number == 1:
        connection.read_until(b"\r\n\r\n")
        connection.send(reply(b"first"))
    connection.read_until(b"\r\n\r\n")
    connection.reset()


@pytest.mark.parametrize(("path", "connections"), [(PATH, 2), (ORDER, 1)])
def test_a_kept_connection_that_dies(gateway, origin, authority, path, connections):
    """It may have been about to close: a GET that is no order is sent once more, over a new one, and no third time."""
    server = origin(dies_on_the_second_request, certificate=authority.server(NAME))
    proxy = gateway(server.port)
    with DoorClient(proxy) as client:
        assert client.fetch(PATH, "Host: a").body == b"first"
        assert_refused(proxy, client.fetch(path, "Host: a"), "response-incomplete")
    assert len(server.connections()) == connections


def test_a_get_goes_to_the_next_upstream(gateway, upstream):
    port = unused_port()
    other = upstream()
    proxy = gateway(port, other.port)
    assert ask(proxy).body == b"fine"
    assert ask(proxy, ORDER).body == b"fine", "nothing was sent, so it may be an order"
    assert len(other.requests) == 2
    assert metric(proxy, "upstream_retries_total") >= 1


def test_each_upstream_gets_its_own_host(gateway, upstream):
    """Also when a request goes on to another one."""
    first, dead = upstream(), unused_port()
    other = upstream(names=("second.enroll.test",))
    proxy = gateway(first.port, dead, f"https://second.enroll.test:{other.port}")
    assert [ask(proxy).status for _ in range(2)] == [200, 200]
    assert metric(proxy, "upstream_retries_total") == 1, "the second request was meant for another"
    assert first.requests[0].header("Host") == f"{NAME}:{first.port}"
    assert other.requests[0].header("Host") == f"second.enroll.test:{other.port}"
    assert other.connections()[0].server_name == "second.enroll.test"


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "429 Too Many", "502 Bad", "503 Busy", "504 Late"])
def test_what_an_upstream_says_is_meant_for_the_client(gateway, upstream, status):
    """No parent proxy's answer: it is passed on, and no other upstream is asked."""
    busy, other = upstream(lambda _: reply(b"its own words", status, ("Retry-After: 7",))), upstream()
    proxy = gateway(busy.port, other.port)
    got = ask(proxy)
    assert (got.status, got.body, got.header("Retry-After")) == (int(status[:3]), b"its own words", "7")
    assert got.header("Proxy-Status") is None
    assert other.connections() == []
    label = f"https://{NAME}:{busy.port}"
    assert metric(proxy, "upstream_attempts_total", upstream=label, result="ok") == 1
    assert metric(proxy, "upstream_up", upstream=label) == 1


def test_a_slow_upstream_is_not_asked_twice(gateway, origin, upstream, authority):
    slow = origin(swallow, certificate=authority.server(NAME))
    other = upstream()
    proxy = gateway(slow.port, other.port, gateway_timeout_idle="500ms")
    answer = ask(proxy)
    assert_refused(proxy, answer, "response-timeout")
    assert b"gateway.timeout.idle" in answer.body, "the key that counts here is named"
    assert other.connections() == []


def test_a_client_that_says_nothing_more(gateway, upstream):
    proxy = gateway(upstream().port, gateway_timeout_idle="2s", timeout_keepalive="1h")
    with DoorClient(proxy) as client:
        assert client.fetch(PATH, "Host: a").status == 200
        assert client.ended()


def test_three_take_turns_and_one_is_away_for_a_while(gateway, upstream, authority):
    port = unused_port()
    servers = [upstream(lambda _, n=n: reply(b"%d" % n)) for n in range(2)]
    proxy = gateway(servers[0].port, port, servers[1].port, upstream_retry_after="200ms")
    assert [ask(proxy).body for _ in range(6)] == [b"0", b"1"] * 3, "the dead one costs nobody an answer"
    proxy.wait_event(f"upstream https://{NAME}:{port} is broken .unreachable")
    with HttpOrigin(lambda _: reply(b"back"), certificate=authority.server(NAME), port=port):
        deadline = time.monotonic() + 20
        while ask(proxy).body != b"back":
            assert time.monotonic() < deadline
        proxy.wait_event(f"upstream https://{NAME}:{port} works again")
        bodies = [ask(proxy).body for _ in range(6)]
    assert sorted(bodies) == [b"0", b"0", b"1", b"1", b"back", b"back"]


def test_checks_find_out_before_a_client_does(gateway, upstream, authority):
    port = unused_port()
    server = upstream()
    proxy = gateway(server.port, port, gateway_check_interval="100ms")
    down = f"https://{NAME}:{port}"
    proxy.wait_event(f"upstream {down} is down .connect-refused")
    assert metric(proxy, "upstream_up", upstream=down) == 0
    assert {ask(proxy).status for _ in range(4)} == {200}
    assert metric(proxy, "upstream_attempts_total", upstream=down, result="unreachable") == 0, "no client had to wait"
    assert metric(proxy, "upstream_retries_total") == 0
    with HttpOrigin(lambda _: reply(b"back"), certificate=authority.server(NAME), port=port):
        proxy.wait_event(f"upstream {down} is up again")
        assert sorted(ask(proxy).body for _ in range(4)) == [b"back"] * 2 + [b"fine"] * 2
    proxy.wait_event(f"upstream {down} is down", start=len(proxy.events()) - 1)


def test_checks_want_a_certificate_that_is_believed(gateway, upstream, tmp_path):
    with HttpOrigin(lambda _: reply(), certificate=Authority(tmp_path / "other").server(NAME)) as stranger:
        proxy = gateway(upstream().port, stranger.port, gateway_check_interval="100ms")
        proxy.wait_event(f"upstream https://{NAME}:{stranger.port} is down .*certificate")


def test_checks_that_nobody_answers(gateway, upstream, origin):
    """Each has its time, and three must fail; the next does not begin before it."""
    mute, began = origin(swallow), time.monotonic()
    proxy = gateway(upstream().port, mute.port, gateway_check_interval="50ms", gateway_timeout_connect="700ms")
    proxy.wait_event(f"upstream https://{NAME}:{mute.port} is down .no answer in time")
    assert time.monotonic() - began >= 2


def test_checks_go_nowhere_that_clients_may_not(gateway, upstream, dns):
    """Not into the network behind a name; and what only roles may reach is left to them."""
    server, other = upstream(), upstream()
    dns.names = {NAME: ["127.77.0.1"], "second.enroll.test": ["127.0.0.1"]}
    urls = f"https://{NAME}:{server.port}", f"https://second.enroll.test:{other.port}"
    proxy = gateway(*urls, gateway_check_interval="50ms", allowed_networks="127.88.0.0/16")
    for url in urls:
        proxy.wait_event(f"upstream {url} is down .address-denied")
    assert server.connections() == other.connections() == []


def test_checks_leave_to_roles_what_is_theirs(certferry, enroll_settings, authority, upstream, dns):
    dns.names = {"*.test": ["127.0.0.1"]}
    mine, others = upstream(), upstream(names=("other.test",))
    urls = f"https://{NAME}:{mine.port}", f"https://other.test:{others.port}"
    given = {"gateway.role": "devices", "gateway.check.interval": "50ms"}
    given = enroll_settings | given | settings(authority, *urls)
    proxy = certferry(given, roles="devices.allowed.hosts=other.test\n")
    wait_until(lambda: len(mine.connections()) >= 3, "the other is never checked")
    assert others.connections() == []
    proxy.stop()


def test_the_queue(gateway, upstream):
    goes_on = threading.Event()

    def answer(seen):
        if seen.target.endswith("/first"):
            goes_on.wait(20)
        return reply(seen.target.encode())

    server = upstream(answer)
    proxy = gateway(server.port, gateway_limit_connections="1", gateway_timeout_queue="60s", queue_timeout="100ms")
    with DoorClient(proxy) as first, DoorClient(proxy) as second:
        first.ask("/scep/first", "Host: a")
        server.wait_connection(1)
        second.ask("/scep/second", "Host: a")
        deadline = time.monotonic() + 20
        while metric(proxy, "queue_entered_total") < 1:
            assert time.monotonic() < deadline
        assert len(server.connections()) == 1
        goes_on.set()
        assert first.response().body == b"/scep/first"
        assert second.response().body == b"/scep/second"
    assert metric(proxy, "limit", name="gateway.limit.connections") == 1


def test_the_queue_has_an_end(gateway, upstream):
    goes_on = threading.Event()

    def answer(_):
        goes_on.wait(20)
        return reply()

    server = upstream(answer)
    proxy = gateway(server.port, gateway_limit_connections="1", gateway_timeout_queue="300ms")
    with DoorClient(proxy) as first:
        first.ask(PATH, "Host: a")
        server.wait_connection(1)
        assert_refused(proxy, ask(proxy), "queue-timeout", door="gateway")
        goes_on.set()
        assert first.response().status == 200


# The policy holds for upstreams as for all hosts.


def test_an_upstream_that_leads_inside(gateway, upstream, dns):
    server = upstream()
    dns.names = {NAME: ["127.77.0.1"]}
    proxy = gateway(server.port, allowed_networks="127.88.0.0/16")
    line = assert_unreached(proxy, ask(proxy), "address-denied", server)
    assert "127.77.0.1" in line["detail"]
    assert metric(proxy, "upstream_retries_total") == 0


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ({"gateway_upstreams": ""}, "gateway.listen.* needs gateway.upstreams"),
        ({"gateway_upstreams": "http://est.enroll.test:80"}, "written as https://host"),
        ({"gateway_upstreams": "https://u:p@est.enroll.test"}, "written as https://host"),
        ({"gateway_upstreams": "https://est.enroll.test/x"}, "has no path"),
        ({"gateway_upstreams": "https://est.enroll.test:0"}, "the port is not a number"),
        ({"gateway_upstreams": "https://est.enroll.test,https://EST.enroll.test:443/"}, "stands there twice"),
        ({"gateway_upstreams": "https://evil.test"}, "https://evil.test.*not in the allowlist"),
        ({"gateway_upstreams": "https://est.enroll.test:22", "allowed_connect_ports": "443"}, "Port not in the allowlist"),
        ({"gateway_upstreams": "https://10.1.2.3", "allowed_hosts": "10.1.2.3"}, "special-purpose address"),
        ({"upstream_proxies": "http://parent.enroll.test:3128"}, "must be in no.proxy"),
        ({"gateway_listen": "0.0.0.0:0"}, "plain HTTP is for loopback addresses only"),
        ({"gateway_listen": ":0"}, "plain HTTP is for loopback addresses only"),
        ({"gateway_paths": "/a/../b"}, "gateway.paths.*dot segment"),
        ({"gateway_names": "a_b"}, "gateway.names.*a_b"),
        ({"gateway_upstream_host": "a/b"}, "no host or host:port"),
        ({"gateway_upstream_host": "a:99999"}, "no host or host:port"),
        ({"gateway_upstream_host": "::1"}, "no host or host:port"),
        ({"gateway_upstream_ca": "/dev/null"}, "gateway.upstream.ca.*is no regular file"),
        ({"gateway_upstream_cert": "missing.pem"}, "gateway.upstream.cert.*No such file"),
        ({"gateway_upstream_key": "missing.pem"}, "without gateway.upstream.cert"),
        ({"gateway_client_cert_field": "on"}, "gateway.client.cert.field.*without gateway.client.ca"),
    ],
)
def test_mistakes(gateway, keys, mistake):
    with pytest.raises(NotReady) as refused:
        gateway(443, **keys)
    assert re.search(mistake, "\n".join(refused.value.events)), refused.value.events


@pytest.mark.parametrize("key", ["gateway_upstream_ca", "gateway_upstream_cert"])
def test_an_empty_file_is_a_mistake(gateway, tmp_path, key):
    """Not the system's CAs, nor no certificate."""
    (tmp_path / "empty.pem").touch()
    with pytest.raises(NotReady) as refused:
        gateway(443, **{key: tmp_path / "empty.pem"})
    assert re.search(key.replace("_", ".") + ".*is empty", "\n".join(refused.value.events)), refused.value.events


def test_new_upstreams_by_reload(gateway, upstream):
    old, new = upstream(lambda _: reply(b"old")), upstream(lambda _: reply(b"new"))
    proxy = gateway(old.port)
    assert ask(proxy).body == b"old"
    assert "reloaded" in proxy.reload({"gateway.upstreams": f"https://{NAME}:{new.port}"})
    assert ask(proxy).body == b"new"
    # The listener stays until a restart, and what it needs stays with it.
    assert "refused" in proxy.reload({"gateway.upstreams": "", "gateway.listen": ""})
    assert any("gateway.listen changed, but only a restart" in line for line in proxy.events())
    assert ask(proxy).body == b"new"


def test_an_upstream_that_a_reload_forbids(gateway, upstream, authority):
    """While a request waits for it: the policy in force is asked before each attempt."""
    port = unused_port()
    other = "other.enroll.test"
    proxy = gateway(port, gateway_retries="100")
    new = upstream(names=(other,))
    with DoorClient(proxy) as client:
        client.ask(PATH, "Host: a", method="POST", body=b"csr")
        proxy.wait_event("is broken")
        told = proxy.reload({"allowed.domains": other, "gateway.upstreams": f"https://{other}:{new.port}"})
        assert "reloaded" in told, told
        assert ask(proxy).body == b"fine", "the worker has the new policy"
        with HttpOrigin(pages({}), certificate=authority.server(NAME), port=port) as forbidden:
            assert_refused(proxy, client.response(), "upstream-none")
            assert forbidden.connections() == []


# The redirect.


@pytest.fixture
def redirect(gateway, upstream):
    return lambda **keys: gateway(upstream().port, gateway_redirect_listen="127.0.0.1:0", **keys)


def ask_redirect(proxy, *arguments, **more):
    with DoorClient(proxy, door="redirect") as client:
        return client.fetch(*arguments, **more)


def test_redirect(redirect):
    proxy = redirect(gateway_names="gateway.test")
    got = ask_redirect(proxy, PATH + "?a=b", "Host: Gateway.Test:80", method="POST", body=b"csr")
    assert (got.status, got.header("Location")) == (308, f"https://gateway.test{PATH}?a=b")
    assert got.closes() and got.body == b""
    line = proxy.wait_log(lambda line: line["door"] == "redirect")
    assert (line["status"], line["outcome"], line["host"]) == (308, "ok", "Gateway.Test")


def test_redirect_for_clients_of_other_networks(redirect):
    proxy = redirect(gateway_clients_allow="127.0.0.5/32")
    assert_refused(proxy, ask_redirect(proxy, "/x", "Host: a"), "client-denied", door="redirect")
    with DoorClient(proxy, door="redirect", source="127.0.0.5") as client:
        assert client.fetch("/x", "Host: a").status == 308


def test_redirect_needs_a_name(redirect):
    """Where any will do, too."""
    proxy = redirect()
    for octets in (b"GET /x HTTP/1.0\r\n\r\n", b"GET /x HTTP/1.1\r\nHost:\r\n\r\n"):
        with DoorClient(proxy, door="redirect") as client:
            client.send(octets)
            got = client.response()
        assert got.status == 400 and got.header("Location") is None


def test_redirect_ends_the_connection(redirect):
    """What a client sends behind its request is for the other port."""
    proxy = redirect()
    with DoorClient(proxy, door="redirect") as client:
        client.send(2 * b"GET /x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert client.response().status == 308
        assert client.ended()
    proxy.stop()
    assert [line["status"] for line in proxy.log()] == [308]


def test_redirect_to_another_port(redirect):
    proxy = redirect(gateway_redirect_port="8443")
    assert ask_redirect(proxy, "/x", "Host: 192.0.2.1").header("Location") == "https://192.0.2.1:8443/x"
    assert ask_redirect(proxy, "/x", "Host: [2001:db8::1]").header("Location") == "https://[2001:db8::1]:8443/x"


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /x HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421),
        (b"GET /x HTTP/1.1\r\nHost: gateway.test.evil.test\r\n\r\n", 421),
        (b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", 421),
        (b"GET /x HTTP/1.0\r\n\r\n", 421),
        (b"GET /x HTTP/1.1\r\nHost: gateway.test\r\nHost: gateway.test\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET http://evil.test/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
        (b"CONNECT gateway.test:443 HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
        (b"GET /x\r\nLocation: https://evil.test/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ],
)
def test_redirect_refuses(redirect, octets, status):
    proxy = redirect(gateway_names="gateway.test")
    with DoorClient(proxy, door="redirect") as client:
        client.send(octets)
        got = client.response()
    assert got.status == status and got.header("Location") is None


def test_redirect_alone(redirect):
    """The gateway itself may be another program's."""
    proxy = redirect(gateway_listen="", gateway_tls="on")
    assert ask_redirect(proxy, "/x", "Host: a").header("Location") == "https://a/x"


# With TLS of its own, and what becomes of the certificates of devices.


@pytest.fixture
def tls_gateway(gateway, authority):
    """The same with TLS, as gateway.test and 127.0.0.1."""

    def start(*upstreams, **keys):
        own = tls_settings(authority.server("gateway.test", "127.0.0.1"))
        return gateway(*upstreams, **({key.replace(".", "_"): value for key, value in own.items()} | keys))

    return start


def test_tls_of_our_own(tls_gateway, upstream, authority):
    server = upstream()
    proxy = tls_gateway(server.port, gateway_forwarded_except="")
    with DoorClient(proxy, context=authority.client_context(), name="gateway.test") as client:
        assert client.fetch(PATH, "Host: gateway.test").body == b"fine"
        redirected = client.fetch(PATH, "Host: gateway.test")
    assert redirected.status == 200
    seen = server.requests[0]
    assert (seen.header("X-Forwarded-Proto"), seen.header("X-Forwarded-For")) == ("https", "127.0.0.1")
    with DoorClient(proxy) as client:
        client.send(request(PATH, "Host: a"))
        assert not client.recv().startswith(b"HTTP/1.1 200")
    assert len(server.requests) == 2


@pytest.mark.parametrize("keys", [{"gateway.tls": "off"}, {"gateway.tls": "off", "gateway.listen": "127.0.0.1:0"}])
def test_tls_stays_until_a_restart(tls_gateway, upstream, authority, keys):
    """A listener that was opened with TLS never speaks in the clear, whatever a reload says."""
    server = upstream()
    proxy = tls_gateway(server.port)
    assert "reloaded" in proxy.reload(keys)
    assert any("gateway.tls changed, but only a restart" in line for line in proxy.events())
    assert_refused(proxy, ask(proxy), "plain-to-tls-port", door="gateway")
    with DoorClient(proxy, context=authority.client_context(), name="gateway.test") as client:
        assert client.fetch(PATH, "Host: a").status == 200
    assert "refused" in proxy.reload(keys | {"gateway.cert": "", "gateway.key": ""})
    assert_refused(proxy, ask(proxy), "plain-to-tls-port", door="gateway")
    assert len(server.requests) == 1


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_long_bodies_inside_tls_on_both_sides(tls_gateway, upstream, authority, coding):
    server = upstream(pages({}))
    proxy = tls_gateway(server.port)
    body = os.urandom(3 << 20)
    with DoorClient(proxy, context=authority.client_context(), name="gateway.test") as client:
        if coding == "length":
            send = request(PATH, "Host: a", method="POST", body=body)
        else:
            parts = [body[at : at + 70000] for at in range(0, len(body), 70000)]
            send = request(PATH, "Host: a", "Transfer-Encoding: chunked", method="POST") + chunked(*parts)
        client.send(send)
        assert client.response().body == body
    assert server.requests[0].body == body


def test_a_role_has_upstreams_of_its_own(certferry, enroll_settings, authority, upstream):
    """What a role may not reach is not asked for it, whoever's turn it is."""
    mine, others = upstream(), upstream(names=("second.enroll.test",))
    urls = f"https://{NAME}:{mine.port}", f"https://second.enroll.test:{others.port}"
    given = enroll_settings | {"threads": "1", "gateway.role": "devices"} | settings(authority, *urls)
    proxy = certferry(given, roles=f"devices.allowed.domains=\ndevices.allowed.hosts={NAME}\n")
    assert {ask(proxy).status for _ in range(4)} == {200}
    assert len(mine.requests) == 4 and others.connections() == []
    assert proxy.wait_log(lambda line: line["door"] == "gateway")["role"] == "devices"
    proxy.roles = "devices.allowed.domains=\ndevices.allowed.hosts=a.test\n"
    assert "reloaded" in proxy.reload({})
    assert_refused(proxy, ask(proxy), "host-denied", door="gateway")


def test_a_role_s_only_upstream_is_away(certferry, enroll_settings, authority, upstream):
    """It is asked again then, and still nobody else is."""
    others = upstream(names=("second.enroll.test",))
    urls = f"https://{NAME}:{unused_port()}", f"https://second.enroll.test:{others.port}"
    given = enroll_settings | {"gateway.role": "devices"} | settings(authority, *urls, gateway_retries="2")
    proxy = certferry(given | {"threads": "1"}, roles=f"devices.allowed.domains=\ndevices.allowed.hosts={NAME}\n")
    line = assert_refused(proxy, ask(proxy), "connect-refused")
    assert metric(proxy, "upstream_attempts_total", upstream=line["upstream"], result="unreachable") == 3
    assert others.connections() == []


def test_an_upstream_that_only_a_role_may_reach(certferry, enroll_settings, authority, upstream):
    """Is no mistake."""
    server = upstream()
    given = {"allowed.domains": "elsewhere.test", "gateway.role": "devices"}
    given = enroll_settings | given | settings(authority, f"https://{NAME}:{server.port}")
    proxy = certferry(given, roles=f"devices.allowed.hosts={NAME}\n")
    assert ask(proxy).status == 200


def device_context(authority, device):
    context = authority.client_context()
    context.load_cert_chain(device.cert, device.key)
    return context


def test_the_upstream_does_not_see_the_devices_certificate(tls_gateway, authority):
    """This door ends TLS: the EST server behind it is shown our certificate, or none."""
    context = device_context(authority, authority.server("device-4711"))
    with EstServer(authority, NAME) as est:
        proxy = tls_gateway(est.port, gateway_client_ca=authority.root.cert, gateway_client_identity="cn")
        with socket.create_connection(("127.0.0.1", est.port)) as plain:
            with context.wrap_socket(plain, server_hostname=NAME) as direct:
                direct.sendall(request(PATH, "Host: a", "Connection: close"))
                assert direct.recv(100).startswith(b"HTTP/1.1 200")
        with DoorClient(proxy, context=context, name="gateway.test") as client:
            spoof = ("Client-Cert: :AAAA:", "SSL_CLIENT_CERT: x")
            answer = client.fetch("/.well-known/est/simplereenroll", "Host: a", *spoof, method="POST", body=b"csr")
    assert answer.status == 403, "the EST server's own word: there is no certificate to renew"
    assert [seen.client_name for seen in est.seen] == ["commonName=device-4711", ""]
    assert not [name for name, _ in est.seen[1].headers if "cert" in name.lower()]
    assert proxy.wait_log(lambda line: line["door"] == "gateway")["identity"] == "device-4711"


def test_client_cert_field(tls_gateway, upstream, authority):
    server = upstream()
    keys = {"gateway_client_ca": authority.root.cert, "gateway_client_auth": "optional"}
    proxy = tls_gateway(server.port, gateway_client_cert_field="on", **keys)
    device = authority.server("device-4711")
    for context in (device_context(authority, device), authority.client_context()):
        with DoorClient(proxy, context=context, name="gateway.test") as client:
            assert client.fetch(PATH, "Host: a", "Client-Cert: :AAAA:").status == 200
    fields = [seen.header("Client-Cert") for seen in server.requests]
    assert fields == [":" + base64.b64encode(device.der()).decode() + ":", None]


def test_our_own_certificate_for_the_upstream(gateway, http_origin, authority):
    """Whatever the device shows, this is what the upstream sees."""
    ours = authority.server("gateway-1")
    server = http_origin(lambda _: reply(b"known"), certificate=authority.server(NAME), require_client=authority.root.cert)
    proxy = gateway(server.port, gateway_upstream_cert=ours.cert, gateway_upstream_key=ours.key)
    assert ask(proxy).body == b"known"
    assert server.connections()[0].sock.getpeercert(True) == ours.der()
    assert "reloaded" in proxy.reload({"gateway.upstream.cert": "", "gateway.upstream.key": "", "gateway.retries": "0"})
    assert ask(proxy).status == 502


def test_expiry_of_our_own_certificate_for_the_upstream_is_told(gateway, tmp_path):
    """At the start and at a reload: nobody would get in behind it."""
    ca = ClientAuthority(tmp_path / "ca", "Upstream CA")
    near, over = ca.certificate("near", end=NOW + DAY / 8), ca.certificate("over", end=NOW - DAY / 8)
    proxy = gateway(443, gateway_upstream_cert=near.cert, gateway_upstream_key=near.key)
    proxy.wait_event(f'warning: gateway.upstream: certificate "{near.cert}" expires on ')
    until = metric(proxy, f'tls_certificate_not_after_seconds{{door="gateway.upstream",name="{near.cert}"}}')
    assert until == int((NOW + DAY / 8).timestamp())
    assert "is in force" in proxy.reload({"gateway.upstream.cert": over.cert, "gateway.upstream.key": over.key})
    proxy.wait_event(f'warning: gateway.upstream: certificate "{over.cert}" has expired on ')


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        ({}, True),
        ({"gateway_clients_allow": "127.0.0.0/8,::/0"}, True),
        ({"gateway_clients_allow": "127.0.0.0/8"}, False),
        ({"gateway_client_ca": True, "gateway_client_auth": "optional"}, True),
        ({"gateway_client_ca": True}, False),
        ({"gateway_upstream_cert": "", "gateway_upstream_key": ""}, False),
    ],
)
def test_everybody_in_our_name_is_warned_of(tls_gateway, home, authority, keys, warned):
    """At the start, after a reload, and by check-config; it may be meant."""
    ours = authority.server("gateway-1")
    given = {"gateway_upstream_cert": ours.cert, "gateway_upstream_key": ours.key} | keys
    if given.get("gateway_client_ca"):
        given["gateway_client_ca"] = authority.root.cert
    proxy = tls_gateway(443, **given)
    assert "reloaded" in proxy.reload({"gateway.retries": "1"})
    words = "gateway.upstream.cert: .*everybody in clients.allow enrolls in our name"
    assert len([line for line in proxy.events() if re.search(words, line)]) == (2 if warned else 0), proxy.events()
    checked = programs.run(home, BINARY, "check-config", "--conf", proxy.directory / "conf", **programs.sanitizer_options(SANITIZER_STATUS))
    assert checked.returncode == 0, programs.told(checked)
    assert bool(re.search(words, checked.stderr.decode())) == warned, programs.told(checked)


def test_a_key_that_is_not_the_certificates(gateway, authority):
    one, other = authority.server("gateway-1"), authority.server("gateway-2")
    with pytest.raises(NotReady) as refused:
        gateway(443, gateway_upstream_cert=one.cert, gateway_upstream_key=other.key)
    assert re.search("gateway.upstream.(cert|key).* key", "\n".join(refused.value.events)), refused.value.events


# Enrollment as the clients do it.


@pytest.fixture
def device(home):
    return Device(home)


def test_the_guides_curl(tls_gateway, authority, device):
    """"From another device", word for word but for the name, which stands for my.proxy.local."""
    with EstServer(authority, NAME) as est:
        proxy = tls_gateway(est.port)
        where = f"https://my.proxy.local:{proxy.doors['gateway']}/.well-known/est/simpleenroll"
        local = ("--resolve", f"my.proxy.local:{proxy.doors['gateway']}:127.0.0.1", "--cacert", authority.root.cert)
        post = ("-X", "POST", "--data-binary", f"@{device.request_base64}", *PKCS10, *BASIC)
        refused = curl(device.directory, *local, *post, where)
        assert refused.returncode == 60, "we have no certificate of that name"
        done = curl(device.directory, *local, "--connect-to", "::127.0.0.1:", "--fail", *post, where.replace("my.proxy.local", "gateway.test"))
        assert done.returncode == 0, programs.told(done)
    assert_verifies(device.directory, authority.root.cert, device.keep(done.stdout), "CN=device1")
    assert est.seen[0].header("Host") == f"{NAME}:{est.port}"
    assert est.seen[0].header("Content-Transfer-Encoding") == "base64"
    line = proxy.wait_log(lambda line: line["operation"] == "simpleenroll")
    assert (line["class"], line["outcome"], line["status"], line["method"]) == ("est", "ok", 200, "POST")


def test_strongswan_enrolls(tls_gateway, authority, device):
    """Without a proxy, without socat: the gateway is the EST server to it."""
    with EstServer(authority, NAME, line_breaks=False) as est:
        proxy = tls_gateway(est.port)
        trust = ("--cacert", authority.root.cert, "--outform", "pem")
        where = ("--url", url(proxy, "", "https"))
        root = device.directory / "root.pem"
        done = programs.run(device.directory, "pki", "--estca", *where, *trust, "--caout", root, "--force")
        assert done.returncode == 0, programs.told(done)
        assert_verifies(device.directory, authority.root.cert, root, "CN=Certferry test CA")
        basic = ("--userpass", "device:first-password")
        done = programs.run(device.directory, "pki", "--est", *where, "--in", device.request, *trust, *basic)
        assert done.returncode == 0, programs.told(done)
    enrolled = device.directory / "enrolled.pem"
    enrolled.write_bytes(done.stdout)
    assert_verifies(device.directory, authority.root.cert, enrolled, "CN=device1")


def test_scepclient_enrolls(gateway, authority, origin, home):
    with ScepDaemon(home / "scepserver") as scepserver:
        front = origin(tls_front(scepserver.port), certificate=authority.server(NAME))
        proxy = gateway(front.port)
        files = ("-private-key", home / "d.key", "-certificate", home / "d.pem")
        options = ("-server-url", url(proxy, "/scep/x").removesuffix("/x"), "-challenge", ScepDaemon.CHALLENGE, "-cn", "d")
        done = programs.run(home, "scepclient", *options, *files)
        assert done.returncode == 0, programs.told(done)
        assert_verifies(home, scepserver.ca_cert, home / "d.pem", "CN=d")
    for operation in ("GetCACert", "GetCACaps", "PKIOperation"):
        line = proxy.wait_log(lambda line, operation=operation: line["operation"] == operation)
        assert (line["class"], line["outcome"]) == ("scep", "ok")


def test_openssl_cmp_enrolls(gateway, authority, origin, device):
    issued = device.directory / "issued.pem"
    root = authority.root
    options = ("-in", device.request, "-inform", "DER", "-CA", root.cert, "-CAkey", root.key, "-days", "5")
    pki.openssl(device.directory, "x509", "-req", *options, "-set_serial", "4711", "-out", issued)
    with CmpServer(device.directory / "cmp", authority, issued) as server:
        front = origin(tls_front(server.port), certificate=authority.server(NAME))
        proxy = gateway(front.port)
        wanted = ("-newkey", device.key, "-subject", "/CN=device1", "-certout", device.directory / "enrolled.pem")
        where = ("-server", f"127.0.0.1:{proxy.doors['gateway']}/pkix/", "-no_proxy", "127.0.0.1")
        common = ("-config", "", "-cmd", "ir", "-recipient", "/CN=Certferry test CA", "-msg_timeout", "20")
        done = programs.run(device.directory, "openssl", "cmp", *common, *CmpServer.SECRET, *wanted, *where)
        assert done.returncode == 0, programs.told(done)
    assert_verifies(device.directory, authority.root.cert, device.directory / "enrolled.pem", "CN=device1")
    # Request and confirmation.
    proxy.wait_log(lambda _: [line["class"] for line in proxy.log()].count("cmp") == 2)


# Beside the guide's HAProxy.


def received(server, port, authority, device):
    """What the EST server gets of the guide's curl by way of that port: request line, fields, body."""
    local = ("--cacert", authority.root.cert, "--connect-to", "::127.0.0.1:", "--fail")
    post = ("-X", "POST", "--data-binary", f"@{device.request_base64}", *PKCS10, *BASIC)
    done = curl(device.directory, *local, *post, f"https://gateway.test:{port}/.well-known/est/simpleenroll")
    assert done.returncode == 0, programs.told(done)
    seen = server.seen[-1]
    return (seen.method, seen.path, seen.version), seen.headers, seen.body


def test_the_upstream_gets_what_haproxy_would_send(tls_gateway, authority, device):
    """
    Debian's haproxy with the guide's very haproxy.cfg (places adapted) and we with the settings of docs/doors.md, before
    the same EST server: the same request, but for Via, which HAProxy does not write, and the connection's own fields.
    """
    with EstServer(authority, NAME) as est:
        own = authority.server("gateway.test", "127.0.0.1")
        with GuideHaproxy(device.directory / "haproxy", own, NAME, est.port) as haproxy:
            theirs = received(est, haproxy.port, authority, device)
        proxy = tls_gateway(est.port, gateway_upstream_host=NAME)
        ours = received(est, proxy.doors["gateway"], authority, device)
    assert ours[0] == theirs[0] and ours[2] == theirs[2]
    fields = {name.lower(): value for name, value in ours[1]}
    wanted = {name.lower(): value for name, value in theirs[1]}
    assert fields.pop("via") == "1.1 ferry-1"
    assert fields.pop("x-forwarded-port") == str(proxy.doors["gateway"])
    assert wanted.pop("x-forwarded-port") == str(haproxy.port)
    for field in ("connection", "user-agent"):
        fields.pop(field, None)
        wanted.pop(field, None)
    assert fields == wanted and wanted["host"] == NAME and wanted["x-forwarded-proto"] == "https"


def test_the_example_of_the_manual(certferry, authority, tmp_path):
    """docs/doors.md, "A gateway as in the guide": it starts, but for places that are ours here."""
    text = (ROOT / "docs/doors.md").read_text().partition("A gateway as in the guide:")[2]
    lines = re.findall(r"^    ([a-z.]+)=(.*)$", text.partition("    openssl req")[0], re.MULTILINE)
    own = authority.server("my.proxy.local")
    pem = tmp_path / "gateway.pem"
    pem.write_bytes(own.cert.read_bytes() + own.key.read_bytes())
    pem.chmod(0o600)
    given = dict(lines)
    assert given.pop("gateway.cert") == "gateway.pem" and len(given) == 4, given
    given |= {"gateway.cert": pem, "gateway.listen": "127.0.0.1:0", "gateway.redirect.listen": "127.0.0.1:0"}
    proxy = certferry(given | {"service.user": "root"})
    assert set(proxy.doors) == {"gateway", "redirect"}
    assert metric(proxy, "upstream_up", upstream="https://est.edge.dev.globalsign.com:443") == 1
