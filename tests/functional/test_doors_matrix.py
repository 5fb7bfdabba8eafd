"""
Every door, with its key in a file, a TPM or an HSM, and through each: curl, openssl s_client, strongSwan's pki --est,
and a device as Azure IoT Edge is one. What each enrolls is verified, and the log tells by which door it came.
"""

import pytest
from support import hsm, programs
from support.certferry import BINARY, ENDED_WELL
from support.daemons import Daemon, accepts, unused_port
from support.enrolling import Device, assert_verifies
from support.est_server import EstServer
from support.iot_edge import Device as EdgeDevice
from support.tls_door import ask, client_hello
from support.tpm import Tpm
from test_keys import RELEASE, need_pkcs11

# The one name that every machine points at itself, so that also clients without a proxy find it: sensor and EST server.
NAME = "localhost"
USER = ("device", "first-password")
EST = "/.well-known/est"


class Site:
    """What the clients of one test share."""

    def __init__(self, home, authority, est, door, port):
        self.home, self.authority, self.est, self.door, self.port = home, authority, est, door, port
        self.trust = authority.root.cert
        # Who uses a proxy asks for the server; all others ask for the door.
        self.server = est.port if door in ("proxy", "tls") else port
        self.url = f"https://{NAME}:{self.server}{EST}"
        self.proxy = {"proxy": f"http://{NAME}:{port}", "tls": f"https://{NAME}:{port}"}.get(door)
        self.daemons = []

    def run(self, *command, stdin=b""):
        done = programs.run(self.home, *command, stdin=stdin)
        assert done.returncode == 0, programs.told(done)
        return done.stdout

    def curl(self):
        device = Device(self.home)
        proxy = ("--proxy", self.proxy, "--proxy-cacert", self.trust) if self.proxy else ()
        post = ("--user", ":".join(USER), "--data-binary", f"@{device.request_base64}")
        kind = ("--header", "Content-Type: application/pkcs10")
        common = ("curl", "--disable", "-sS", "--fail", "--max-time", "60", "--cacert", self.trust)
        answer = self.run(*common, *proxy, *post, *kind, f"{self.url}/simpleenroll")
        self.verify(device.keep(answer), "CN=device1")

    def s_client(self):
        """It knows plain proxies only. On the TLS port it is the TLS client itself, and asks for a page of ours."""
        verify = ("-CAfile", self.trust, "-verify_return_error", "-verify_hostname", NAME, "-servername", NAME)
        where = ("-connect", f"{NAME}:{self.port}")
        target, host = f"{EST}/cacerts", f"{NAME}:{self.server}"
        if self.door == "proxy":
            where = ("-proxy", f"{NAME}:{self.port}", "-connect", host)
        if self.door == "tls":
            target = "/healthz"
        asked = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        for version in ("-tls1_2", "-tls1_3"):
            command = ("openssl", "s_client", *where, *verify, version, "-quiet")
            done = programs.run(self.home, *command, stdin=asked.encode())
            assert done.stdout.startswith(b"HTTP/1.1 200 "), programs.told(done)
            # Python's server ends without close_notify, ours with.
            assert done.returncode == 0 or self.door in ("proxy", "passthrough"), programs.told(done)

    def pki(self):
        """It knows no proxy at all: socat makes the tunnel, and another one the TLS around it."""
        device = Device(self.home)
        port = self.server
        if self.door == "tls":
            port = self.socat(f"OPENSSL:{NAME}:{self.port},cafile={self.trust}")
        if self.proxy:
            inner = port if self.door == "tls" else self.port
            port = self.socat(f"PROXY:127.0.0.1:{NAME}:{self.est.port},proxyport={inner}")
        request = ("--in", device.request, "--userpass", ":".join(USER), "--cacert", self.trust)
        url = f"https://{NAME}:{port}"
        made = self.run("pki", "--est", "--url", url, *request, "--outform", "pem")
        (self.home / "enrolled.pem").write_bytes(made)
        self.verify(self.home / "enrolled.pem", "CN=device1")

    def socat(self, where):
        port = unused_port()
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"
        self.daemons.append(Daemon(self.home / f"socat-{port}", "socat", listen, where))
        assert accepts(port, self.daemons[-1].process), self.daemons[-1].lines.all()
        return port

    def iot_edge(self):
        config = f"""
            [cert_issuance.est]
            trusted_certs = ["file://{self.trust}"]
            auth = {{ username = "{USER[0]}", password = "{USER[1]}" }}
            urls = {{ default = "{self.url}" }}
            [provisioning.attestation.identity_cert]
            common_name = "edge-0815"
            auto_renew = {{ threshold = "80%", retry = "4%" }}
            [edge_ca]
            auto_renew = {{ threshold = "80%", retry = "4%" }}
        """
        environment = {"https_proxy": self.proxy} if self.proxy else {}
        device = EdgeDevice(self.home / "edge", config, environment, {NAME: "127.0.0.1"})
        device.provision()
        self.verify(device.device_id.identity.cert, "CN=edge-0815")

    def verify(self, certificate, subject):
        assert_verifies(self.home, self.trust, certificate, subject)

    def close(self):
        for daemon in self.daemons:
            daemon.close()


CLIENTS = {"curl": Site.curl, "s_client": Site.s_client, "pki": Site.pki, "iot_edge": Site.iot_edge}


