"""
Roles of clients that show a certificate (roles.properties): each with its own allowlist and limits, its own line in log
and metrics; rules that are only tried; and names in certificates that are meant to be taken for others.
"""

import concurrent.futures
import re
import ssl
import time

import pytest
from cryptography import x509
from support import gateway, programs
from support.certferry import BINARY, ENDED_WELL, PATIENCE, SANITIZER_STATUS
from support.client_certificates import CN, OU, Devices, O, name
from support.client_hello import ALERT, hello
from support.fleets import wait_until
from support.gateway import DoorClient
from support.origins import pages
from support.pki import Authority
from support.raw_http import Client, assert_refused, metric, request

NAME, OTHER = "ca.enroll.test", "other.enroll.test"
ROLES = f"""
sensors.identities=sensor-1, sensor-2, *.line1.plant
sensors.allowed.hosts={NAME}
engineers.identities=engineer-*
engineers.allowed.hosts={OTHER}
"""


@pytest.fixture(scope="session")
def devices(tmp_path_factory):
    return Devices(Authority(tmp_path_factory.mktemp("devices"), "Certferry device CA"))


@pytest.fixture
def settings(enroll_settings, authority, devices):
    server = authority.server("localhost", "127.0.0.1")
    return enroll_settings | {
        "tls.listen": "127.0.0.1:0",
        "tls.cert": server.cert,
        "tls.key": server.key,
        "tls.client.ca": devices.authority.root.cert,
        "tls.client.identity": "cn",
        "service.user": "root",  # only root may search the directories where a test's certificates are
    }


@pytest.fixture
def proxy(certferry, settings):
    return certferry(settings, roles=ROLES)


@pytest.fixture
def web(http_origin):
    return http_origin(pages({"/": b"ok"}))


@pytest.fixture
def tls_web(http_origin, authority):
    return http_origin(pages({"/": b"ok"}), certificate=authority.server(NAME, OTHER))


@pytest.fixture
def connect(authority):
    """Factory: connect(proxy, certificate, door) -> raw_http.Client inside TLS to that door."""
    opened = []

    def start(proxy, certificate=None, door="tls"):
        context = authority.client_context()
        if certificate:
            context.load_cert_chain(certificate.cert, certificate.key)
        client = DoorClient(proxy, door, context, "localhost")
        opened.append(client)
        return client

    yield start
    for client in opened:
        client.close()


def curl(home, proxy, authority, url, certificate=None):
    shown = ("--proxy-cert", certificate.cert, "--proxy-key", certificate.key) if certificate else ()
    trust = ("--cacert", authority.root.cert, "--proxy-cacert", authority.root.cert)
    where = ("--proxy", f"https://localhost:{proxy.doors['tls']}")
    return programs.run(home, "curl", "--disable", "-sS", "--fail", *trust, *where, *shown, url)


def get(client, server, host=NAME):
    return client.fetch(f"http://{host}:{server.port}/")


def last(proxy, **fields):
    return proxy.wait_log(lambda line: all(line[key] == value for key, value in fields.items()))


# Who may reach what.


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_allowlists_differ(proxy, devices, authority, home, web, tls_web, scheme):
    """The same request with two certificates: each reaches what its role may, through curl."""
    server = tls_web if scheme == "https" else web
    for identity, role, host, denied in [
        ("sensor-1", "sensors", NAME, OTHER),
        ("engineer-7", "engineers", OTHER, NAME),
        ("a.b.line1.plant", "sensors", NAME, OTHER),
    ]:
        certificate = devices.cn(identity)
        done = curl(home, proxy, authority, f"{scheme}://{host}:{server.port}/", certificate)
        assert done.stdout == b"ok", programs.told(done)
        line = last(proxy, identity=identity, host=host)
        assert (line["role"], line["would"], line["door"]) == (role, "", "tls")
        assert line["outcome"] in ENDED_WELL
        done = curl(home, proxy, authority, f"{scheme}://{denied}:{server.port}/", certificate)
        assert b"403" in done.stderr, programs.told(done)
        line = last(proxy, identity=identity, host=denied)
        assert (line["role"], line["outcome"], line["status"]) == (role, "host-denied", 403)


def test_ports_and_protocols(certferry, settings, devices, connect, web, http_origin):
    """A key that the role does not give is the general one."""
    second = http_origin(pages({"/": b"ok"}))
    roles = f"a.identities=a\na.allowed.http.ports={web.port}\nb.identities=b\nb.allowed.protocols=est\n"
    proxy = certferry(settings, roles=roles)
    with connect(proxy, devices.cn("a")) as client:
        assert get(client, web).status == 200
        assert get(client, web, OTHER).status == 200
        assert_refused(proxy, get(client, second), "port-denied")
    with connect(proxy, devices.cn("b")) as client:
        assert_refused(proxy, get(client, second), "protocol-denied")


