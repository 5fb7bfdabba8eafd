"""
Client certificates at the https-connect door (tls.client.*): who is believed, what a client that is not hears, whom it
is taken for, and that tickets and open connections do not outlive a CA or CRL. Roles are in test_roles.py.
"""

import ipaddress
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support import programs
from support.certferry import PATIENCE
from support.client_pki import DAY, NOW, ClientAuthority
from support.raw_http import metric
from support.tls_door import DoorClient, context, door_settings, handshake_error, resume
from support.tunnels import read_to_end

NAME = "ca.enroll.test"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    return ClientAuthority(tmp_path_factory.mktemp("devices"), "Device Root")


@pytest.fixture(scope="module")
def issuing(tmp_path_factory, devices):
    return ClientAuthority(tmp_path_factory.mktemp("issuing"), "Issuing CA", parent=devices)


@pytest.fixture
def settings(enroll_settings, authority, devices):
    door = door_settings(authority.server("localhost", "127.0.0.1"), tls_client_ca=devices.cert)
    return enroll_settings | door | {"tls.client.identity": "cn", "tls.watch.interval": "0ms"}


def identity_of(proxy, tls, **how):
    """What the log says of a client that gets in."""
    before = len(proxy.log())
    with DoorClient(proxy, tls, **how) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
    return proxy.wait_log(lambda line: line in proxy.log()[before:] and line["operation"] == "healthz")["identity"]


def refused(proxy, tls, outcome, alert):
    """The client hears `alert`, and the log says why; the detail there."""
    before = len(proxy.log())
    error = handshake_error(proxy, tls)
    assert error and alert in error.lower().replace("_", " "), error
    line = proxy.wait_log(lambda line: line in proxy.log()[before:] and line["door"] == "tls")
    assert (line["outcome"], line["status"]) == (outcome, 0)
    return line["detail"]


# ---- who is believed ----


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_device_gets_in(certferry, settings, authority, devices, version):
    proxy = certferry(settings)
    for kind in ("ec", "rsa"):
        device = devices.certificate("sensor-1", kind=kind)
        assert identity_of(proxy, context(authority, device, version)) == "sensor-1"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_none_is_shown(certferry, settings, authority, version):
    proxy = certferry(settings)
    alert = "handshake failure" if version == TLS12 else "certificate required"
    detail = refused(proxy, context(authority, version=version), "client-certificate-missing", alert)
    assert detail == "peer did not return a certificate"
    assert metric(proxy, 'tls_handshakes_total{result="certificate",version=""}') == 1


def test_the_alert_arrives_before_what_was_sent_is_read(certferry, settings, authority):
    """A client that speaks on behind its Finished, which TLS 1.3 lets it, gets no reset in place of the alert."""
    proxy = certferry(settings)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(authority, version=TLS13).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", proxy.doors["tls"]), PATIENCE) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(bytes(200_000))
        sock.sendall(outgoing.read())
        incoming.write(read_to_end(sock))
    with pytest.raises(ssl.SSLError, match="(?i)certificate.required"):
        tls.read()


def test_none_is_needed(certferry, settings, authority, devices):
    proxy = certferry(settings | {"tls.client.auth": "optional"})
    assert identity_of(proxy, context(authority)) == ""
    assert identity_of(proxy, context(authority, devices.certificate("sensor-1"))) == "sensor-1"


def test_none_is_asked_for(certferry, settings, authority, devices):
    proxy = certferry(settings | {"tls.client.ca": ""})
    assert identity_of(proxy, context(authority, devices.certificate("sensor-1"))) == ""