@pytest.fixture
def est(authority):
    # strongSwan reads base64 without line breaks only; the others do not mind.
    with EstServer(authority, NAME, "127.0.0.1", line_breaks=False) as server:
        yield server


DOORS = {
    "proxy": lambda est, authority: {},
    "passthrough": lambda est, authority: {"passthrough.listen": "127.0.0.1:0", "passthrough.port": est.port},
    "tls": lambda est, authority: {"tls.listen": "127.0.0.1:0"},
    "gateway": lambda est, authority: {
        "gateway.listen": "127.0.0.1:0",
        "gateway.upstreams": f"https://{NAME}:{est.port}",
        "gateway.upstream.ca": authority.root.cert,
    },
}
KINDS = ("file", "swtpm", "softhsm")
by_client = pytest.mark.parametrize("client", CLIENTS)
by_key = pytest.mark.parametrize("kind", KINDS)
by_tls_door = pytest.mark.parametrize("door", ["tls", "gateway"])


@pytest.fixture(scope="module")
def devices(tmp_path_factory, authority):
    """Factory: devices(kind) -> (TPM or token, its certificate, its key's place), made when it is first asked for."""
    made = {}

    def make(kind):
        if kind not in made:
            device = (Tpm if kind == "swtpm" else hsm.SoftHsm)(tmp_path_factory.mktemp(kind) / "device")
            made[kind] = (device, *device.make_key(authority))
        return made[kind]

    yield make
    for device, *_ in made.values():
        if isinstance(device, Tpm):
            device.close()


@pytest.fixture
def sensor(certferry, dns, authority, est, devices):
    """Factory: sensor(door, kind) -> running certferry with that door open, its key of that kind."""

    def key(door, kind):
        """Settings; and how certferry is started for them."""
        if kind == "file":
            certificate = authority.server(NAME, "127.0.0.1")
            return {f"{door}.cert": certificate.cert, f"{door}.key": certificate.key}, {}
        if kind == "softhsm":
            need_pkcs11()
        device, certificate, place = devices(kind)
        settings = device.settings | {"tls.cert": certificate, "tls.key": place}
        shared = {name: value for name, value in settings.items() if name == "tls.tpm.tcti"}
        own = {name.removeprefix("tls."): value for name, value in settings.items() if name not in shared}
        # The gateway uses it for the EST server as well.
        prefixes = ("gateway.", "gateway.upstream.") if door == "gateway" else ("tls.",)
        given = {prefix + name: value for prefix in prefixes for name, value in own.items()}
        return given | shared, {"binary": RELEASE if kind == "softhsm" else BINARY, **device.variables}

    def start(door, kind=None):
        dns.names[NAME] = ["127.0.0.1"]
        settings = {
            "allowed.domains": "",
            "allowed.hosts": NAME,
            "allowed.connect.ports": est.port,
            "resolver.servers": dns.address,
            # Where a service user could not go.
            "service.user": "root",
        }
        given, how = key(door, kind) if kind else ({}, {})
        return certferry(settings | DOORS[door](est, authority) | given, **how)

    return start


@pytest.fixture
def use(authority, est, home):
    """Factory: use(sensor, door, client): the client's work, and what the log must tell of it."""
    sites = []

    def work(sensor, door, client):
        sites.append(Site(home, authority, est, door, sensor.doors.get(door, sensor.port)))
        CLIENTS[client](sites[-1])
        own_page = (door, client) == ("tls", "s_client")
        class_ = "control" if own_page else "est" if door == "gateway" else "tunnel"
        sensor.wait_log(lambda line: line["class"] == class_ and line["outcome"] in ENDED_WELL)
        assert {line["door"] for line in sensor.log()} == {door}

    yield work
    for site in sites:
        site.close()


@by_client
@pytest.mark.parametrize("door", ["proxy", "passthrough"])
def test_door_without_a_key(sensor, use, door, client):
    use(sensor(door), door, client)


@by_client
@by_key
@by_tls_door
def test_door_with_a_key(sensor, use, est, door, kind, client):
    use(sensor(door, kind), door, client)
    if door == "gateway":
        assert {seen.client_name for seen in est.seen} == {"" if kind == "file" else f"commonName={NAME}"}


@by_key
@by_tls_door
def test_what_is_spoken(sensor, home, door, kind):
    """Wherever the key is, it changes nothing of what test_tls_door.py finds in detail."""
    there = sensor(door, kind)
    for version in (0x0300, 0x0301, 0x0302):
        old = client_hello(version=version, ciphers=(0xC009, 0xC013, 0x002F, 0xC02B))
        assert ask(there, old, door).alert in ("protocol_version", "handshake_failure")
    for cipher in (0x0005, 0x000A, 0x002F, 0x009C, 0x0033, 0x009E, 0xC009, 0xC013, 0xC023):
        assert ask(there, client_hello(ciphers=(cipher,)), door).alert == "handshake_failure", hex(cipher)
    answer = ask(there, client_hello(compressions=b"\x01\x00"), door)
    assert (answer.cipher, answer.compression) == (0xC02B, 0)
    command = ("openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{there.doors[door]}")
    said = programs.told(programs.run(home, *command, stdin=b"R\n"))
    assert "Secure Renegotiation IS supported" in said and "no renegotiation" in said, said