@pytest.mark.parametrize(
    "key, value, target, token, rule",
    [
        ("hosts", NAME, "http://{other}:{port}/", "host-denied", "allowed.domains or {role}allowed.hosts"),
        ("domains", NAME, "http://127.0.0.1:{port}/", "literal-denied", "allowed.hosts"),
        ("http.ports", "1", "http://{other}:{port}/", "port-denied", "allowed.http.ports"),
        ("connect.ports", "1", "{other}:{port}", "port-denied", "allowed.connect.ports"),
        ("protocols", "est", "http://{other}:{port}/", "protocol-denied", "allowed.protocols"),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_refusal_names_the_rule(certferry, settings, devices, connect, web, own, key, value, target, token, rule):
    """Log and answer say which key of which file it was: the role's own, or the general one that it has."""
    given = f"allowed.{key}"
    roles = "sensors.identities=sensor-1\n" + (f"sensors.{given}={value}\n" if own else "")
    narrow = {"allowed.domains": NAME} if token == "host-denied" else {}
    proxy = certferry(settings if own else settings | narrow | {given: value}, roles=roles)
    place = "{}{} in {}.properties".format(*(("sensors.", rule, "roles") if own else ("", rule, "useproxy")))
    place = place.format(role="sensors." if own else "")
    target = target.format(other=OTHER, port=web.port)
    method = "GET" if "/" in target else "CONNECT"
    with connect(proxy, devices.cn("sensor-1")) as client:
        client.ask(target, method=method)
        answer = client.response()
        line = assert_refused(proxy, answer, token)
    if not own:  # who has no role hears of the general rules as ever
        with Client(proxy) as client:
            client.ask(target, method=method)
            assert b" in useproxy.properties.\n" in client.response().body
        assert ";" not in last(proxy, role="", outcome=token)["detail"]
    asked = target.removeprefix("http://").rstrip("/")
    assert line["detail"] == f"{asked}; see {place}"
    assert f": {asked}\n" in answer.body.decode() and f" {place}.\n" in answer.body.decode(), answer.body


def test_own_domains_are_all(certferry, settings, devices, connect, web):
    """A role that is given domains has not got the general hosts besides, nor the other way round."""
    roles = f"a.identities=a\na.allowed.domains={OTHER}\nb.identities=b\nb.allowed.hosts=\nc.identities=c\n"
    proxy = certferry(settings | {"allowed.hosts": NAME}, roles=roles)
    for identity, host, status in [("a", NAME, 403), ("a", OTHER, 200), ("b", NAME, 403), ("b", OTHER, 403),
                                   ("c", NAME, 200), ("c", OTHER, 200)]:  # fmt: skip
        with connect(proxy, devices.cn(identity)) as client:
            assert get(client, web, host).status == status, (identity, host)


def test_general_rules_without_roles(certferry, settings, devices, connect, web):
    """Without a role nobody is refused for his name; it is in the log all the same."""
    proxy = certferry(settings)
    with connect(proxy, devices.cn("anybody")) as client:
        assert get(client, web).status == 200
    line = last(proxy, identity="anybody")
    assert (line["role"], line["outcome"]) == ("", "ok")
    assert '{identity="anybody",role=""} 1' in metrics(proxy)


def test_unknown_identity(certferry, settings, devices, connect, web):
    """Nothing for it, not even a page of ours; the phrase says what to do."""
    proxy = certferry(settings, roles=ROLES)
    for target in (f"http://{NAME}:{web.port}/", "/healthz", "/.well-known/pvd"):
        with connect(proxy, devices.cn("sensor-3")) as client:
            client.ask(target)
            response = client.response("GET")
            assert_refused(proxy, response, "role-unknown")
            assert response.closes() and client.ended()
    with connect(proxy, devices.cn("sensor-3")) as client:
        client.send(request(f"{NAME}:443", method="CONNECT"))
        assert client.response("CONNECT").status == 403
    line = last(proxy, outcome="role-unknown")
    assert (line["identity"], line["role"], line["detail"]) == ("sensor-3", "", "sensor-3")
    assert not web.requests


def test_unknown_identity_may_be_general(certferry, settings, devices, connect, web):
    proxy = certferry(settings | {"tls.unknown.identity": "general"}, roles=ROLES)
    with connect(proxy, devices.cn("sensor-3")) as client:
        assert get(client, web, OTHER).status == 200
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert get(client, web, OTHER).status == 403


@pytest.mark.parametrize("role, host, status", [(None, OTHER, 200), ("sensors", OTHER, 403), ("sensors", NAME, 200)])
def test_without_certificate(certferry, settings, devices, connect, web, role, host, status):
    """Where a certificate is optional, who shows none has the door's role, or the general rules."""
    proxy = certferry(settings | {"tls.client.auth": "optional", "tls.role": role}, roles=ROLES)
    with connect(proxy) as client:
        assert get(client, web, host).status == status
    line = last(proxy, door="tls")
    assert (line["identity"], line["role"]) == ("", role or "")


def test_certificate_outranks_the_door(certferry, settings, devices, connect, web):
    proxy = certferry(settings | {"tls.client.auth": "optional", "tls.role": "sensors"}, roles=ROLES)
    with connect(proxy, devices.cn("engineer-1")) as client:
        assert get(client, web, OTHER).status == 200
    with connect(proxy, devices.cn("stranger")) as client:
        assert_refused(proxy, get(client, web), "role-unknown")


def test_plain_port_has_no_roles(proxy, web):
    """Roles are of doors that know their clients; the proxy's own port has the general rules."""
    with Client(proxy) as client:
        assert get(client, web, OTHER).status == 200
    line = last(proxy, door="proxy")
    assert (line["identity"], line["role"], line["would"]) == ("", "", "")


def test_passthrough_has_a_role(certferry, settings, authority, tls_web):
    """Clients that only name a host: the role of their door judges it."""
    more = {"passthrough.listen": "127.0.0.1:0", "passthrough.port": tls_web.port, "passthrough.role": "sensors"}
    proxy = certferry(settings | more, roles=ROLES)
    context = authority.client_context()
    for host, allowed in [(NAME, True), (OTHER, False)]:
        with DoorClient(proxy, "passthrough") as client:
            if allowed:
                client.sock = context.wrap_socket(client.sock, server_hostname=host)
            else:
                with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                    context.wrap_socket(client.sock, server_hostname=host)
        line = last(proxy, door="passthrough", host=host)
        assert (line["role"], line["identity"]) == ("sensors", "")
        assert (line["outcome"] == "host-denied") != allowed, line


def test_gateway_has_roles(certferry, settings, authority, devices, connect, http_origin):
    """Its upstreams are judged by the role of the client, who shows a certificate to our own name, or of the door."""
    path = "/.well-known/est/cacerts"
    upstreams = {name: http_origin(pages({path: name.encode()}), certificate=authority.server(name)) for name in (NAME, OTHER)}
    urls = [f"https://{name}:{server.port}" for name, server in upstreams.items()]
    more = {"gateway.client.auth": "optional", "gateway.client.identity": "cn", "gateway.role": "sensors"}
    ca = {"gateway.client.ca": devices.authority.root.cert}
    server = authority.server("localhost", "127.0.0.1")
    given = gateway.settings(authority, *urls) | gateway.tls_settings(server) | more | ca
    proxy = certferry(settings | given, roles=ROLES + "nobody.identities=nobody\nnobody.allowed.hosts=\n")
    for identity, role, body in [("sensor-1", "sensors", NAME), ("engineer-1", "engineers", OTHER), (None, "sensors", NAME)]:
        for _ in range(3):  # round robin goes past the other
            with connect(proxy, identity and devices.cn(identity), "gateway") as client:
                answer = client.fetch(path, "Host: localhost")
                assert (answer.status, answer.body) == (200, body.encode())
        line = last(proxy, door="gateway", identity=identity or "")
        assert (line["role"], line["host"]) == (role, body)
    with connect(proxy, devices.cn("nobody"), "gateway") as client:
        line = assert_refused(proxy, client.fetch(path, "Host: localhost"), "host-denied")
        assert line["detail"].endswith("; see nobody.allowed.domains or nobody.allowed.hosts in roles.properties")
    with connect(proxy, devices.cn("stranger"), "gateway") as client:
        assert_refused(proxy, client.fetch(path, "Host: localhost"), "role-unknown")


def test_resumed_session_has_the_role(certferry, settings, devices, authority, web):
    """TLS 1.2, where Python can resume: the ticket brings the certificate's identity."""
    proxy = certferry(settings, roles=ROLES)
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    certificate = devices.cn("sensor-1")
    context.load_cert_chain(certificate.cert, certificate.key)
    session = None
    for resumed in (False, True):
        with DoorClient(proxy, "tls") as client:
            client.sock = context.wrap_socket(client.sock, server_hostname="localhost", session=session)
            assert client.sock.session_reused == resumed
            assert get(client, web).status == 200
            session = client.sock.session
    with DoorClient(proxy, "tls") as client:
        client.sock = context.wrap_socket(client.sock, server_hostname="localhost", session=session)
        assert client.sock.session_reused
        assert_refused(proxy, get(client, web, OTHER), "host-denied")
    assert {line["identity"] for line in proxy.log()} == {"sensor-1"}


# Rules that are only tried.


REPORTING = ROLES + "sensors.mode=report\n"


def test_report_mode_passes_and_tells(certferry, settings, devices, connect, web, home, authority, tls_web):
    proxy = certferry(settings, roles=REPORTING)
    assert "sensors" in proxy.wait_event("roles that only report")
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert get(client, web, OTHER).status == 200
        assert get(client, web, NAME).status == 200
    line = last(proxy, host=OTHER)
    assert (line["outcome"], line["would"], line["role"]) == ("ok", "host-denied", "sensors")
    assert last(proxy, host=NAME)["would"] == ""
    done = curl(home, proxy, authority, f"https://{OTHER}:{tls_web.port}/", devices.cn("sensor-2"))
    assert done.stdout == b"ok", programs.told(done)
    line = last(proxy, identity="sensor-2")
    assert line["outcome"] in ENDED_WELL and line["would"] == "host-denied"
    assert metric(proxy, "role_would_deny_total", role="sensors") == 2
    assert metric(proxy, "identity_would_deny_total", identity="sensor-1", role="sensors") == 1
    assert metric(proxy, "role_refused_total", role="sensors") == 0
    with connect(proxy, devices.cn("engineer-1")) as client:
        assert_refused(proxy, get(client, web, NAME), "host-denied")


def test_report_mode_keeps_the_guards(certferry, settings, devices, connect, dns, tls_web):
    """What is reported is the allowlist alone: private addresses, framing and the gate of tunnels are as ever."""
    dns.names["inner.example"] = ["10.0.0.1"]
    proxy = certferry(settings, roles=REPORTING)
    certificate = devices.cn("sensor-1")
    with connect(proxy, certificate) as client:
        assert_refused(proxy, client.fetch("http://inner.example/"), "address-denied")
    line = last(proxy, host="inner.example")
    assert (line["would"], line["outcome"]) == ("host-denied", "address-denied")
    with connect(proxy, certificate) as client:
        assert_refused(proxy, client.fetch("http://10.0.0.1/"), "address-denied")
    with connect(proxy, certificate) as client:
        assert_refused(proxy, client.fetch("http://10.1/"), "bad-host")
    with connect(proxy, certificate) as client:
        client.ask(f"{OTHER}:{tls_web.port}", method="CONNECT")
        assert client.head().status == 200
        client.send(hello(NAME))
        assert client.recv()[0] == ALERT
    assert last(proxy, outcome="sni-mismatch")["would"] == "host-denied"
    assert not tls_web.requests


def test_report_mode_at_other_doors(certferry, settings, authority, tls_web):
    """Where no request names the host, and where we choose it ourselves."""
    doors = {"passthrough.listen": "127.0.0.1:0", "passthrough.port": tls_web.port, "passthrough.role": "tried"}
    more = gateway.settings(authority, f"https://{OTHER}:{tls_web.port}", gateway_role="tried", gateway_paths="/**")
    proxy = certferry(settings | doors | more, roles=f"tried.allowed.hosts={NAME}\ntried.mode=report\n")
    with DoorClient(proxy, "gateway") as client:
        assert client.fetch("/", "Host: a").status == 200
    with DoorClient(proxy, "passthrough", authority.client_context(), OTHER):
        pass
    for door in ("gateway", "passthrough"):
        line = last(proxy, door=door)
        assert (line["role"], line["would"], line["host"]) == ("tried", "host-denied", OTHER)
    assert metric(proxy, "role_would_deny_total", role="tried") == 2


def test_report_mode_of_the_gateway(certferry, settings, authority, http_origin):
    """With an upstream that the role may reach, nothing would be refused: so nothing else is asked, and nothing told."""
    upstreams = {name: http_origin(pages({"/": name.encode()}), certificate=authority.server(name)) for name in (OTHER, NAME)}
    urls = [f"https://{name}:{server.port}" for name, server in upstreams.items()]
    more = gateway.settings(authority, *urls, gateway_role="tried", gateway_paths="/**")
    proxy = certferry(settings | more, roles=f"tried.allowed.hosts={NAME}\ntried.mode=report\n")
    for _ in range(3):
        with DoorClient(proxy, "gateway") as client:
            assert client.fetch("/", "Host: a").body == NAME.encode()
    proxy.wait_log(lambda _: len(proxy.log()) >= 3)
    assert {(line["host"], line["would"]) for line in proxy.log()} == {(NAME, "")}


def test_check_config_warns_of_report_mode(home, settings):
    conf = home / "conf"
    conf.mkdir()
    (conf / "roles.properties").write_text("\na.identities=a\na.mode=report\n")
    done = programs.run(home, BINARY, "check-config", "--conf", conf, **programs.sanitizer_options(SANITIZER_STATUS))
    assert done.returncode == 0, programs.told(done)
    assert re.search(rb"roles\.properties:3: a\.mode: warning: ", done.stderr), done.stderr
    assert re.search(rb"tls\.client\.ca \(default\): warning: no client is asked ", done.stderr), done.stderr


# Limits.


def test_limit_of_the_role(certferry, settings, devices, connect, web):
    """Whoever has the role counts, from the handshake on; others are not concerned."""
    proxy = certferry(settings, roles=ROLES + "sensors.limit.connections=2\n")
    first, second = connect(proxy, devices.cn("sensor-1")), connect(proxy, devices.cn("sensor-2"))
    assert get(first, web).status == get(second, web).status == 200
    with connect(proxy, devices.cn("a.line1.plant")) as client:
        assert_refused(proxy, get(client, web), "role-limit")
    line = last(proxy, outcome="role-limit")
    assert (line["role"], line["status"], line["detail"]) == ("sensors", 503, "sensors")
    with connect(proxy, devices.cn("engineer-1")) as client:
        assert get(client, web, OTHER).status == 200
    assert get(first, web).status == 200
    assert metric(proxy, "role_connections", role="sensors") == 2
    first.close()
    wait_metric(proxy, 1, "role_connections", role="sensors")
    with connect(proxy, devices.cn("a.line1.plant")) as client:
        assert get(client, web).status == 200


def test_idle_connections_count(certferry, settings, devices, connect, web):
    """A connection that never asks has its place all the same."""
    proxy = certferry(settings, roles=ROLES + "sensors.limit.connections.per.identity=1\n")
    connect(proxy, devices.cn("sensor-1"))
    wait_metric(proxy, 1, "identity_connections", identity="sensor-1", role="sensors")
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert_refused(proxy, get(client, web), "identity-limit")


def test_limit_of_an_identity(certferry, settings, devices, connect, web):
    proxy = certferry(settings, roles=ROLES + "sensors.limit.connections.per.identity=1\n")
    first = connect(proxy, devices.cn("sensor-1"))
    assert get(first, web).status == 200
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert_refused(proxy, get(client, web), "identity-limit")
    line = last(proxy, outcome="identity-limit")
    assert (line["identity"], line["status"], line["detail"]) == ("sensor-1", 429, "sensor-1")
    with connect(proxy, devices.cn("sensor-2")) as client:
        assert get(client, web).status == 200
    first.close()
    wait_metric(proxy, 0, "identity_connections", identity="sensor-1", role="sensors")
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert get(client, web).status == 200


def test_limit_holds_among_workers(certferry, settings, devices, connect, web):
    """All come at once, to all workers: exactly as many as may have a place have one."""
    roles = ROLES + "sensors.limit.connections.per.identity=4\n"
    proxy = certferry(settings | {"threads": 4}, roles=roles)
    certificate = devices.cn("sensor-1")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        clients = list(pool.map(lambda _: connect(proxy, certificate), range(12)))
        answers = list(pool.map(lambda client: get(client, web).status, clients))
    assert sorted(answers) == [200] * 4 + [429] * 8
    assert metric(proxy, "role_refused_total", role="sensors") == 8


# Reload.


def reload_roles(proxy, roles, settings=None):
    proxy.roles = roles
    assert "reloaded" in proxy.reload(settings or {})


def test_reload_holds_for_open_connections(proxy, devices, connect, web):
    """The next request on a connection that is open already is judged by the new roles."""
    client = connect(proxy, devices.cn("sensor-1"))
    assert get(client, web).status == 200
    reload_roles(proxy, ROLES.replace("=sensor-1,", "=").replace("=engineer-*", "=engineer-*, sensor-1"))
    assert get(client, web, OTHER).status == 200
    assert last(proxy, host=OTHER)["role"] == "engineers"
    assert metric(proxy, "role_connections", role="sensors") == 0
    assert metric(proxy, "role_connections", role="engineers") == 1
    reload_roles(proxy, ROLES.replace("=sensor-1,", "="))
    assert_refused(proxy, get(client, web, OTHER), "role-unknown")
    assert client.ended()
    wait_metric(proxy, 0, "role_connections", role="engineers")


def test_reload_takes_roles_away(proxy, devices, connect, web):
    client = connect(proxy, devices.cn("sensor-1"))
    assert_status(get(client, web, OTHER), 403)
    client = connect(proxy, devices.cn("sensor-1"))
    assert get(client, web).status == 200
    reload_roles(proxy, "")
    assert get(client, web, OTHER).status == 200
    reload_roles(proxy, REPORTING)
    proxy.wait_event("roles that only report.*: sensors$")
    assert get(client, web, OTHER).status == 200
    assert last(proxy, would="host-denied")["identity"] == "sensor-1"
    reload_roles(proxy, ROLES)
    assert_status(get(client, web, OTHER), 403)


def test_reload_takes_the_role_of_a_door_away(certferry, settings, connect, web):
    """A connection that is open then is no longer one of that role's."""
    proxy = certferry(settings | {"threads": 1, "tls.client.auth": "optional", "tls.role": "sensors"}, roles=ROLES)
    with connect(proxy) as client:
        assert get(client, web).status == 200
        assert metric(proxy, "role_connections", role="sensors") == 1
        assert "reloaded" in proxy.reload({"tls.role": ""})
        wait_until(lambda: get(connect(proxy), web, OTHER).status == 200, "the role stays in force")
        assert get(client, web, OTHER).status == 200
        wait_metric(proxy, 0, "role_connections", role="sensors")


def test_reload_with_mistakes_keeps_the_roles(proxy, devices, connect, web):
    proxy.roles = ROLES + "engineers.identity=sensor-1\n"
    assert "refused" in proxy.reload({})
    proxy.wait_event(r"roles\.properties:\d+: engineers\.identity: unknown key, did you mean engineers\.identities\?")
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert get(client, web).status == 200


def assert_status(response, status):
    assert response.status == status, response.head


# Names that are meant to be taken for others. The roles are of "admin" in its several forms; nobody here is.


VICTIM = """
admins.identities=admin, "CN=admin,O=Plant", admin@plant.example, spiffe://plant/admin, *.plant.example, \
  edge-*, "CN=edge*", spiffe://plant/edge/*
"""


def dns_names(*values):
    return [x509.DNSName(value) for value in values]


IMPOSTORS = {
    "nul": ("cn", name((CN, "admin\0")), ()),
    "nul inside": ("cn", name((CN, "admin\0.evil.example")), ()),
    "nul before": ("cn", name((CN, "\0admin")), ()),
    "upper case": ("cn", name((CN, "ADMIN")), ()),
    "blank behind": ("cn", name((CN, "admin ")), ()),
    "blank before": ("cn", name((CN, " admin")), ()),
    "line end": ("cn", name((CN, "x\nadmin")), ()),
    "dotless i": ("cn", name((CN, "adm\u0131n")), ()),
    "full width": ("cn", name((CN, "\uff41dmin")), ()),
    "zero width": ("cn", name((CN, "adm\u200bin")), ()),
    "right to left": ("cn", name((CN, "\u202enimda")), ()),
    "very long": ("cn", name((CN, "admin" + "n" * 300)), ()),
    "none": ("cn", name((O, "admin")), ()),
    "empty subject": ("cn", name(), tuple(dns_names("admin"))),
    "two, the last counts": ("cn", name((CN, "admin"), (CN, "evil")), ()),
    "two in one RDN": ("cn", name([(CN, "admin"), (OU, "x")], (CN, "evil")), ()),
    "list": ("cn", name((CN, "evil, admin")), ()),
    "quoted": ("cn", name((CN, '"admin"')), ()),
    "star": ("cn", name((CN, "*")), ()),
    "star of a suffix": ("cn", name((CN, "*.plant.example")), ()),
    "star of a prefix": ("cn", name((CN, "edge-*")), ()),
    "bare suffix": ("cn", name((CN, ".plant.example")), ()),
    "bare prefix": ("cn", name((CN, "edge-")), ()),
    "empty label": ("cn", name((CN, "x..plant.example")), ()),
    "suffix behind a slash": ("cn", name((CN, "evil/x.plant.example")), ()),
    "suffix behind a blank": ("cn", name((CN, "evil x.plant.example")), ()),
    "suffix behind an at sign": ("cn", name((CN, "evil@x.plant.example")), ()),
    "suffix not at a label": ("cn", name((CN, "evilplant.example")), ()),
    "prefix and more": ("cn", name((CN, "edge-1,O=Plant")), ()),
    "prefix and a line end": ("cn", name((CN, "edge-1\nadmin")), ()),
    "DN in a value": ("subject", name((CN, "admin,O=Plant")), ()),
    "DN escaped in a value": ("subject", name((CN, "admin\\,O\\=Plant")), ()),
    "DN in the other order": ("subject", name((CN, "admin"), (O, "Plant")), ()),
    "DN with more": ("subject", name((O, "Plant"), (OU, "x"), (CN, "admin")), ()),
    "DN with more above": ("subject", name((O, "Evil"), (O, "Plant"), (CN, "admin")), ()),
    "DN with another attribute": ("subject", name((OU, "Plant"), (CN, "admin")), ()),
    "DN in one RDN": ("subject", name([(O, "Plant"), (CN, "admin")]), ()),
    "DN with a nul": ("subject", name((O, "Plant"), (CN, "admin\0")), ()),
    "DN with a blank": ("subject", name((O, "Plant"), (CN, "admin ")), ()),
    "DN in upper case": ("subject", name((O, "PLANT"), (CN, "ADMIN")), ()),
    "DN over a pattern": ("subject", name((O, "Evil"), (CN, "edge-1")), ()),
    "DN value over a pattern": ("subject", name((CN, "edge,O=Plant")), ()),
    "DN too long": ("subject", name((O, "Plant" * 60), (CN, "admin")), ()),
    "CN is no DNS name": ("dns", name((CN, "admin")), ()),
    "mail is no DNS name": ("dns", name((CN, "x")), (x509.RFC822Name("admin@plant.example"),)),
    "second DNS name": ("dns", name((CN, "x")), tuple(dns_names("evil.example", "a.plant.example"))),
    "DNS wildcard": ("dns", name((CN, "x")), tuple(dns_names("*.plant.example"))),
    "DNS name is no URI": ("uri", name((CN, "x")), tuple(dns_names("admin"))),
    "URI below": ("uri", name((CN, "x")), (x509.UniformResourceIdentifier("spiffe://plant/edge/7/x"),)),
    "URI above": ("uri", name((CN, "x")), (x509.UniformResourceIdentifier("spiffe://plant/edge/.."),)),
    "URI escaped": ("uri", name((CN, "x")), (x509.UniformResourceIdentifier("spiffe://plant/%61dmin"),)),
    "URI of another host": ("uri", name((CN, "x")), (x509.UniformResourceIdentifier("spiffe://plant.evil/admin"),)),
    "second mail": ("email", name((CN, "x")), (x509.RFC822Name("x@evil"), x509.RFC822Name("admin@plant.example"))),
    "mail in upper case": ("email", name((CN, "x")), (x509.RFC822Name("Admin@plant.example"),)),
}  # fmt: skip

# And who they are meant to be taken for.
GENUINE = {
    "cn": name((CN, "admin")),
    "last cn": name((CN, "evil"), (CN, "admin")),
    "suffix": name((CN, "a.plant.example")),
    "prefix": name((CN, "edge-1")),
}


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in IMPOSTORS.values()}))
def test_impostors(certferry, settings, devices, connect, web, kind):
    """Each of them is somebody else, or nobody: 403, and one line in the log, of one line."""
    proxy = certferry(settings | {"tls.client.identity": kind}, roles=VICTIM)
    told = 0
    for what, (_, subject, alternatives) in ((w, i) for w, i in IMPOSTORS.items() if i[0] == kind):
        with connect(proxy, devices.make(subject, *alternatives)) as client:
            response = get(client, web)
            assert response.status == 403 and "role" in response.reason.lower(), (what, response.head)
        told += 1
        proxy.wait_log(lambda _: len(proxy.log()) >= told)
        line = proxy.log()[-1]
        assert (line["outcome"], line["role"]) == ("role-unknown", ""), (what, line)
        assert re.fullmatch(r"[ -~]{0,255}", line["identity"]), (what, line)
    assert not web.requests
    assert "identity=" not in metrics(proxy), "strangers fill no table"