@pytest.mark.parametrize("auth", ["required", "optional"])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_what_is_not_believed(certferry, settings, authority, devices, issuing, tmp_path, version, auth):
    """Also where none is needed: a wrong one is no none."""
    proxy = certferry(settings | {"tls.client.auth": auth})
    other = ClientAuthority(tmp_path / "other", "Another Root")
    namesake = ClientAuthority(tmp_path / "namesake", "Device Root")
    cases = {
        "expired": (devices.certificate("x", start=NOW - 9 * DAY, end=NOW - DAY), "certificate expired", "has expired"),
        "early": (devices.certificate("x", start=NOW + DAY), "bad certificate", "not yet valid"),
        "other": (other.certificate("x"), "unknown ca", "unable to get local issuer certificate"),
        "namesake": (namesake.certificate("x"), "", "certificate"),
        "no chain": (issuing.certificate("x", with_chain=False), "unknown ca", "unable to get"),
    }
    for device, alert, detail in cases.values():
        assert detail in refused(proxy, context(authority, device, version), "client-certificate-invalid", alert)


def test_chain_of_the_client(certferry, settings, authority, issuing):
    assert identity_of(certferry(settings), context(authority, issuing.certificate("below"))) == "below"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_chain_without_end(certferry, settings, authority, issuing, tmp_path, version):
    """What a stranger sends is kept until it is verified: no more than 32 KiB of it."""
    device = issuing.certificate("device")
    own, ca = (ssl.PEM_cert_to_DER_cert(each.cert.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")
               for each in (device, issuing))
    long = tmp_path / "long.pem"
    long.write_text("".join(map(ssl.DER_cert_to_PEM_cert, [own] + [ca] * (33 * 1024 // len(ca) + 1))))
    tls = context(authority, version=version)
    tls.load_cert_chain(long, device.key)
    detail = refused(certferry(settings), tls, "tls-handshake-failed", "")
    assert detail == "excessive message size"


def test_issuing_ca_alone_is_believed(certferry, settings, authority, devices, issuing):
    """Without its root, and nothing else that the root has certified."""
    proxy = certferry(settings | {"tls.client.ca": issuing.cert})
    for with_chain in (True, False):
        device = issuing.certificate("below", with_chain=with_chain)
        assert identity_of(proxy, context(authority, device)) == "below"
    refused(proxy, context(authority, devices.certificate("x")), "client-certificate-invalid", "unknown ca")


def test_end_entity_is_no_ca(certferry, settings, authority, devices, tmp_path):
    """A device that signs certificates with its own."""
    device = ClientAuthority(tmp_path / "device", "Sly Device", parent=devices)
    no_ca = x509.BasicConstraints(ca=False, path_length=None)
    device.own = device._sign(device.name, device.key.public_key(), no_ca, (), NOW - DAY, NOW + DAY, devices)
    detail = refused(certferry(settings), context(authority, device.certificate("x")), "client-certificate-invalid", "")
    assert "CA" in detail


def below(authority, directory, levels):
    """A CA `levels` below it."""
    for level in range(levels):
        authority = ClientAuthority(directory / f"below-{level}", f"CA {level}", parent=authority)
    return authority


def test_longest_chain(certferry, settings, authority, devices, tmp_path):
    proxy = certferry(settings)
    eighth = below(devices, tmp_path, 8)
    assert identity_of(proxy, context(authority, eighth.certificate("far"))) == "far"
    ninth = below(eighth, tmp_path / "more", 1)
    detail = refused(proxy, context(authority, ninth.certificate("x")), "client-certificate-invalid", "unknown ca")
    assert detail in ("certificate chain too long", "unable to get local issuer certificate")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_most_that_a_client_may_show(certferry, settings, authority, devices, issuing, version):
    """32 KiB; what stands there besides its own chain is of no use to us, nor any harm."""
    proxy = certferry(settings)
    device = issuing.certificate("device")
    useless = devices.certificate("useless").cert.read_bytes()
    octets = len(ssl.PEM_cert_to_DER_cert(useless.decode()))
    own = device.cert.read_bytes()
    device.cert.write_bytes(own + useless * (28 * 1024 // octets))
    assert identity_of(proxy, context(authority, device, version)) == "device"
    device.cert.write_bytes(own + useless * (33 * 1024 // octets))
    detail = refused(proxy, context(authority, device, version), "tls-handshake-failed", "")
    assert detail == "excessive message size"


# ---- CRLs ----


@pytest.fixture
def crl(tmp_path):
    """Writes CRLs into the file that tls.client.crl names."""
    path = tmp_path / "clients.crl"

    def write(*texts):
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(texts))
        fresh.rename(path)
        return path

    return write


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_revoked(certferry, settings, authority, devices, crl, version):
    good, bad = devices.certificate("good"), devices.certificate("bad")
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl(bad))})
    assert identity_of(proxy, context(authority, good, version)) == "good"
    detail = refused(proxy, context(authority, bad, version), "client-certificate-invalid", "certificate revoked")
    assert detail == "certificate revoked"


def test_crl_that_is_too_old_believes_nobody(certferry, settings, authority, devices, crl):
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl(end=NOW - DAY))})
    proxy.wait_event("warning: tls: a CRL, without which no client certificate is believed, has expired on")
    detail = refused(proxy, context(authority, devices.certificate("x")), "client-certificate-invalid", "")
    assert detail == "CRL has expired"


def test_every_ca_below_the_believed_one_needs_a_crl(certferry, settings, authority, devices, issuing, crl):
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl())})
    device = issuing.certificate("below")
    detail = refused(proxy, context(authority, device), "client-certificate-invalid", "unknown ca")
    assert detail == "unable to get certificate CRL"
    crl(issuing.crl())
    assert "is in force" in proxy.reload({})
    assert refused(proxy, context(authority, device), "client-certificate-invalid", "unknown ca") == detail
    crl(devices.crl(), issuing.crl())
    assert "is in force" in proxy.reload({})
    assert identity_of(proxy, context(authority, device)) == "below"


