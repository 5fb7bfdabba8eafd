"""`certferry check URL`: every step of the way to a CA, with real servers, and each step made to fail alone."""

import contextlib
import os
import pathlib
import re
import signal
import socket

import pytest
from support import programs
from support.certferry import BINARY, DEFAULTS, PATIENCE, SANITIZER_STATUS
from support.daemons import ScepDaemon, unused_port
from support.est_server import EstServer
from support.origins import pages, reply, swallow
from support.parents import field, relays_to
from support.pebble import Pebble

NAME = "ca.enroll.test"
LINE = re.compile(r"^(\w+) +(fine|note|FAIL) +(?:\d+ ms)? *(.*)$")


class Report:
    """What was printed: (step, verdict, text) of each line; `steps` has the last verdict of each."""

    def __init__(self, done):
        text = done.stdout.decode()
        assert text.replace("\n", "").isprintable(), text
        *lines, self.end = text.splitlines()
        self.lines = [LINE.match(line).groups() for line in lines]
        self.steps = {step: verdict for step, verdict, _ in self.lines}
        self.status = done.returncode
        assert self.end.endswith(": fine") == (self.status == 0), text
        assert ("FAIL" in self.steps.values()) == (self.status == 1), text

    def says(self, step, verdict):
        return "\n".join(text for other, judged, text in self.lines if (other, judged) == (step, verdict))


