"""
Private keys of the TLS door in a TPM (swtpm) and in HSMs (SoftHSM, NSS): every form of key, every way in which it cannot
be used, a device that is lost and comes back, and one that stands still while the others go on.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import ssl
import statistics
import time

import pytest
from support import gateway, hsm, programs
from support.certferry import BINARY, PATIENCE, ROOT, NotReady
from support.client_pki import ClientAuthority
from support.est_server import EstServer
from support.origins import echo, pages
from support.raw_http import Client, metric
from support.tls_door import Answer, DoorClient, ask, client_hello, connect, context, handshake_error, read_some
from support.tpm import Tpm

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
# pkcs11-provider opens modules in a way (RTLD_DEEPBIND) that a build with sanitizers cannot bear.
RELEASE = os.environ.get("CERTFERRY_RELEASE_BINARY", str(ROOT / "build/release/certferry"))
# What is private lies where a service user could not go.
OURS = {"service.user": "root"}
KEYS_OF_A_DOOR = ("tls.cert", "tls.key", "tls.provider", "tls.pin.file")
# Of TLS 1.2, which a server answers with a signature at once.
HELLO = client_hello()


@pytest.fixture
def tpm(tmp_path):
    made = Tpm(tmp_path / "tpm")
    yield made
    made.close()


@pytest.fixture
def tls(authority):
    return context(authority)


def need_pkcs11():
    if not hsm.available():
        pytest.skip(hsm.MISSING)
    if not pathlib.Path(RELEASE).exists():
        pytest.skip("no release build: ./test makes one")


class Made:
    """A device's key as certferry is told of it. `trust`: of its clients; `variables`: of certferry."""

    def __init__(self, settings, certificate, place, trust, binary=BINARY, **variables):
        where = {"tls.listen": "127.0.0.1:0", "tls.cert": certificate, "tls.key": place}
        self.settings = OURS | where | settings
        self.certificate = certificate
        self.trust = trust
        self.binary = binary
        self.variables = variables


def of_tpm(authority, tpm, **how):
    certificate, place = tpm.make_key(authority, **how)
    more = {}
    if how.get("password"):
        pin = tpm.directory / "pin"
        pin.write_text(how["password"])
        pin.chmod(0o600)
        more = {"tls.pin.file": pin}
    return Made(tpm.settings | more, certificate, place, authority.root.cert)


def of_softhsm(authority, directory, kind="ec", in_file=False):
    need_pkcs11()
    token = hsm.SoftHsm(directory / "hsm")
    certificate, uri = token.make_key(authority, kind=kind)
    place = token.uri_in_a_file(uri) if in_file else uri
    needed = {"SOFTHSM2_CONF": token.variables["SOFTHSM2_CONF"]}  # and not what its tools take PINs from
    return Made(token.settings, certificate, place, authority.root.cert, RELEASE, **needed)


def of_nss(directory):
    need_pkcs11()
    token = hsm.NssToken(directory / "nss")
    return Made(token.settings, token.certificate, token.uri, token.certificate, RELEASE, **token.variables)


FORMS = {
    "tpm-file-ec": lambda authority, tpm, path: of_tpm(authority, tpm),
    "tpm-file-rsa": lambda authority, tpm, path: of_tpm(authority, tpm, kind="rsa"),
    "tpm-file-password": lambda authority, tpm, path: of_tpm(authority, tpm, password="barley"),
    "tpm-handle": lambda authority, tpm, path: of_tpm(authority, tpm, handle=True),
    "tpm-handle-password": lambda authority, tpm, path: of_tpm(authority, tpm, kind="rsa", handle=True, password="barley"),
    "softhsm-uri-ec": lambda authority, tpm, path: of_softhsm(authority, path),
    "softhsm-uri-rsa": lambda authority, tpm, path: of_softhsm(authority, path, kind="rsa"),
    "softhsm-uri-in-a-file": lambda authority, tpm, path: of_softhsm(authority, path, in_file=True),
    "nss-uri": lambda authority, tpm, path: of_nss(path),
}