@pytest.mark.parametrize("what", GENUINE)
def test_genuine(certferry, settings, devices, connect, web, what):
    proxy = certferry(settings, roles=VICTIM)
    with connect(proxy, devices.make(GENUINE[what])) as client:
        assert get(client, web).status == 200


def test_genuine_other_kinds(certferry, settings, devices, connect, web):
    """The same roles for each kind of name; a DNS name is compared in lower case."""
    uri, mail = x509.UniformResourceIdentifier("spiffe://plant/edge/7"), x509.RFC822Name("admin@plant.example")
    certificate = devices.make(name((O, "Plant"), (CN, "admin")), *dns_names("A.Plant.example"), uri, mail)
    proxy = certferry(settings, roles=VICTIM)
    for kind, identity in {
        "subject": "CN=admin,O=Plant",
        "dns": "a.plant.example",
        "uri": "spiffe://plant/edge/7",
        "email": "admin@plant.example",
    }.items():
        assert "reloaded" in proxy.reload({"tls.client.identity": kind})
        with connect(proxy, certificate) as client:
            assert get(client, web).status == 200, kind
        assert last(proxy, identity=identity)["role"] == "admins"


def test_escaped_subject_can_be_listed(certferry, settings, devices, connect, web):
    """What the log shows is what the file needs, with each backslash written twice."""
    certificate = devices.make(name((O, 'Plant "7", a+b'), (CN, "J\u00f6")))
    proxy = certferry(settings | {"tls.client.identity": "subject"}, roles=ROLES)
    with connect(proxy, certificate) as client:
        assert get(client, web).status == 403
    shown = last(proxy, outcome="role-unknown")["identity"]
    assert shown == 'CN=J\\C3\\B6,O=Plant \\"7\\"\\, a\\+b'
    listed = shown.replace('"', '""').replace("\\", "\\\\")
    reload_roles(proxy, f'a.identities="{listed}"\n')
    with connect(proxy, certificate) as client:
        assert get(client, web).status == 200