def test_crl_of_an_issuing_ca_alone(certferry, settings, authority, issuing, crl):
    """The CA that is believed needs none of the root above it."""
    bad, worse = issuing.certificate("bad"), issuing.certificate("worse")
    proxy = certferry(settings | {"tls.client.ca": issuing.cert, "tls.client.crl": crl(issuing.crl(bad))})
    refused(proxy, context(authority, bad), "client-certificate-invalid", "certificate revoked")
    with DoorClient(proxy, context(authority, issuing.certificate("good"))) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
        crl(issuing.crl(bad, worse))
        assert "is in force" in proxy.reload({})
        assert client.fetch("/healthz", "Host: a").status == 200  # nor when it is judged anew
    assert proxy.wait_log(lambda line: line["operation"] == "healthz")["identity"] == "good"


def test_crl_of_somebody_else_is_none(certferry, settings, authority, devices, tmp_path, crl):
    namesake = ClientAuthority(tmp_path / "namesake", "Device Root")
    proxy = certferry(settings | {"tls.client.crl": crl(namesake.crl())})
    refused(proxy, context(authority, devices.certificate("x")), "client-certificate-invalid", "")


def test_crl_that_changes_is_read_again(certferry, settings, authority, devices, crl):
    device = devices.certificate("device")
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl()), "tls.watch.interval": "100ms"})
    assert identity_of(proxy, context(authority, device)) == "device"
    crl(devices.crl(device))
    proxy.wait_event("renewed: the changed certificates")
    refused(proxy, context(authority, device), "client-certificate-invalid", "certificate revoked")


# ---- whom it is taken for ----

SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Plant, "7"'),
        x509.NameAttribute(NameOID.COMMON_NAME, "first"),
        x509.NameAttribute(NameOID.COMMON_NAME, "last"),
    ]
)
ALTERNATIVE = (
    x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    x509.RFC822Name("Device@plant.test"),
    x509.UniformResourceIdentifier("urn:dev:ops:32473-Sensor"),
    x509.DNSName("Sensor-7.Plant.test"),
    x509.DNSName("second.plant.test"),
)


@pytest.mark.parametrize(
    ("kind", "identity"),
    [
        ("subject", 'CN=last,CN=first,O=Plant\\, \\"7\\",C=DE'),
        ("cn", "last"),
        ("dns", "sensor-7.plant.test"),
        ("uri", "urn:dev:ops:32473-Sensor"),
        ("email", "Device@plant.test"),
    ],
)
def test_identity(certferry, settings, authority, devices, kind, identity):
    proxy = certferry(settings | {"tls.client.identity": kind})
    assert identity_of(proxy, context(authority, devices.certificate(SUBJECT, ALTERNATIVE))) == identity