@pytest.fixture
def start(certferry, enroll_settings):
    """Factory: start(made, settings) -> running Certferry with that key."""

    def run(made, settings=None):
        return certferry(enroll_settings | made.settings | (settings or {}), binary=made.binary, **made.variables)

    return run


def check_config(made, directory, settings=None):
    """certferry check-config of the same keys."""
    conf = directory / "checked"
    conf.mkdir()
    lines = made.settings | (settings or {})
    (conf / "webserver.properties").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    variables = programs.sanitizer_options(99) | {key: str(value) for key, value in made.variables.items()}
    return programs.run(directory, made.binary, "check-config", "--conf", conf, **variables)


def s_client(home, proxy, trust, *arguments):
    door = ("-connect", f"127.0.0.1:{proxy.doors['tls']}", "-servername", "localhost", "-verify_return_error")
    return programs.run(home, "openssl", "s_client", *door, "-CAfile", trust, *arguments)


def serves(proxy, tls):
    """A whole handshake and a page."""
    with DoorClient(proxy, tls) as client:
        return client.fetch("/healthz", "Host: a").status == 200


def serves_plain(proxy):
    with Client(proxy) as client:
        return client.fetch("/healthz", "Host: a").status == 200


def serves_again(proxy, tls):
    """The snapshot with the new key may be on its way to a worker still."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return serves(proxy, tls)
    return False


# ---- what works ----


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_keys(start, authority, request, tmp_path, http_origin, home, form):
    tpm = request.getfixturevalue("tpm") if form.startswith("tpm") else None
    made = FORMS[form](authority, tpm, tmp_path)
    checked = check_config(made, tmp_path)
    assert checked.returncode == 0, programs.told(checked)
    proxy = start(made)
    for version in ("-tls1_2", "-tls1_3"):
        done = s_client(home, proxy, made.trust, version)
        assert done.returncode == 0 and b"Verify return code: 0 (ok)" in done.stdout, programs.told(done)
    plain = http_origin(pages({"/page": b"plain"}))
    door = f"https://localhost:{proxy.doors['tls']}"
    url = f"http://ca.enroll.test:{plain.port}/page"
    done = programs.run(home, "curl", "--disable", "-sS", "--proxy", door, "--proxy-cacert", made.trust, url)
    assert done.stdout == b"plain", programs.told(done)
    assert proxy.wait_log(lambda line: line["method"] == "GET")["door"] == "tls"
    assert metric(proxy, "tls_thread_steps_total") >= 3
    proxy.stop()
    if tpm:
        assert not any(tpm.used_places()), "nothing of ours is left in the TPM"


def test_client_certificates(start, authority, tpm, tls, tmp_path):
    """They are looked at in software: a TPM has no room for the keys of strangers."""
    devices = ClientAuthority(tmp_path / "devices")
    below = ClientAuthority(tmp_path / "below", "Plant CA", devices)
    made = of_tpm(authority, tpm)
    proxy = start(made, {"tls.client.ca": devices.cert, "tls.client.identity": "cn"})
    for version in (TLS12, TLS13):
        for number in range(4):
            kind = "rsa" if number % 2 else "ec"
            shown = below.certificate(f"device-{number}", kind=kind)
            assert serves(proxy, context(authority, shown, version=version))
        assert handshake_error(proxy, context(authority, version=version))
    assert proxy.wait_log(lambda line: line.get("outcome") == "client-certificate-missing")
    assert serves(proxy, context(authority, below.certificate("last")))


def test_certificates_of_both_kinds(start, authority, tpm, home):
    """The client's algorithms choose."""
    ec, ec_place = tpm.make_key(authority, "ec")
    rsa, rsa_place = tpm.make_key(authority, "rsa", kind="rsa")
    made = Made(tpm.settings, f"{ec},{rsa}", f"{ec_place},{rsa_place}", authority.root.cert)
    proxy = start(made)
    for algorithm, bits in (("ECDSA+SHA256", 256), ("RSA-PSS+SHA256", 2048)):
        done = s_client(home, proxy, made.trust, "-sigalgs", algorithm)
        assert b"Server public key is %d bit" % bits in done.stdout, programs.told(done)