@pytest.fixture
def run(home, enroll_settings):
    """Factory: run(*arguments, changed settings) -> the finished command, with a configuration of its own."""

    def check(*arguments, roles="", **keys):
        conf = home / "conf"
        conf.mkdir(exist_ok=True)
        changed = {key.replace("_", "."): value for key, value in keys.items()}
        settings = {"allowed.networks": DEFAULTS["allowed.networks"], "timeout.connect": "2s"}
        settings |= enroll_settings | changed
        for name in ("webserver", "useproxy", "failover", "gateway"):
            (conf / f"{name}.properties").write_text("")
        (conf / "roles.properties").write_text(roles)
        (conf / "useproxy.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        options = programs.sanitizer_options(SANITIZER_STATUS)
        return programs.run(home, BINARY, "check", "--conf", conf, *arguments, timeout=PATIENCE * 3, **options)

    return check


@pytest.fixture
def check(run):
    return lambda *arguments, **keys: Report(run(*arguments, **keys))


@pytest.fixture
def trust(authority):
    return "--ca", authority.root.cert


@pytest.fixture
def est(authority):
    with EstServer(authority, NAME) as server:
        yield server


# What is fine.


@pytest.mark.parametrize("operation, label", [("cacerts", ""), ("simpleenroll", ""), ("", "plant7"), ("cacerts", "plant7")])
def test_est(check, est, trust, operation, label):
    """Whichever operation is named, the one that everybody may ask for is asked."""
    report = check(*trust, est.url(operation, NAME, label=label))
    assert report.status == 0, report.lines
    assert list(report.steps) == ["policy", "dns", "address", "tcp", "tls", "chain", "answer"]
    assert "EST cacerts: 1 certificate, /CN=Certferry test CA" in report.says("answer", "fine")
    assert report.says("tls", "fine").startswith("TLSv1.3")
    assert f"/CN={NAME}, until 20" in report.says("chain", "note")
    assert "127.0.0.1:" in report.says("tcp", "fine")


def test_acme(check, authority, trust, tmp_path):
    with Pebble(tmp_path / "pebble", authority) as pebble:
        report = check(*trust, pebble.directory_url)
    assert report.status == 0 and report.says("answer", "fine") == "ACME directory"


def test_scep(check, tmp_path):
    with ScepDaemon(tmp_path / "scep") as server:
        report = check(f"http://{NAME}:{server.port}/scep")
    assert report.status == 0, report.lines
    assert "POSTPKIOperation" in report.says("answer", "fine")
    assert "(scep)" in report.says("policy", "fine") and "tls" not in report.steps


def test_some_page(check, http_origin):
    """No enrollment server that it knows, and reachable all the same; nothing is followed."""
    web = http_origin(pages({"/": b"ok"}))
    for path in ("", "/", "/?a=b", "/elsewhere"):
        report = check(f"http://{NAME}:{web.port}{path}")
        assert report.status == 0 and "so the server answers" in report.says("answer", "fine")
    assert [request.target for request in web.requests] == ["/", "/", "/?a=b", "/elsewhere"]


def test_address_as_host(check, http_origin, est, trust):
    web = http_origin(pages({"/": b"ok"}))
    report = check(f"http://127.0.0.1:{web.port}/", allowed_hosts="127.0.0.1")
    assert report.status == 0 and "dns" not in report.steps
    report = check(*trust, f"https://127.0.0.1:{est.port}/", allowed_hosts="127.0.0.1")
    assert report.status == 1 and "IP address mismatch" in report.says("chain", "FAIL")


# Each step.


def test_policy(check, est, trust):
    for url, word in (
        (f"https://ca.other.test:{est.port}/", "host-denied"),
        (f"https://127.0.0.1:{est.port}/", "literal-denied"),
    ):
        report = check(*trust, url)
        assert list(report.steps) == ["policy"] and f"({word})" in report.says("policy", "FAIL")
    report = check(*trust, f"https://{NAME}/", allowed_connect_ports="8443")
    assert "port-denied" in report.says("policy", "FAIL")
    report = check(f"http://{NAME}:{est.port}/", allowed_protocols="scep")
    assert "protocol-denied" in report.says("policy", "FAIL")
    assert est.connections == 0


ROLES = """
sensors.identities=sensor-*
sensors.allowed.hosts=other.enroll.test
tried.identities=tried-*
tried.allowed.connect.ports=1
tried.mode=report
engineers.identities=engineer-*
"""


def test_role(check, est, trust):
    """The same URL by the rules of each role; what they refuse is told with the key that does."""
    url = est.url("cacerts", NAME)
    report = check(*trust, "--role", "sensors", url, roles=ROLES)
    assert list(report.steps) == ["policy"] and report.status == 1 and est.connections == 0
    assert "(host-denied): the operator must add it to sensors.allowed.domains or " in report.says("policy", "FAIL")
    report = check(*trust, "--role=tried", url, roles=ROLES)
    assert report.status == 0 and report.steps["answer"] == "fine"
    assert "(port-denied), and passes only since the role reports; see tried.allowed.connect.ports in roles" in report.says(
        "policy", "note"
    )
    for arguments in (("--role", "engineers"), ()):
        report = check(*trust, *arguments, url, roles=ROLES)
        assert report.status == 0 and report.steps["policy"] == "fine"


@pytest.mark.parametrize("roles, has", [("", "none"), (ROLES, "sensors, tried, engineers")])
def test_unknown_role(run, est, roles, has):
    done = run("--role", "sensor", est.url("cacerts", NAME), roles=roles)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.decode() == f'certferry check: "sensor" is no role of roles.properties, which has {has}\n'
    assert est.connections == 0


def test_dns(check, est, trust, dns):
    dns.names = {}
    report = check(*trust, est.url("cacerts", NAME))
    assert list(report.steps) == ["policy", "dns"] and "dns-not-found" in report.says("dns", "FAIL")
    dns.mode = "servfail"
    assert "dns-failed" in check(*trust, est.url("cacerts", NAME)).says("dns", "FAIL")


def test_addresses(check, est, trust, dns):
    """The guard's word holds, and only what it lets pass is connected to."""
    report = check(*trust, est.url("cacerts", NAME), allowed_networks="")
    assert list(report.steps) == ["policy", "dns", "address"] and est.connections == 0
    assert "127.0.0.1 is not dialled" in report.says("address", "note")
    assert "address-denied" in report.says("address", "FAIL")
    dns.names[NAME] = ["10.0.0.1", "127.0.0.1"]
    report = check(*trust, est.url("cacerts", NAME))
    assert report.status == 0
    assert "10.0.0.1 is not dialled" in report.says("address", "note")
    assert "1 may be dialled" in report.says("address", "fine")


def test_tcp(check, dns, est, trust):
    port = unused_port()
    report = check(*trust, f"https://{NAME}:{port}/")
    assert list(report.steps)[-1] == "tcp"
    assert f"127.0.0.1:{port}: connection refused" in report.says("tcp", "note")
    assert "no address answers" in report.says("tcp", "FAIL")
    dns.names[NAME] = ["127.0.0.2", "127.0.0.1"]
    report = check(*trust, est.url("cacerts", NAME))
    assert report.status == 0
    assert report.says("tcp", "fine") == f"127.0.0.1:{est.port}"
    assert report.says("tcp", "note") == f"127.0.0.2:{est.port}: connection refused"


def test_no_tls_there(check, http_origin, origin, trust):
    web = http_origin(lambda _: reply(b"plain"))
    report = check(*trust, f"https://{NAME}:{web.port}/")
    assert list(report.steps)[-1] == "tls" and "no TLS handshake: " in report.says("tls", "FAIL")
    silent = origin(swallow)
    report = check(*trust, f"https://{NAME}:{silent.port}/")
    assert "no answer in time" in report.says("tls", "FAIL")


def test_stopped_in_between(check, origin, trust):
    """A read with a time limit is interrupted by that, whoever stops us: a debugger, a frozen machine."""

    def stop_who_comes(sock):
        sock.recv(1)
        for pid in checkers():
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
        swallow(sock)

    def checkers():
        for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"https://{NAME}:{silent.port}/".encode() in place.read_bytes():
                    yield int(place.parent.name)

    silent = origin(stop_who_comes)
    report = check(*trust, f"https://{NAME}:{silent.port}/")
    assert "no answer in time" in report.says("tls", "FAIL")


def test_tls_to_a_plain_port(check, est):
    report = check(f"http://{NAME}:{est.port}/")
    assert list(report.steps)[-1] == "answer" and report.status == 1


def test_chain(check, est, authority, trust, tmp_path):
    """The chain is shown also when it is not believed; nothing is asked of such a server."""
    report = check(est.url("cacerts", NAME))
    assert re.search("self-signed certificate|unable to get local issuer", report.says("chain", "FAIL"))
    assert f"/CN={NAME}" in report.says("chain", "note") and "answer" not in report.steps
    report = check(*trust, est.url("cacerts", f"other.{NAME}"))
    assert "hostname mismatch" in report.says("chain", "FAIL").lower()
    assert est.seen == []


@pytest.mark.parametrize(
    "status, body, word",
    [
        ("404 Not Found", b"", "status 404 instead of 200"),
        ("401 Unauthorized", b"", "status 401"),
        ("200 OK", b"<html>portal</html>", "no certificates"),
        ("200 OK", b"", "no certificates"),
        ("200 OK", b"\x1b[2J\xff" * 100, "no certificates"),
        ("200 OK", b"A" * (1 << 20) + b"A", ""),
    ],
)
def test_answers_of_no_est_server(check, origin, authority, trust, status, body, word):
    web = origin(lambda c: (c.read_until(), c.send(reply(body, status))), certificate=authority.server(NAME))
    report = check(*trust, f"https://{NAME}:{web.port}/.well-known/est")
    assert list(report.steps)[-1] == "answer" and word in report.says("answer", "FAIL")


def test_answers_of_no_scep_server(check, http_origin):
    for body in (b"<html>", b"", b"\x1b[2J", b"caps\x00", b"x" * 10000):
        web = http_origin(lambda _, body=body: reply(body))
        report = check(f"http://{NAME}:{web.port}/scep?operation=PKIOperation")
        assert "no list of capabilities" in report.says("answer", "FAIL")
        assert web.requests[0].target == "/scep?operation=GetCACaps"


def test_server_with_a_fault(check, http_origin):
    web = http_origin(lambda _: reply(b"", "503 Busy"))
    report = check(f"http://{NAME}:{web.port}/")
    assert report.status == 1 and "status 503" in report.says("answer", "FAIL")


# Through a parent.


def test_through_a_parent(check, certferry, enroll_settings, est, trust, http_origin):
    """Names and addresses are then the parent's affair; TLS is still with the CA, and judged by us."""
    parent = certferry(enroll_settings | {"tunnel.sni": "off"})
    web = http_origin(pages({"/": b"ok"}))
    way = {"upstream_proxies": parent.url, "resolver_servers": "127.0.0.1:9"}
    report = check(*trust, est.url("cacerts", NAME), **way)
    assert report.status == 0, report.lines
    assert list(report.steps) == ["policy", "way", "answer"] and parent.url in report.says("way", "note")
    assert check(f"http://{NAME}:{web.port}/", **way).status == 0
    for method in ("CONNECT", "GET"):
        parent.wait_log(lambda line, method=method: line["method"] == method)
    report = check(est.url("cacerts", NAME), **way)
    assert report.status == 1 and "certificate" in report.says("answer", "FAIL")
    report = check(*trust, f"https://{NAME}:{unused_port()}/", **way)
    assert report.status == 1 and "502" in report.says("answer", "FAIL")


def test_parent_with_tls_and_a_password(check, authority, trust, origin, http_origin, tmp_path):
    """The password is the parent's alone; and whom we believe to be the CA is not yet the parent."""
    web = http_origin(pages({"/": b"ok"}), certificate=authority.server(NAME))
    parent = origin(relays_to(web), certificate=authority.server("127.0.0.1"))
    kept = tmp_path / "credentials"
    kept.touch(mode=0o600)
    kept.write_text(f"127.0.0.1:{parent.port} u:p\n")
    way = {"upstream_proxies": f"https://127.0.0.1:{parent.port}", "upstream_credentials_file": kept}
    assert check(*trust, f"https://{NAME}/", upstream_ca=authority.root.cert, **way).status == 0
    assert field(parent.wait_done().head, "Proxy-Authorization") == [b"Basic dTpw"]
    assert web.requests[0].header("Proxy-Authorization") is None
    assert check(*trust, f"https://{NAME}/", **way).status == 1
    assert len(web.requests) == 1


def test_past_the_parent(check, http_origin):
    web = http_origin(pages({"/": b"ok"}))
    way = {"upstream_proxies": f"http://127.0.0.1:{unused_port()}", "no_proxy": NAME}
    report = check(f"http://{NAME}:{web.port}/", **way)
    assert report.status == 0 and "way" not in report.steps, report.lines


def test_no_proxy_leads_past_no_parent(home, run, origin, http_origin, monkeypatch):
    """Whoever asks may have it in his environment: what it would show is not the way that clients go."""
    parent = origin(lambda c: (c.read_until(), c.send(reply(b"of the parent"))))
    web = http_origin(pages({"/": b"ok"}))
    original = programs.environment
    monkeypatch.setattr(programs, "environment", lambda *a, **k: original(*a, **k) | {"NO_PROXY": "*", "no_proxy": "*"})
    way = {"upstream_proxies": f"http://127.0.0.1:{parent.port}", "allowed_hosts": "127.0.0.1"}
    assert Report(run(f"http://127.0.0.1:{web.port}/", **way)).status == 0
    assert len(parent.connections()) == 1 and web.requests == []


def test_source_address(check, origin, authority, trust):
    """Every connection comes from there, as the proxy's do: the one for the handshake, and the one that asks."""
    web = origin(lambda c: (c.read_until(), c.send(reply(b"ok"))), certificate=authority.server(NAME))
    report = check(*trust, f"https://{NAME}:{web.port}/", source_address="127.0.0.7")
    assert report.status == 0, report.lines
    assert {connection.peer[0] for connection in web.connections()} == {"127.0.0.7"}
    parent = origin(lambda c: (c.read_until(), c.send(reply(b"ok"))))
    way = {"upstream_proxies": f"http://127.0.0.1:{parent.port}", "source_address": "127.0.0.7"}
    assert check(f"http://{NAME}:{web.port}/", **way).status == 0
    assert [connection.peer[0] for connection in parent.connections()] == ["127.0.0.7"]


def test_proxy_variables_are_not_looked_at(home, run, est, trust, monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{held.getsockname()[1]}"
        original = programs.environment
        monkeypatch.setattr(programs, "environment", lambda *a, **k: original(*a, **k) | {"https_proxy": dead})
        assert Report(run(*trust, est.url("cacerts", NAME))).status == 0


# Usage.


@pytest.mark.parametrize(
    "url",
    ["", "ca.enroll.test", "ftp://ca.enroll.test/", "https://", "https:///x", "https://u:p@ca.enroll.test/",
     "https://ca.enroll.test:0/", "https://ca.enroll.test/#x", "https://0x7f.1/", "https://ca.enroll.test/\x1b[2J",
     "https://ca.enroll.test/" + 3000 * "x"],
)  # fmt: skip
def test_no_url(run, url):
    done = run(url)
    assert done.returncode == 2 and b"certferry check: the URL cannot be used: " in done.stderr, programs.told(done)
    assert done.stderr.decode().replace("\n", "").isprintable()


def test_wrong_usage(run, tmp_path):
    for arguments in ((), ("https://a.test/", "https://b.test/"), ("--ca", tmp_path / "none", "https://a.test/")):
        done = run(*arguments)
        assert done.returncode == 2, programs.told(done)


def test_mistakes_in_the_configuration(run):
    done = run(f"https://{NAME}/", allowed_domains="not a domain")
    assert done.returncode == 1 and done.stdout == b"" and b"allowed.domains" in done.stderr
