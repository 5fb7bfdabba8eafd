"""
An Azure IoT Edge device gets its certificates and renews them, with the configurations of docs/examples/iot-edge:
IDevID -> LDevID -> Edge CA, each from a CA of its own; through CONNECT, through CONNECT inside TLS, and through the
gateway. CAs and device: support/est_endpoint.py, support/iot_edge.py.
"""

import base64
import re
import shutil
import ssl
import threading

import pytest
from support import examples, iot_edge, programs
from support.certferry import BINARY, ENDED_WELL, SANITIZER_STATUS
from support.daemons import unused_port
from support.enrolling import assert_carried, assert_verifies
from support.est_endpoint import Endpoint
from support.est_server import EstServer
from support.iot_edge import Clock, Device, EnrollmentError
from support.origins import HttpOrigin, reply
from support.pki import Authority, openssl

EST, DPS = "est.ca.example", "global.azure-devices-provisioning.net"
SENSOR = "sensor.plant.example"
DEVICE = "edge-0815"
REGISTRAR = "registrar.plant.example"  # the sensor, as the EST server knows it behind the gateway
SECRET = "first-value-4711"
USERS = {"device": "first-password"}
LIFETIME = 1000  # seconds: 80 % are 800, 4 % are 40
# Examples by what their devices authenticate themselves with: always the IDevID, or that once and then what it brought.
FIXED, BOOTSTRAPPED = "connect", "https-connect"


@pytest.fixture(scope="session")
def cas(tmp_path_factory):
    """The CAs behind the three endpoints."""
    names = {"idevid": "Factory CA", "ldevid": "Operations CA", "edgeca": "Edge CA"}
    return {label: Authority(tmp_path_factory.mktemp(label), subject) for label, subject in names.items()}


def endpoints(cas):
    return {
        "idevid": Endpoint(cas["idevid"], users=USERS, secret=SECRET),
        "ldevid": Endpoint(cas["ldevid"], clients=(cas["idevid"], cas["ldevid"]), lifetime=LIFETIME),
        "edgeca": Endpoint(cas["edgeca"], clients=(cas["idevid"], cas["ldevid"]), lifetime=LIFETIME, authorities=True),
    }


@pytest.fixture
def est(authority, cas):
    with EstServer(authority, EST, endpoints=endpoints(cas)) as server:
        yield server