# Metrics.


def metrics(proxy):
    with Client(proxy) as client:
        return client.fetch("/metrics", "Host: a").body.decode()


def wait_metric(proxy, value, name, **labels):
    """A worker sees the end of a connection in its own time: asked for until it has."""
    until = time.monotonic() + PATIENCE
    while metric(proxy, name, **labels) != value:
        assert time.monotonic() < until, f"{name} {labels} did not become {value}:\n{metrics(proxy)}"


LABEL = r'[a-z_]+="((?:[^"\\\n]|\\["\\n])*)"'
ROW = re.compile(rf"# (?:HELP|TYPE) .*|[a-z_]+(?:\{{{LABEL}(?:,{LABEL})*\}})? [0-9.e+-]+")


@pytest.mark.parametrize("identity", ['x",role="admins"} 9', 'x\\', '\\"', '{"a":1}', "\\n", "a,b=c # HELP"])
def test_hostile_identity_is_one_value(certferry, settings, devices, connect, web, identity):
    """Whatever stands in a name: one string of the log's JSON, one label of the Prometheus text format."""
    proxy = certferry(settings)
    with connect(proxy, devices.cn(identity)) as client:
        assert get(client, web).status == 200
    assert last(proxy, door="tls")["identity"] == identity
    text = metrics(proxy)
    assert [line for line in text.splitlines() if not ROW.fullmatch(line)] == []
    escaped = identity.replace("\\", "\\\\").replace('"', '\\"')
    assert metric(proxy, "identity_connections_total", identity=escaped, role="") == 1
    assert text.count("certferry_identity_connections_total{") == 1