def test_reloads_keep_the_key(start, authority, tpm, tls):
    """Sessions hold their key as long as they live, and a TPM has three places."""
    proxy = start(of_tpm(authority, tpm))
    with contextlib.ExitStack() as stay:
        for _ in range(6):
            stay.enter_context(DoorClient(proxy, tls))
            assert "in force" in proxy.reload({})
        assert serves(proxy, tls)
    proxy.stop()
    assert not any(tpm.used_places())


def test_another_key_by_reload(start, authority, tpm, tls):
    certificate, place = tpm.make_key(authority, "second", kind="rsa")
    proxy = start(of_tpm(authority, tpm))
    with DoorClient(proxy, tls) as held:
        assert "in force" in proxy.reload({"tls.cert": certificate, "tls.key": place})
        with DoorClient(proxy, tls) as client:
            assert client.certificate() == ssl.PEM_cert_to_DER_cert(certificate.read_text())
        assert held.fetch("/healthz", "Host: a").status == 200


def test_pin_from_the_environment(start, authority, tpm, tls):
    made = of_tpm(authority, tpm, password="barley")
    del made.settings["tls.pin.file"]
    made.settings["tls.pin.env"] = "DOOR_PIN"
    made.variables = {"DOOR_PIN": "barley"}
    assert serves(start(made), tls)


@pytest.mark.parametrize("device", ["tpm", "hsm"])
def test_pin_is_in_no_command_line_and_no_log(start, authority, request, tls, tmp_path, device):
    """Whatever is wrong with keys and providers, and whatever their libraries say of it."""
    secret = "74691352"
    if device == "tpm":
        made = of_tpm(authority, request.getfixturevalue("tpm"), password=secret)
    else:
        made = of_softhsm(authority, tmp_path)
        secret = hsm.PIN
    proxy = start(made)
    assert serves(proxy, tls)
    process = pathlib.Path(f"/proc/{proxy.process.pid}")
    assert secret.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    conf = tmp_path / "slip.cnf"
    conf.write_text(f"[init]\npkcs11-module-token-pin {secret}\n")
    conf.chmod(0o640)
    (tmp_path / "long").write_text(secret + "9")
    (tmp_path / "long").chmod(0o600)
    changes = [
        {"tls.key": "handle:0x81017777" if device == "tpm" else "pkcs11:token=proxy;object=nothing"},
        {"tls.key": f"pkcs11:?pin-value={secret}"},
        {"tls.key": f"pkcs11:?PIN-VALUE={secret}"},
        {"tls.cert": f"pkcs11:?pin-value={secret}"},
        {"tls.provider.config": conf},
    ]
    if device == "tpm":  # at a token the process is logged in already, with whatever PIN
        changes.append({"tls.pin.file": tmp_path / "long"})
    for change in changes:
        before = {key: proxy.settings.get(key) for key in change}
        assert "refused" in proxy.reload(change), change
        proxy.settings |= before
    assert "in force" in proxy.reload({})
    assert serves(proxy, tls)
    with Client(proxy) as client:
        pages_of_ours = client.fetch("/", "Host: a").body + client.fetch("/metrics", "Host: a").body
    assert secret.encode() not in pages_of_ours
    assert secret not in "\n".join([*proxy.events(), *map(str, proxy.log())])


def test_one_wrong_pin_and_not_one_for_each_door(start, authority, tpm):
    """A token locks itself after a few."""
    made = pin_file(of_tpm(authority, tpm, password="barley"), "rye")
    there = {key.replace("tls.", "gateway.", 1): made.settings[key] for key in KEYS_OF_A_DOOR}
    est = {"gateway.listen": "127.0.0.1:0", "gateway.upstreams": "https://est.enroll.test"}
    with pytest.raises(NotReady) as refused:
        start(made, there | est | {"allowed.hosts": "est.enroll.test"})
    told = str(refused.value)
    assert re.search(r"tls\.key: .* is the PIN or password right", told), told
    assert re.search(r"gateway\.key: .* not tried, since a PIN was in vain just now", told), told