class Plant:
    """A sensor with the configuration of an example, and devices as that example has them: through CONNECT."""

    example = "connect"
    door = "proxy"
    url_host = EST

    def __init__(self, start, dns, est, authority, cas, directory):
        self.start, self.dns, self.est, self.authority, self.cas = start, dns, est, authority, cas
        self.directory = directory
        self.aziot = directory / "aziot"
        for name in ("certs", "secrets"):
            (self.aziot / name).mkdir(parents=True)
        for name in ("est-root", "sensor-root"):
            (self.aziot / f"certs/{name}.cert.pem").write_bytes(authority.root.cert.read_bytes())
        dns.names |= {name: ["127.0.0.1"] for name in (EST, DPS)}
        self.sensor = None
        self.port = unused_port()  # of the door, also after a restart
        self.settings = examples.settings_of(f"iot-edge/{self.example}") | self.overrides()
        self.roles = None

    def overrides(self):
        """What a test must have otherwise: ports, addresses, and files that lie somewhere else."""
        return {
            "heartbeatport": self.port,
            "clients.allow": "127.0.0.0/8",
            "allowed.connect.ports": "1-65535",
            "resolver.servers": self.dns.address,
            # Where a service user could not go.
            "service.user": "root",
        }

    def devices_pem(self):
        """The CAs of the factory's certificates and of those that are enrolled with them."""
        path = self.directory / "devices.pem"
        path.write_bytes(b"".join(self.cas[label].root.cert.read_bytes() for label in ("idevid", "ldevid")))
        return path

    def run(self):
        """Starts the sensor, again on the same port; it."""
        if self.sensor is not None:
            self.sensor.release_port()
        self.sensor = self.start(self.settings, roles=self.roles)
        return self.sensor

    def environment(self):
        """Of aziot-certd, as the example's drop-in has it."""
        drop_in = examples.text_of(f"iot-edge/{self.example}", "device/proxy.conf")
        return examples.environment_of(re.sub(r":4899[89]", f":{self.port}", drop_in))

    def url_port(self):
        return self.est.port

    def device(self, style=None, environment=None, **how):
        """A device that uses this plant's way; it authenticates as `style`, an example, has it."""
        config = examples.text_of(f"iot-edge/{style or self.example}", "device/config.toml")
        config = re.sub(rf"https://({EST}|{SENSOR})/", f"https://{self.url_host}:{self.url_port()}/", config)
        config = config.replace("file:///var/aziot/", f"file://{self.aziot}/")
        hosts = {SENSOR: "127.0.0.1"}
        environment = self.environment() if environment is None else environment
        return Device(self.directory / "device", config, environment, hosts, **how)

    def birth(self, *proof, through=None):
        """
        The factory's part, as the CA's guide for IoT Edge has it: curl and openssl. Straight to the EST server, or by
        the proxy's URL `through`.
        """
        script = self.aziot / "birth.sh"
        script.write_text(BIRTH)
        here = ("--resolve", f"{EST}:{self.est.port}:127.0.0.1")
        way = ("--proxy", through) if through else here
        url = f"https://{EST}:{self.est.port}/.well-known/est/idevid"
        proof = proof or ("-H", f"Secret-Value: {SECRET}")
        arguments = (url, self.authority.root.cert, "/CN=IDevID", *way, *proof)
        done = programs.run(self.directory, "sh", script, *arguments, cwd=self.aziot)
        assert done.returncode == 0, programs.told(done)

    def provisioned(self, style=None, **how):
        """A device that has all its certificates. Those to come live longer, so that nothing is due twice."""
        self.birth()
        device = self.device(style, **how)
        device.provision()
        for endpoint in self.est.endpoints.values():
            endpoint.lifetime *= 10
        return device

    def shown_as(self, name):
        """Whom the EST server sees when a device authenticates itself with this name."""
        return f"commonName={name}"

    def assert_exchanges(self, count):
        """So many went through this plant's door, and nothing through another."""
        lines = self.sensor.log()
        assert len(lines) <= count, lines
        self.sensor.wait_log(lambda _: len(self.sensor.log()) == count)
        for line in self.sensor.log():
            self.assert_exchange(line)

    def assert_exchange(self, line):
        assert (line["door"], line["method"], line["host"], line["sni"]) == (self.door, "CONNECT", EST, EST)
        assert line["status"] == 200 and line["outcome"] in ENDED_WELL


class TlsPlant(Plant):
    """The same inside TLS, to which the device shows its certificate; each identity has a role."""

    example = "https-connect"
    door = "tls"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.roles = examples.text_of(f"iot-edge/{self.example}", "roles.properties")

    def overrides(self):
        certificate = self.authority.server(SENSOR)
        return super().overrides() | {
            "heartbeatport": "0",
            "tls.listen": f"127.0.0.1:{self.port}",
            "tls.cert": certificate.cert,
            "tls.key": certificate.key,
            "tls.client.ca": self.devices_pem(),
        }

    def assert_exchange(self, line):
        super().assert_exchange(line)
        assert (line["identity"], line["role"]) in (("IDevID", "born"), (DEVICE, "edge"))


class GatewayPlant(Plant):
    """No proxy: the device's EST URLs name the sensor, which ends TLS and authenticates itself to the EST server."""

    example = "gateway"
    door = "gateway"
    url_host = SENSOR

    def overrides(self):
        certificate, registrar = self.authority.server(SENSOR), self.authority.server(REGISTRAR)
        for label in ("ldevid", "edgeca"):
            self.est.endpoints[label].clients += (self.authority,)
        return super().overrides() | {
            "heartbeatport": "0",
            "gateway.listen": f"127.0.0.1:{self.port}",
            "gateway.redirect.listen": "127.0.0.1:0",
            "gateway.cert": certificate.cert,
            "gateway.key": certificate.key,
            "gateway.client.ca": self.devices_pem(),
            "gateway.upstreams": f"https://{EST}:{self.est.port}",
            "gateway.upstream.ca": self.authority.root.cert,
            "gateway.upstream.cert": registrar.cert,
            "gateway.upstream.key": registrar.key,
        }

    def environment(self):
        return {}

    def url_port(self):
        return self.port

    def shown_as(self, name):
        return f"commonName={REGISTRAR}"

    def assert_exchange(self, line):
        assert (line["door"], line["host"], line["class"]) == ("gateway", EST, "est")
        assert (line["status"], line["outcome"]) == (200, "ok")
        assert line["identity"] in ("IDevID", DEVICE)