def test_metrics_are_bounded(certferry, settings, devices, connect, web):
    """However many names come, only limit.identities of them are listed; the roles know of all."""
    roles = "sensors.identities=sensor-*\n"
    proxy = certferry(settings | {"limit.identities": 3}, roles=roles)
    for number in range(12):
        with connect(proxy, devices.cn(f"sensor-{number}")) as client:
            assert get(client, web).status == 200
    wait_metric(proxy, 0, "role_connections", role="sensors")
    text = metrics(proxy)
    assert len(re.findall(r"^certferry_identity_connections\{", text, re.MULTILINE)) == 3
    assert metric(proxy, "role_connections_total", role="sensors") == 12
    assert metric(proxy, "role_exchanges_total", role="sensors") == 12
    assert metric(proxy, "identities") == 3


def test_metrics_count(proxy, devices, connect, web):
    with connect(proxy, devices.cn("sensor-1")) as client:
        assert get(client, web).status == 200
        assert get(client, web).status == 200
        assert_status(get(client, web, OTHER), 403)
    wait_metric(proxy, 0, "role_connections", role="sensors")
    for kind, labels in [("role", {"role": "sensors"}), ("identity", {"identity": "sensor-1", "role": "sensors"})]:
        assert metric(proxy, f"{kind}_connections_total", **labels) == 1
        assert metric(proxy, f"{kind}_exchanges_total", **labels) == 3
        assert metric(proxy, f"{kind}_refused_total", **labels) == 1