def test_gateway_with_keys_of_the_tpm_on_both_sides(certferry, enroll_settings, authority, tpm):
    """Our certificate for the devices, and the one that we show the EST server."""
    ours, our_place = tpm.make_key(authority, "ours", subject="gateway.test")
    shown, shown_place = tpm.make_key(authority, "shown", subject="gateway-1", handle=True)
    keys = {"gateway_tls": "on", "gateway_cert": ours, "gateway_key": our_place, "gateway_provider": "tpm2"}
    up = {"gateway_upstream_cert": shown, "gateway_upstream_key": shown_place, "gateway_upstream_provider": "tpm2"}
    with EstServer(authority, "est.enroll.test") as est:
        url = f"https://est.enroll.test:{est.port}"
        settings = gateway.settings(authority, url, tls_tpm_tcti=tpm.tcti, **keys, **up)
        proxy = certferry(enroll_settings | settings)
        for _ in range(2):
            with gateway.DoorClient(proxy, context=context(authority), name="gateway.test") as client:
                path = "/.well-known/est/simplereenroll"
                assert client.fetch(path, "Host: gateway.test", method="POST", body=b"csr").status in (200, 400, 403)
        assert int(metric(proxy, "upstream_tls_handshakes_total")) == 1
        assert int(metric(proxy, "upstream_tls_resumed_total")) == 1, "the device need not sign again"
    assert {seen.client_name for seen in est.seen} == {"commonName=gateway-1"}
    proxy.stop()
    assert not any(tpm.used_places())


# ---- what does not, in few words: test_keys_mistakes.py ----


def wrong(made, **settings):
    """The same with other settings, whose dots are written as underscores; None takes one out."""
    for key, value in settings.items():
        name = key.replace("_", ".")
        if value is None:
            made.settings.pop(name, None)
        else:
            made.settings[name] = value
    return made


def pin_file(made, text):
    pathlib.Path(made.settings["tls.pin.file"]).write_text(text)
    return made