BIRTH = """
set -e
url=$1 trust=$2 subject=$3
shift 3
pem() { openssl base64 -d | openssl pkcs7 -inform DER -outform PEM -print_certs | openssl x509 "$@"; }
openssl req -nodes -new -subj "$subject" -sha256 -keyout secrets/IDevID.key.pem -out IDevID.csr
curl --disable -sS --fail --cacert "$trust" "$@" "$url/cacerts" -o cacerts.b64
pem -out certs/IDevID-root.cert.pem <cacerts.b64
curl --disable -sS --fail --cacert "$trust" "$@" -X POST --data-binary "@IDevID.csr" \\
    -H "Content-Transfer-Encoding:base64" -H "Content-Type:application/pkcs10" "$url/simpleenroll" -o IDevID.b64
pem -out certs/IDevID.cert.pem <IDevID.b64
"""

WAYS = {"connect": Plant, "https-connect": TlsPlant, "gateway": GatewayPlant}


@pytest.fixture
def make_plant(certferry, dns, est, authority, cas, tmp_path):
    """Factory: make_plant(way, settings) -> running Plant."""

    def make(way, settings=None):
        made = WAYS[way](certferry, dns, est, authority, cas, tmp_path)
        made.settings |= settings or {}
        made.run()
        return made

    return make


@pytest.fixture(params=WAYS)
def plant(request, make_plant):
    """A plant of each way."""
    return make_plant(request.param)


@pytest.fixture
def proxy_plant(make_plant):
    return make_plant("connect")


def enrollments(est, label):
    """Who has asked for certificates there, by the subject of what was shown."""
    return [one.client_name for one in est.seen if one.path.endswith(f"/{label}/simpleenroll")]


def failed(credential):
    return isinstance(credential.history[-1], EnrollmentError)


# The examples are as they should be.


@pytest.mark.parametrize("way", WAYS)
def test_example_is_accepted(way, authority, cas, tmp_path):
    """As an operator would use it: the directory, and the files that it names laid beside it."""
    conf = tmp_path / "conf"
    shutil.copytree(examples.EXAMPLES / "iot-edge" / way, conf)
    shutil.rmtree(conf / "device")
    files = {"sensor": authority.server(SENSOR), "registrar": authority.server(REGISTRAR)}
    for stem, certificate in files.items():
        shutil.copy(certificate.cert, conf / f"{stem}.pem")
        shutil.copy(certificate.key, conf / f"{stem}.key")
    (conf / "devices.pem").write_bytes(b"".join(cas[label].root.cert.read_bytes() for label in ("idevid", "ldevid")))
    shutil.copy(authority.root.cert, conf / "est-root.pem")
    options = programs.sanitizer_options(SANITIZER_STATUS)
    done = programs.run(tmp_path, BINARY, "check-config", "--conf", conf, **options)
    assert done.returncode == 0, programs.told(done)
    if way != "connect":
        (conf / "devices.pem").unlink()
        done = programs.run(tmp_path, BINARY, "check-config", "--conf", conf, **options)
        assert done.returncode == 1 and b"devices.pem" in done.stderr, programs.told(done)


# Birth: the factory's part, where it too has to go through a sensor.


@pytest.mark.parametrize("proof", [("-H", f"Secret-Value: {SECRET}"), ("-u", "device:first-password")])
def test_birth_certificate(proxy_plant, est, cas, proof):
    proxy_plant.birth(*proof, through=proxy_plant.sensor.url)
    born = proxy_plant.aziot / "certs/IDevID.cert.pem"
    assert_verifies(proxy_plant.directory, cas["idevid"].root.cert, born, "CN=IDevID")
    root = proxy_plant.aziot / "certs/IDevID-root.cert.pem"
    assert_verifies(proxy_plant.directory, cas["idevid"].root.cert, root, "CN=Factory CA")
    request = next(one for one in est.seen if one.method == "POST")
    assert request.body.startswith(b"-----BEGIN CERTIFICATE REQUEST-----"), "as openssl wrote it"
    assert request.header("Content-Transfer-Encoding") == "base64"
    proxy_plant.assert_exchanges(2)