def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.mark.parametrize("name", ["admin\0.evil", "sensör", "line\nbreak", "right\u202eleft"])
def test_names_that_could_be_taken_for_others_are_none(certferry, settings, authority, devices, name):
    assert identity_of(certferry(settings), context(authority, devices.certificate(named(name)))) == ""


def test_certificate_without_that_name(certferry, settings, authority, devices):
    proxy = certferry(settings | {"tls.client.identity": "dns"})
    assert identity_of(proxy, context(authority, devices.certificate("only-cn"))) == ""


# ---- what was believed once ----


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_identity_survives_a_ticket(certferry, settings, authority, issuing, version):
    proxy = certferry(settings)
    tls = context(authority, issuing.certificate("below"), version)
    _, session = resume(proxy, tls)
    assert identity_of(proxy, tls, session=session) == "below"
    label = "1.2" if version == TLS12 else "1.3"
    assert metric(proxy, f'tls_handshakes_total{{result="resumed",version="{label}"}}') == 1


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_ticket_does_not_outlive_the_crl(certferry, settings, authority, devices, crl, version):
    device = devices.certificate("device")
    tls = context(authority, device, version)
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl())})
    _, session = resume(proxy, tls)
    assert resume(proxy, tls, session)[0]
    crl(devices.crl(device))
    assert "is in force" in proxy.reload({})
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        resume(proxy, tls, session)
    proxy.wait_log(lambda line: line["outcome"] == "client-certificate-invalid")
    label = "1.2" if version == TLS12 else "1.3"
    assert metric(proxy, f'tls_handshakes_total{{result="resumed",version="{label}"}}') == 1


def test_ticket_does_not_outlive_the_ca(certferry, settings, authority, devices, tmp_path):
    tls = context(authority, devices.certificate("device"), TLS12)
    proxy = certferry(settings)
    _, session = resume(proxy, tls)
    other = ClientAuthority(tmp_path / "other", "Another Root")
    assert "is in force" in proxy.reload({"tls.client.ca": other.cert})
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        resume(proxy, tls, session)


def test_ticket_of_nobody_is_no_certificate(certferry, settings, authority):
    """One that was got while none was needed."""
    tls = context(authority, version=TLS12)
    proxy = certferry(settings | {"tls.client.auth": "optional"})
    _, session = resume(proxy, tls)
    assert "is in force" in proxy.reload({"tls.client.auth": "required"})
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        resume(proxy, tls, session)
    proxy.wait_log(lambda line: line["outcome"] == "client-certificate-missing")


def test_open_connection_is_judged_anew(certferry, settings, authority, devices, issuing, crl):
    """A CRL that comes every day must disturb nobody but those whom it names."""
    good, bad = issuing.certificate("good"), issuing.certificate("bad")
    lists = devices.crl()
    proxy = certferry(settings | {"tls.client.crl": crl(lists, issuing.crl())})
    with DoorClient(proxy, context(authority, good)) as first, DoorClient(proxy, context(authority, bad)) as second:
        for client in (first, second):
            assert client.fetch("/healthz", "Host: a").status == 200
        crl(lists, issuing.crl(bad))
        assert "is in force" in proxy.reload({})
        assert first.fetch("/healthz", "Host: a").status == 200
        answer = second.fetch("/healthz", "Host: a")
        assert answer.status == 403 and answer.closes()
        assert first.fetch("/healthz", "Host: a").status == 200
    line = proxy.wait_log(lambda line: line["outcome"] == "client-certificate-invalid")
    assert (line["identity"], line["detail"], line["status"]) == ("bad", "certificate revoked", 403)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_resumed_connection_is_judged_anew(certferry, settings, authority, devices, issuing, crl, version):
    """What a client has sent along in its whole handshake is known still, though a ticket has none of it."""
    revoked = issuing.certificate("bad")
    good, bad = (context(authority, each, version) for each in (issuing.certificate("good"), revoked))
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl(), issuing.crl())})
    sessions = [resume(proxy, tls)[1] for tls in (good, bad)]
    with DoorClient(proxy, good, session=sessions[0]) as first, DoorClient(proxy, bad, session=sessions[1]) as second:
        for client in (first, second):
            assert client.fetch("/healthz", "Host: a").status == 200
            assert client.sock.session_reused
        crl(devices.crl(), issuing.crl(revoked))
        assert "is in force" in proxy.reload({})
        assert first.fetch("/healthz", "Host: a").status == 200
        assert second.fetch("/healthz", "Host: a").status == 403
    assert proxy.wait_log(lambda line: line["status"] == 403)["detail"] == "certificate revoked"