def without_leak_checks(made):
    """tpm2-openssl 1.3.0 (Debian 13) loses 96 octets each time that it finds no TPM."""
    made.variables |= {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0"}
    return made


def test_reload_with_a_mistake_keeps_the_key(start, authority, tpm, tls):
    proxy = start(of_tpm(authority, tpm))
    assert "refused" in proxy.reload({"tls.key": "handle:0x81017777"})
    assert serves(proxy, tls)


# ---- a device that is lost ----


def test_tpm_lost_and_back(start, authority, tpm, tls):
    made = without_leak_checks(of_tpm(authority, tpm))
    proxy = start(made, {"tls.provider.retry": "200ms", "tls.provider.retry.max": "400ms"})
    with DoorClient(proxy, tls) as held:
        tpm.kill()
        assert handshake_error(proxy, tls), "the handshake in which it is found out"
        proxy.wait_event("the device of a TLS key is lost: its doors refuse handshakes")
        proxy.wait_log(lambda line: line["outcome"] == "tls-key-lost")
        answer = ask(proxy, HELLO)
        assert answer.alert == "internal_error", answer.octets
        assert serves_plain(proxy), "the other doors go on"
        assert held.fetch("/healthz", "Host: a").status == 200, "and so do sessions"
        proxy.wait_event("tls.provider.*tpm2 cannot be loaded")
        assert tpm.start()
        proxy.wait_event("the device of the TLS key is back")
        assert serves_again(proxy, tls)
        assert held.fetch("/healthz", "Host: a").status == 200
    assert metric(proxy, "tls_devices_lost_total") == 1
    assert len([line for line in proxy.events() if "is lost" in line]) == 1, "told once"


def test_tpm_lost_twice(start, authority, tpm, tls):
    made = without_leak_checks(of_tpm(authority, tpm))
    proxy = start(made, {"tls.provider.retry": "50ms", "tls.provider.retry.max": "100ms"})
    for _ in range(2):
        seen = len(proxy.events())
        tpm.kill()
        assert handshake_error(proxy, tls)
        proxy.wait_event("is lost", start=seen)
        assert tpm.start()
        proxy.wait_event("is back", start=seen)
        assert serves_again(proxy, tls)


def test_a_wrong_pin_is_not_tried_again(start, authority, tpm, tls):
    """A device counts wrong ones and locks itself: neither the lost device nor changed files cost it another."""
    made = without_leak_checks(of_tpm(authority, tpm, password="barley"))
    often = {"tls.provider.retry": "50ms", "tls.provider.retry.max": "50ms", "tls.watch.interval": "100ms"}
    proxy = start(made, often)
    pin_file(made, "rye")
    tpm.kill()
    assert handshake_error(proxy, tls)
    proxy.wait_event("tpm2 cannot be loaded")
    assert tpm.start()
    proxy.wait_event("not tried again until a reload")
    pathlib.Path(made.certificate).touch()
    proxy.wait_event("changed certificates not read")
    refused = [line for line in proxy.events() if "is the PIN or password right" in line]
    assert len(refused) == 1, refused
    seen = len(proxy.events())
    tpm.kill()  # a reload that finds nobody to give a PIN to: from here on all is as before
    assert "refused" in proxy.reload({})
    pin_file(made, "barley")
    assert tpm.start()
    proxy.wait_event("is back", start=seen)
    assert serves_again(proxy, tls)


@pytest.fixture
def network_hsm(tmp_path):
    need_pkcs11()
    made = hsm.NetworkHsm(tmp_path / "hsm")
    yield made
    made.close()


def test_network_hsm_lost_and_back(start, authority, network_hsm, tls):
    certificate, uri = network_hsm.make_key(authority)
    network_hsm.start()
    made = Made(network_hsm.settings, certificate, uri, authority.root.cert, RELEASE, **network_hsm.client)
    proxy = start(made, {"tls.provider.retry": "100ms", "tls.provider.retry.max": "200ms"})
    assert serves(proxy, tls)
    network_hsm.kill()
    assert handshake_error(proxy, tls)
    proxy.wait_event("the device of a TLS key is lost")
    proxy.wait_log(lambda line: line["outcome"] == "tls-key-lost")
    assert serves_plain(proxy)
    network_hsm.start()
    proxy.wait_event("the device of the TLS key is back")
    assert serves_again(proxy, tls)


# ---- a device that stands still ----


def latency_of(proxy, count):
    """Seconds for a GET through the proxy's other door, each on a connection of its own."""
    took = []
    while len(took) < count:
        begun = time.monotonic()
        assert serves_plain(proxy)
        took.append(time.monotonic() - begun)
    return took


def try_handshake(proxy, tls):
    try:
        with DoorClient(proxy, tls):
            return True
    except (OSError, ssl.SSLError):
        return False


def wait_until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# As many as the queue holds, so that none is refused while the TPM signs.
HANDSHAKES, AT_ONCE, QUEUE = 1000, 16, 16


def fill_queue(proxy, stay):
    """Clients that say their first word, one after the other, until one is refused; their number."""
    for number in range(4 * QUEUE):
        sock = stay.enter_context(connect(proxy))
        sock.sendall(HELLO)
        sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            answer = Answer(read_some(sock, 7))
            assert answer.alert == "internal_error", answer.octets
            return number
    raise AssertionError("nobody was refused")


def test_a_thousand_handshakes_with_the_tpm_stopped_in_the_middle(start, authority, tpm, tls):
    proxy = start(of_tpm(authority, tpm), {"tls.handshake.queue": QUEUE, "timeout.tls.handshake": "60s"})
    assert serves(proxy, tls)
    latency_of(proxy, 20)  # warm
    quiet = statistics.median(latency_of(proxy, 200))
    before = proxy.descriptors()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as clients, contextlib.ExitStack() as stay:
        asked = [clients.submit(try_handshake, proxy, tls) for _ in range(HANDSHAKES)]
        while sum(future.done() for future in asked) < HANDSHAKES // 2:
            time.sleep(0.005)
        tpm.pause()
        wait_until(lambda: metric(proxy, "tls_thread_queued") >= AT_ONCE // 2)
        assert fill_queue(proxy, stay) <= QUEUE
        stopped = statistics.median(latency_of(proxy, 200))
        queued = metric(proxy, "tls_thread_queued")
        assert not all(future.done() for future in asked)
        tpm.resume()
        results = [future.result(PATIENCE * 3) for future in asked]
    assert QUEUE <= queued <= QUEUE + AT_ONCE, "and those that had begun"
    refused = metric(proxy, "tls_thread_refused_total")
    assert refused >= 1
    proxy.wait_log(lambda line: line["outcome"] == "handshake-queue-full")
    print(f"median GET through the other door: quiet {quiet * 1e3:.2f} ms, TPM stopped {stopped * 1e3:.2f} ms")
    # Generous: the machine may be busy, and the clients of the queue have ended meanwhile.
    assert stopped < 5 * quiet + 0.02, (quiet, stopped)
    assert results.count(False) <= refused, "those that came to a full queue, and no others"
    assert results.count(True) >= HANDSHAKES // 4
    assert serves(proxy, tls)
    wait_until(lambda: proxy.descriptors() <= before)
    assert metric(proxy, "tls_thread_queued") == 0


def test_tunnels_go_on_while_the_tpm_stands_still(start, authority, tpm, tls, origin):
    """Through the door itself, once they are there."""
    server = origin(echo)
    proxy = start(of_tpm(authority, tpm), {"tunnel.sni": "off", "tls.ticket.lifetime": "0ms"})
    with DoorClient(proxy, tls) as client:
        assert client.tunnel("ca.enroll.test", server.port).status == 200
        tpm.pause()
        with connect(proxy) as waiting:
            waiting.sendall(HELLO)
            for number in range(20):
                client.send(b"%d" % number)
                assert client.recv() == b"%d" % number
    tpm.resume()


def test_clients_leave_while_the_tpm_stands_still(start, authority, tpm, tls):
    """The handshake that the thread has is given up, its descriptor closed once the TPM has answered."""
    proxy = start(of_tpm(authority, tpm))
    assert serves(proxy, tls)
    wait_until(lambda: metric(proxy, "client_connections_closed_total") >= 1)
    before = proxy.descriptors()
    tpm.pause()
    for _ in range(5):
        with connect(proxy) as client:
            client.sendall(HELLO)
    wait_until(lambda: metric(proxy, "tls_thread_given_up_total") >= 4)
    assert serves_plain(proxy)
    tpm.resume()
    assert serves(proxy, tls)
    wait_until(lambda: proxy.descriptors() <= before)


def test_handshake_times_out_while_the_tpm_stands_still(start, authority, tpm, tls):
    proxy = start(of_tpm(authority, tpm), {"timeout.tls.handshake": "200ms"})
    assert serves(proxy, tls)
    tpm.pause()
    assert handshake_error(proxy, tls)
    proxy.wait_log(lambda line: line["outcome"] == "tls-handshake-timeout")
    assert metric(proxy, "tls_thread_given_up_total") >= 1
    tpm.resume()
    assert serves(proxy, tls)


def test_end_while_the_tpm_stands_still(start, authority, tpm, tls):
    """Nobody waits for it: exit status 0 all the same."""
    proxy = start(of_tpm(authority, tpm))
    tpm.pause()
    with connect(proxy) as client:
        client.sendall(HELLO)
        with connect(proxy) as second:  # behind the one that the thread has
            second.sendall(HELLO)
            wait_until(lambda: metric(proxy, "tls_thread_queued") == 1)
        assert proxy.stop() == 0


def test_start_while_the_tpm_stands_still(start, authority, tpm, tmp_path):
    made = of_tpm(authority, tpm)
    made.settings["tls.provider.timeout"] = "300ms"
    tpm.pause()
    with pytest.raises(NotReady) as refused:
        start(made)
    assert refused.value.status == 1
    assert "the device has not answered within 300 ms" in str(refused.value)