def test_birth_without_proof_is_the_servers_to_refuse(proxy_plant):
    with pytest.raises(AssertionError, match="401"):
        proxy_plant.birth("-H", "Secret-Value: guessed", through=proxy_plant.sensor.url)
    proxy_plant.assert_exchanges(2)


# The device's first start.


@pytest.mark.parametrize("style", [FIXED, BOOTSTRAPPED])
def test_from_birth_to_edge_ca(plant, est, cas, style):
    plant.birth()
    device = plant.device(style)
    device.provision()
    assert_verifies(plant.directory, cas["ldevid"].root.cert, device.device_id.identity.cert, f"CN={DEVICE}")
    authority = device.edge_ca.identity
    assert_verifies(plant.directory, cas["edgeca"].root.cert, authority.cert, "CN=iotedged workload ca edge")
    constraints = authority.certificate().extensions.get_extension_for_class(iot_edge.x509.BasicConstraints)
    assert constraints.value.ca
    # A device with a bootstrap certificate shows that once; the identity it got thereby does the rest.
    born, own = plant.shown_as("IDevID"), plant.shown_as(DEVICE)
    assert enrollments(est, "ldevid") == ([born] if style == FIXED else [born, own])
    assert enrollments(est, "edgeca") == ([born] if style == FIXED else [own])
    plant.assert_exchanges(2 * len(device.credentials()))


def test_octets_of_the_device(proxy_plant, est):
    """What iot-identity-service writes reaches the server as it was written."""
    proxy_plant.birth()
    device = proxy_plant.device()
    target = f"{EST}:{est.port}"
    assert device.connect_message(EST, est.port) == f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
    device.provision()
    post = next(one for one in est.seen if one.path.endswith("/ldevid/simpleenroll"))
    assert [name for name, _ in post.headers] == ["content-type", "content-transfer-encoding", "host", "content-length"]
    assert post.version == "HTTP/1.1" and post.header("host") == target
    assert all(len(line) <= 64 for line in post.body.splitlines()) and post.body.endswith(b"\n")


def test_both_questions_are_asked_at_once(plant, est):
    """simpleenroll is not answered before cacerts has come, so one after the other would never end."""
    plant.birth()
    met = []
    est.meeting = threading.Barrier(2, action=lambda: met.append(len(est.seen)))
    plant.device(FIXED).provision()
    assert len(met) == 2, "for the LDevID and for the Edge CA"


@pytest.mark.parametrize("way", ["connect", "https-connect"])
def test_credentials_of_the_proxy_url(make_plant, est, way):
    """They go out unasked, in two fields; the EST server sees neither."""
    plant = make_plant(way)
    users = plant.directory / "users"
    users.touch(0o640)
    done = programs.run(plant.directory, "htpasswd", "-bBC", "4", users, "edge", "s%cret")
    assert done.returncode == 0, programs.told(done)
    plant.birth()
    plant.sensor.reload({"auth.file": users})
    proxy = plant.environment()["https_proxy"]
    ignored = {"https_proxy": "http://127.0.0.1:9", "NO_PROXY": "*"}
    plant.device(environment=ignored | {"HTTPS_PROXY": proxy.replace("//", "//edge:s%25cret@")}).provision()
    line = assert_carried(plant.sensor, "tunnel", host=EST, user="edge")
    assert line["door"] == plant.door
    assert not [one for one in est.seen if one.header("authorization") or one.header("proxy-authorization")]
    with pytest.raises(EnrollmentError, match="unsuccessful tunnel .HTTP/1.1 407"):
        plant.device(environment={"https_proxy": proxy}).provision()