# Mistakes.


def check(home, roles, webserver=""):
    conf = home / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "roles.properties").write_text(roles)
    (conf / "webserver.properties").write_text(webserver)
    options = programs.sanitizer_options(SANITIZER_STATUS)
    return programs.run(home, BINARY, "check-config", "--conf", conf, timeout=PATIENCE, **options)


@pytest.mark.parametrize(
    "roles, told",
    [
        ("a.identities=x\nb.identities=y, x", r'2: b\.identities: "x": is given twice; it is of role a'),
        ("a.identities=x, x", r'1: a\.identities: "x": is given twice; it is of role a'),
        ("a.identities=*.plant\nb.identities=sensor*", r'2: b\.identities: "sensor\*": may match .*; it is of role a'),
        ("a.identities=*", r'1: a\.identities: "\*": a star stands '),
        ("a.identities=a*b", r'1: a\.identities: "a\*b": a star stands '),
        ("a.identities=J\u00f6", r"1: a\.identities: .*printable ASCII"),
        ("a.identities=" + "x" * 256, r"1: a\.identities: .*1 to 255 octets"),
        ("a.allowed.domains=x.example", r"1: a\.allowed\.domains: nobody has role a: "),
        ("\na.mode=enforce\na.identities=", r"2: a\.mode: nobody has role a: "),
        ("a.identities=x\na.allowed.domains=com", r'2: a\.allowed\.domains: "com": a top-level label'),
        ("a.identities=x\na.allowed.hosts=*.x.example", r"2: a\.allowed\.hosts: .*wildcards belong"),
        ("a.identities=x\na.allowed.protocols=gopher", r'2: a\.allowed\.protocols: "gopher" is no protocol'),
        ("a.identities=x\na.allowed.protocols=est,tunnel", r'2: a\.allowed\.protocols: "tunnel" is no protocol'),
        ("a.identities=x\na.allowed.protocols=", r"2: a\.allowed\.protocols: is empty: name the protocols, or leave"),
        ("a.identitys=x", r"1: a\.identitys: unknown key, did you mean a\.identities\?"),
        ("A.identities=x", r"1: A\.identities: no name of a role"),
        ("identities=x", r"1: identities: is no ROLE\.KEY"),
        ("allowed.domains=x.example", r"1: allowed\.domains: is no key of a role and belongs into useproxy"),
    ],
    ids=lambda value: value.splitlines()[-1][:30].replace("\\", ""),
)
def test_mistakes(home, roles, told):
    done = check(home, roles + "\n")
    assert done.returncode == 1, programs.told(done)
    assert re.search(r"roles\.properties:" + told, done.stderr.decode()), done.stderr


def test_role_of_a_door_must_be_there(home):
    done = check(home, "sensors.identities=x\n", "tls.role=sensor\ngateway.role=sensors\npassthrough.role=x\n")
    assert done.returncode == 1, programs.told(done)
    assert re.search(rb'webserver\.properties:1: tls\.role: "sensor" is no role .* mean sensors\?', done.stderr)
    assert re.search(rb'webserver\.properties:3: passthrough\.role: "x" is no role', done.stderr), done.stderr
    assert b"gateway.role" not in done.stderr


def test_general_mistakes_are_told_once(home):
    """What a role has from the general rules is not its mistake."""
    done = check(home, "a.identities=x\nb.identities=y\n", "allowed.domains=com\nallowed.protocols=gopher\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2, done.stderr