def test_open_connection_is_named_anew(certferry, settings, authority, devices):
    """Roles that are written for other names must not meet the old one."""
    device = devices.certificate("sensor-1", [x509.DNSName("sensor-1.plant.test")])
    proxy = certferry(settings)
    tls = context(authority, device)
    with DoorClient(proxy, tls) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
        assert "is in force" in proxy.reload({"tls.client.identity": "dns"})
        assert client.fetch("/readyz", "Host: a").status == 200
        assert client.fetch("/healthz", "Host: a").status == 200
    proxy.wait_log(lambda _: len(proxy.log()) == 3)
    assert [line["identity"] for line in proxy.log()] == ["sensor-1", *["sensor-1.plant.test"] * 2]


def test_open_connection_without_a_certificate(certferry, settings, authority):
    proxy = certferry(settings | {"tls.client.auth": "optional"})
    with DoorClient(proxy, context(authority)) as client:
        assert client.fetch("/healthz", "Host: a").status == 200
        assert "is in force" in proxy.reload({"tls.client.auth": "required"})
        assert client.fetch("/healthz", "Host: a").status == 403


# ---- as real clients see it ----


def curl(home, proxy, authority, device=None):
    shown = ("--proxy-cert", device.cert, "--proxy-key", device.key) if device else ()
    door = ("--proxy", f"https://localhost:{proxy.doors['tls']}", "--proxy-cacert", authority.root.cert)
    return programs.run(home, "curl", "--disable", "-sS", *door, *shown, "http://elsewhere.test/")


def test_curl(certferry, settings, authority, devices, crl, home):
    good, bad = devices.certificate("good"), devices.certificate("bad")
    old = devices.certificate("old", start=NOW - 9 * DAY, end=NOW - DAY)
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl(bad))})
    done = curl(home, proxy, authority, good)
    assert b"host-denied" in done.stdout, programs.told(done)
    for device, words in ((None, "certificate required"), (bad, "certificate revoked"), (old, "certificate expired")):
        done = curl(home, proxy, authority, device)
        assert done.returncode == 56 and words in programs.told(done), programs.told(done)


def test_s_client(certferry, settings, authority, devices, crl, home):
    good, bad = devices.certificate("good"), devices.certificate("bad")
    proxy = certferry(settings | {"tls.client.crl": crl(devices.crl(bad))})

    def ask(device, *more):
        shown = ("-cert", device.cert, "-key", device.key) if device else ()
        where = ("-connect", f"127.0.0.1:{proxy.doors['tls']}", "-CAfile", authority.root.cert)
        request = b"GET /healthz HTTP/1.0\r\nHost: a\r\n\r\n"
        return programs.run(home, "openssl", "s_client", *where, *shown, *more, "-ign_eof", stdin=request)

    done = ask(good)
    assert b"HTTP/1.1 200" in done.stdout, programs.told(done)
    assert b"Acceptable client certificate CA names" in done.stdout and b"Device Root" in done.stdout
    assert b"certificate revoked" in ask(bad).stderr
    assert b"certificate revoked" in ask(bad, "-tls1_2").stderr
    assert b"certificate required" in ask(None).stderr
    assert b"handshake failure" in ask(None, "-tls1_2").stderr