@pytest.mark.parametrize("way", ["connect", "https-connect"])
def test_provisioning_service_sees_the_device_certificate(make_plant, authority, cas, way):
    """What the certificate is for: DPS, also through the proxy, with mutual TLS from end to end."""
    plant = make_plant(way)
    plant.birth()
    device = plant.device()
    device.provision()
    how = {"certificate": authority.server(DPS), "alpn": ("http/1.1",), "require_client": cas["ldevid"].root.cert}
    with HttpOrigin(lambda _: reply(b"{}", kind="application/json"), **how) as dps:
        connection = device.connect(f"https://{DPS}:{dps.port}", device.device_id.identity)
        target = f"/0AB12345678/registrations/{DEVICE}/register?api-version=2018-11-01"
        connection.sendall(f"PUT {target} HTTP/1.1\r\nhost: {DPS}:{dps.port}\r\ncontent-length: 0\r\n\r\n".encode())
        assert iot_edge.read_answer(connection)[0] == 200
        connection.close()
        assert dps.connections()[0].alpn == "http/1.1"
    line = assert_carried(plant.sensor, "tunnel", host=DPS, sni=DPS)
    assert line["door"] == plant.door


# Renewal.


@pytest.mark.parametrize("style", [FIXED, BOOTSTRAPPED])
def test_renewal_at_80_percent(plant, est, style):
    device = plant.provisioned(style)
    count = len(device.credentials())
    for credential in device.credentials():
        begins, ends = credential.identity.lifetime()
        assert (ends - begins, credential.due - begins) == (LIFETIME, 800)
    old_key = device.device_id.identity.key.read_bytes()
    assert len({device.renew_next().name for _ in range(count)}) == count
    for credential in device.credentials():
        assert len(set(credential.history)) == 2, credential
    assert device.device_id.identity.key.read_bytes() != old_key, "rotate_key"
    if style == BOOTSTRAPPED and plant.door != "gateway":
        # The identity renews itself; nobody has seen the factory's certificate again.
        assert enrollments(est, "ldevid").count("commonName=IDevID") == 1
    plant.assert_exchanges(2 * 2 * count)


def test_failed_renewal_is_tried_again_after_4_percent(plant, est):
    """The server is busy once; the certificate in use stays until there is another."""
    device = plant.provisioned(FIXED)
    est.endpoints["ldevid"].failures = 1
    due, kept = device.device_id.due, device.device_id.identity.cert.read_bytes()
    device.edge_ca.due += LIFETIME
    assert device.renew_next() is device.device_id
    assert "503" in str(device.device_id.history[-1])
    assert device.device_id.identity.cert.read_bytes() == kept
    assert 40 <= device.device_id.due - due < 80, "4 % after the attempt's end"
    assert device.renew_next() is device.device_id and not failed(device.device_id)
    assert device.device_id.identity.cert.read_bytes() != kept


def test_refused_renewal_is_tried_again(proxy_plant):
    """An operator's mistake: the device is told why, and works again once it is mended."""
    device = proxy_plant.provisioned()
    hosts = proxy_plant.settings["allowed.hosts"]
    proxy_plant.sensor.reload({"allowed.hosts": DPS})
    for credential in (device.renew_next(), device.renew_next()):
        assert "unsuccessful tunnel (HTTP/1.1 403 Host not in the allowlist)" in str(credential.history[-1])
    proxy_plant.sensor.wait_log(lambda line: line["outcome"] == "host-denied" and line["host"] == EST)
    proxy_plant.sensor.reload({"allowed.hosts": hosts})
    assert not failed(device.renew_next()) and not failed(device.renew_next())
    assert len(device.device_id.history) == len(device.edge_ca.history) == 3


def test_renewal_goes_on_after_a_sensor_restart(plant, est):
    device = plant.provisioned(BOOTSTRAPPED)
    assert plant.sensor.stop() == 0
    lost = [device.renew_next() for _ in range(3)]
    assert {credential.name for credential in lost} == {"estid", "deviceid", "aziotedgeca"}
    assert all(failed(credential) for credential in lost)
    plant.run()
    assert not any(failed(device.renew_next()) for _ in range(3))
    plant.assert_exchanges(2 * 3)


def test_expired_identity_begins_anew_with_the_bootstrap_certificate(plant, est):
    """Switched off for longer than its certificates live."""
    est.endpoints["ldevid"].lifetime = 2
    plant.birth()
    device = plant.device(BOOTSTRAPPED, clock=Clock(waits=True))
    device.enroll(device.est_id)
    device.clock.sleep_until(device.est_id.identity.lifetime()[1] + 1)
    # Nobody takes the expired one any more, whatever door it is shown at.
    with pytest.raises(EnrollmentError):
        device.create_cert(device.edge_ca.url, b"", device.est_id.identity)
    if plant.door != "proxy":
        plant.sensor.wait_log(lambda line: line["outcome"] == "client-certificate-invalid")
    est.endpoints["ldevid"].lifetime = LIFETIME
    device.provision()
    assert enrollments(est, "ldevid").count(plant.shown_as("IDevID")) >= 2
    assert device.est_id.identity.lifetime()[1] > device.clock.now()


def test_renewal_while_the_time_passes(plant, est):
    """No clock is put forward: certificates near their end, an attempt that fails, a restart, and success in time."""
    for label in ("ldevid", "edgeca"):
        est.endpoints[label].lifetime, est.endpoints[label].age = 100, 79
    device = plant.provisioned(FIXED, clock=Clock(waits=True))
    plant.sensor.stop()
    assert failed(device.renew_next()) and failed(device.renew_next())
    plant.run()
    for credential in (device.renew_next(), device.renew_next()):
        assert not failed(credential) and len(credential.history) == 3, credential.history
        begins, ends = credential.identity.lifetime()
        assert begins < device.clock.now() < ends


# What the sensor makes of the device's certificate.


def test_birth_certificate_is_for_enrollment_alone(make_plant):
    """Its role may not reach what that of enrolled devices may."""
    plant = make_plant("https-connect")
    device = plant.provisioned()
    with pytest.raises(EnrollmentError, match="unsuccessful tunnel .HTTP/1.1 403"):
        device.connect(f"https://{DPS}:443", device.bootstrap)
    line = plant.sensor.wait_log(lambda line: line["host"] == DPS)
    assert (line["outcome"], line["identity"], line["role"]) == ("host-denied", "IDevID", "born")


@pytest.mark.parametrize("way, key", [("https-connect", "tls.client.ca"), ("gateway", "gateway.client.ca")])
def test_enrolled_identity_needs_its_own_ca(make_plant, cas, way, key):
    """A sensor that believes the factory alone lets the first certificate come, and nothing after it."""
    plant = make_plant(way, {key: cas["idevid"].root.cert})
    plant.birth()
    device = plant.device(BOOTSTRAPPED)
    with pytest.raises(EnrollmentError):
        device.provision()
    assert device.est_id.identity.cert.exists() and not device.device_id.identity.cert.exists()
    line = plant.sensor.wait_log(lambda line: line["outcome"] == "client-certificate-invalid")
    assert (line["door"], line["host"]) == (plant.door, "")


@pytest.mark.parametrize("way", ["https-connect", "gateway"])
def test_device_without_a_certificate(make_plant, est, way):
    """By the examples nobody enrolls by the sensor's right who has not shown a certificate to it."""
    plant = make_plant(way)
    plant.birth()
    device = plant.device(FIXED)
    count = len(est.seen)
    with pytest.raises(EnrollmentError):
        device.create_cert(device.device_id.url, b"")
    plant.sensor.wait_log(lambda line: line["outcome"] == "client-certificate-missing")
    assert len(est.seen) == count


# What the server's own rules make of each way.


def reenrolled(plant, est, identity):
    """curl asks for the renewal of that certificate with simplereenroll; (status, PEM file or None)."""
    here = plant.aziot
    made = ("req", "-new", "-key", identity.key, "-subj", f"/CN={DEVICE}", "-outform", "DER")
    (here / "again.b64").write_bytes(base64.encodebytes(openssl(here, *made)))
    options = {
        "proxy": ("--proxy", f"http://127.0.0.1:{plant.port}"),
        "tls": (
            *("--proxy", f"https://{SENSOR}:{plant.port}", "--resolve", f"{SENSOR}:{plant.port}:127.0.0.1"),
            *("--proxy-cacert", plant.authority.root.cert, "--proxy-cert", identity.cert, "--proxy-key", identity.key),
        ),
        "gateway": ("--resolve", f"{SENSOR}:{plant.port}:127.0.0.1"),
    }
    who = ("--cert", identity.cert, "--key", identity.key, "--cacert", plant.authority.root.cert)
    post = ("-H", "Content-Type: application/pkcs10", "--data-binary", f"@{here / 'again.b64'}", "-o", "again.p7")
    url = f"https://{plant.url_host}:{plant.url_port()}/.well-known/est/ldevid/simplereenroll"
    common = ("curl", "--disable", "-sS", "--max-time", "60", "--write-out", "%{http_code}")
    done = programs.run(here, *common, *options[plant.door], *who, *post, url)
    assert done.returncode == 0, programs.told(done)
    return int(done.stdout)


def test_simplereenroll(plant, est):
    """
    Renewing by that name (IoT Edge itself enrolls anew) needs the server to see the certificate that is renewed: RFC
    7030 section 4.2.2. Behind the gateway it sees the sensor's.
    """
    plant.birth()
    device = plant.device(FIXED)
    device.enroll(device.device_id)
    assert reenrolled(plant, est, device.device_id.identity) == (400 if plant.door == "gateway" else 200)
    assert est.seen[-1].client_name == plant.shown_as(DEVICE)


def test_forced_reenrollment(plant, est):
    """
    The CA's default, which the guide has one turn off: a certificate gets the name of the one that was shown. Behind
    the gateway that would give every device the sensor's name.
    """
    est.endpoints["ldevid"].forces_reenroll = True
    plant.birth()
    device = plant.device(FIXED)
    device.enroll(device.device_id)
    subject = device.device_id.identity.certificate().subject.rfc4514_string()
    assert subject == ("CN=" + plant.shown_as("IDevID").partition("=")[2])


def test_gateway_passes_secrets_on(make_plant, est):
    """A factory behind a gateway that authenticates nobody, as in the HAProxy guide: the server judges the secret."""
    keys = ("gateway.client.ca", "gateway.client.auth", "gateway.client.identity", "gateway.upstream.cert")
    plant = make_plant("gateway", dict.fromkeys((*keys, "gateway.upstream.key")))
    url = f"https://{SENSOR}:{plant.port}/.well-known/est/idevid/simpleenroll"
    made = ("req", "-nodes", "-new", "-subj", "/CN=IDevID", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    (plant.aziot / "IDevID.csr").write_bytes(openssl(plant.aziot, *made, "-keyout", plant.aziot / "IDevID.key"))
    way = ("--resolve", f"{SENSOR}:{plant.port}:127.0.0.1", "--cacert", plant.authority.root.cert)
    sent = ("-X", "POST", "--data-binary", "@IDevID.csr", "-H", "Content-Type:application/pkcs10")
    proofs = {
        "Secret-Value": ("-H", f"Secret-Value: {SECRET}", 200),
        "Authorization": ("-u", "device:first-password", 200),
        "X-Other": ("-H", "X-Other: nothing", 401),
    }
    for name, (*proof, status) in proofs.items():
        told = ("--write-out", "%{http_code}", "-o", "answer")
        done = programs.run(plant.aziot, "curl", "--disable", "-sS", *way, *sent, *told, *proof, url)
        assert done.stdout == str(status).encode(), programs.told(done)
        assert est.seen[-1].header(name) and est.seen[-1].client_name == ""
    for line in plant.sensor.log():
        assert (line["door"], line["class"], line["operation"], line["host"]) == ("gateway", "est", "simpleenroll", EST)


def test_gateway_can_tell_who_the_device_is(make_plant, est):
    """RFC 9440, for a server that believes this sensor: the certificate as an octet sequence (RFC 8941)."""
    plant = make_plant("gateway", {"gateway.client.cert.field": "on"})
    plant.birth()
    device = plant.device(FIXED)
    device.enroll(device.device_id)
    der = ssl.PEM_cert_to_DER_cert(device.fixed.cert.read_text())
    assert {one.header("Client-Cert") for one in est.seen[-2:]} == {f":{base64.b64encode(der).decode()}:"}
