"""The roster as PvD and PAC, of many kinds of rosters: judged by a validator, a PAC engine and another JWS library."""

import copy
import datetime
import json
import time

import pacparser
import pytest
from cryptography.exceptions import InvalidSignature
from support import jws, programs, pvd_validator
from support.certferry import BINARY, PATIENCE
from support.daemons import unused_port
from support.etcd import Etcd
from support.pki import openssl
from support.raw_http import Client

PVD = "/.well-known/pvd"


def fetch(proxy, path, *fields, method="GET"):
    with Client(proxy) as client:
        return client.fetch(path, "Host: a", *fields, method=method)


def pvd(proxy):
    """The parsed document, which breaks no rule."""
    answer = fetch(proxy, PVD)
    assert answer.status == 200
    return pvd_validator.validate(answer.body, answer.header("Content-Type"))


def until(look, pleases):
    """What look() gives once it pleases; each look is a request of its own."""
    deadline = time.monotonic() + PATIENCE
    while not pleases(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def states(root):
    return {member["identifier"]: member["state"] for member in root["vendor-certferry"]["members"]}


# ---- the validator itself ----

MEMBER = {"zone": "", "state": "up", "priority": 1, "weight": 100, "started": 0}
NOW = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.timezone.utc)


def good_document():
    return {
        "identifier": "px1.example",
        "expires": "2026-11-20T12:10:00Z",
        "prefixes": [],
        "proxies": [
            {"protocol": "http-connect", "proxy": "px1.example:48999", "identifier": "a"},
            {"protocol": "https-connect", "proxy": "[2001:db8::1]:443", "identifier": "b"},
        ],
        "proxy-match": [{"domains": ["*.digicert.com"], "ports": ["443", "8080-8090"], "proxies": ["a", "b"]}],
        "vendor-certferry": {
            "version": "0.1.0",
            "members": [
                MEMBER | {"identifier": "a", "self": True, "load": 300, "version": "0.1.0"},
                MEMBER | {"identifier": "b", "self": False, "state": "down"},
            ],
        },
    }


def put(path, value):
    """A change of the good document at a path of names and numbers; a value of None takes it out."""

    def change(root):
        *outer, last = path
        for step in outer:
            root = root[step]
        if value is None:
            del root[last]
        else:
            root[last] = value

    return change


MEMBERS = ("vendor-certferry", "members")


def add_door(root, place="px1.example:48998", at=2):
    root["proxies"].insert(at, {"protocol": "https-connect", "proxy": place, "identifier": "door"})
    root["proxy-match"][0]["proxies"].insert(at, "door")


def with_door(root):
    """The first member speaks TLS too."""
    root["vendor-certferry"]["members"][0]["tls_port"] = 48998
    add_door(root)


BROKEN = {
    "a door that is missing": put([*MEMBERS, 0, "tls_port"], 48998),
    "a door that nobody tells of": add_door,
    "a door before the members": lambda root: (with_door(root), root["proxies"].insert(0, root["proxies"].pop())),
    "a door of a door": put([*MEMBERS, 1, "tls_port"], 48998),
    "a port of TLS that is none": put([*MEMBERS, 0, "tls_port"], 0),
    "no identifier": put(["identifier"], None),
    "identifier is no host": put(["identifier"], "px1/x"),
    "expired": put(["expires"], "2026-11-20T11:59:59Z"),
    "expires as a number": put(["expires"], 1795176600),
    "a prefix": put(["prefixes"], ["2001:db8::/32"]),
    "private data at the root": put(["zone"], "plant7"),
    "vendor data that is no dictionary": put(["vendor-x"], 1),
    "no proxies": put(["proxies"], None),
    "no protocol": put(["proxies", 0, "protocol"], None),
    "an unknown protocol": put(["proxies", 0, "protocol"], "http"),
    "no port": put(["proxies", 0, "proxy"], "px1.example"),
    "an address without brackets": put(["proxies", 1, "proxy"], "2001:db8::1:443"),
    "an entry without identifier": put(["proxies", 0, "identifier"], None),
    "a private key without underscore": put(["proxies", 0, "weight"], 1),
    "mandatory and absent": put(["proxies", 0, "mandatory"], ["alpn"]),
    "the old name of rules": put(["proxyMatch"], []),
    "an unknown key in a rule": put(["proxy-match", 0, "zone"], "x"),
    "a port as a number": put(["proxy-match", 0, "ports"], [443]),
    "no domain at all": put(["proxy-match", 0, "domains"], []),
    "a star inside": put(["proxy-match", 0, "domains"], ["a.*.com"]),
    "an address among the names": put(["proxy-match", 0, "domains"], ["192.0.2.1"]),
    "a network with host bits": put(["proxy-match", 0, "subnets"], ["192.0.2.1/24"]),
    "an unknown identifier": put(["proxy-match", 0, "proxies"], ["a", "b", "c"]),
    "an identifier that no rule names": put(["proxy-match", 0, "proxies"], ["a"]),
    "another order": put(["proxy-match", 0, "proxies"], ["b", "a"]),
    "a member that is not described": put([*MEMBERS, 1], None),
    "a load between the steps": put([*MEMBERS, 0, "load"], 305),
    "an unknown state": put([*MEMBERS, 0, "state"], "dead"),
    "a down one first": put([*MEMBERS, 0, "state"], "down"),
    "a draining one that is offered": put([*MEMBERS, 1, "state"], "draining"),
    "nobody answers": put([*MEMBERS, 0, "self"], False),
    "an escape in a version": put([*MEMBERS, 0, "version"], "\x1b[2J"),
}


def test_validator_takes_the_good_document():
    root = good_document()
    pvd_validator.validate(json.dumps(root).encode(), now=NOW)
    with_door(root)
    pvd_validator.validate(json.dumps(root).encode(), now=NOW)


@pytest.mark.parametrize("what", BROKEN)
def test_validator_refuses(what):
    root = copy.deepcopy(good_document())
    change = BROKEN[what]
    change(root)
    if what == "a down one first":
        root["vendor-certferry"]["members"][1]["state"] = "up"
    with pytest.raises(pvd_validator.Invalid):
        pvd_validator.validate(json.dumps(root).encode(), now=NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":1,"a":1}', b"\xff", b'{"identifier":NaN}'])
def test_validator_refuses_octets(body):
    with pytest.raises(pvd_validator.Invalid):
        pvd_validator.validate(body, now=NOW)


# ---- rosters of all kinds ----

PEERS = ",".join(f"http://px{number}.plant7.example:48999" for number in range(2, 202))
ROSTERS = {
    "alone": {},
    "an address": {"advertise.host": "192.0.2.1"},
    "an IPv6 address": {"advertise.host": "[2001:db8::1]"},
    "a zone of any text": {"zone": 'Wörk "7" \\ ;</script>', "peers": "http://px2.example:48999"},
    "TLS to the proxy": {"peers": "https://px2.example:443,https://[2001:db8::2]:443,http://px3.example:1"},
    "two hundred peers": {"peers": PEERS},
    "nothing is allowed": {"allowed.domains": "", "peers": "http://px2.example:48999"},
    "no ports": {"allowed.connect.ports": "", "allowed.http.ports": ""},
    "names and addresses": {
        "allowed.domains": "digicert.com,globalsign.com",
        "allowed.hosts": "ca.example,192.0.2.7,[2001:db8::7]",
        "allowed.connect.ports": "443,8443-8450",
        "allowed.http.ports": "80,8445-8460,443",
    },
    "signed documents": {"document.sign.key": "es256.pem"},
}


def signed_with(key, certificates=None):
    """The file lies where a service user could not go."""
    settings = {"document.sign.key": key, "service.user": "root"}
    return settings | ({"document.sign.cert": certificates} if certificates else {})


def make_key(home, kind):
    options = {
        "es256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "rs256": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        "eddsa": ["-algorithm", "ED25519"],
    }
    key = home / f"{kind}.pem"
    openssl(home, "genpkey", *options[kind], "-out", key)
    key.chmod(0o600)
    openssl(home, "pkey", "-in", key, "-pubout", "-out", home / f"{kind}.pub")
    return key


@pytest.mark.parametrize("kind", ROSTERS)
def test_rosters_of_all_kinds(certferry, enroll_settings, home, kind):
    settings = enroll_settings | {"advertise.host": "px1.plant7.example"} | ROSTERS[kind]
    if "document.sign.key" in settings:
        settings |= signed_with(make_key(home, "es256"))
    proxy = certferry(settings)
    root = pvd(proxy)
    count = len([peer for peer in settings.get("peers", "").split(",") if peer]) + 1
    assert len(root["proxies"]) == count
    allowed = bool(settings["allowed.domains"] and settings["allowed.connect.ports"])
    assert bool(root["proxy-match"]) == allowed
    script = fetch(proxy, "/proxy.pac").body
    assert script.isascii() and b"</script>" not in script
    with pac(script) as ask:
        assert ask("http://not.allowed.test/") == "DIRECT"


def test_destinations_of_the_document(certferry, enroll_settings):
    """What a client that follows the draft sends our way is what the policy lets through."""
    root = pvd(certferry(enroll_settings | ROSTERS["names and addresses"]))
    ours = [root["proxies"][0]["proxy"]]
    for host, port in [
        ("digicert.com", 443),
        ("a.b.DigiCert.com.", 80),
        ("ca.example", 8450),
        ("192.0.2.7", 443),
        ("2001:db8::7", 8460),
    ]:
        assert pvd_validator.proxies_for(root, host, port) == ours, (host, port)
    for host, port in [
        ("digicert.com", 8461),
        ("evildigicert.com", 443),
        ("below.ca.example", 443),
        ("192.0.2.8", 443),
        ("2001:db8::8", 443),
        ("example", 443),
    ]:
        assert pvd_validator.proxies_for(root, host, port) == [], (host, port)


def test_dead_peers_stand_last(certferry, enroll_settings):
    """They are told of, as down: only we may be cut off from them."""
    alive = certferry(enroll_settings)
    dead = unused_port()
    proxy = certferry(
        enroll_settings
        | {
            "peers": f"http://127.0.0.1:{dead},http://127.0.0.1:{alive.port}",
            "advertise.host": "localhost",
            "probe.interval": "100ms",
            "probe.fall": "1",
            "probe.rise": "1",
        }
    )
    wanted = {f"http://127.0.0.1:{dead}": "down", f"http://127.0.0.1:{alive.port}": "up"}
    root = until(lambda: pvd(proxy), lambda root: wanted.items() <= states(root).items())
    assert root["proxies"][-1]["proxy"] == f"127.0.0.1:{dead}"
    with pac(fetch(proxy, "/proxy.pac").body) as ask:
        assert ask("https://ca.enroll.test/").endswith(f"; PROXY 127.0.0.1:{dead}")


def test_draining_peers_are_not_offered(certferry, enroll_settings):
    """It is still told of in our own data, so that agents know what became of it."""
    leaving = certferry(enroll_settings | {"drain.notice": "20s", "peers": f"http://127.0.0.1:{unused_port()}"})
    proxy = certferry(
        enroll_settings
        | {
            "peers": f"http://127.0.0.1:{leaving.port}",
            "advertise.host": "localhost",
            "probe.interval": "100ms",
            "probe.rise": "1",
        }
    )
    place = f"http://127.0.0.1:{leaving.port}"
    until(lambda: states(pvd(proxy)).get(place), lambda state: state == "up")
    leaving.terminate()
    root = until(lambda: pvd(proxy), lambda root: states(root).get(place) == "draining")
    assert [entry["proxy"] for entry in root["proxies"]] == [f"localhost:{proxy.port}"]
    with pac(fetch(proxy, "/proxy.pac").body) as ask:
        assert ask("https://ca.enroll.test/") == f"PROXY localhost:{proxy.port}"
    # Its own document says so too, and sends its clients elsewhere.
    own = pvd(leaving)
    assert [member["state"] for member in own["vendor-certferry"]["members"] if member["self"]] == ["draining"]
    leaving.terminate()  # the second signal: nothing is waited for
    assert leaving.wait() == 0


def test_roster_of_etcd(certferry, enroll_settings, tmp_path):
    """Three that find each other there tell of each other with zone, priority, load and version; near ones first."""
    with Etcd(tmp_path / "etcd") as etcd:
        common = {"advertise.host": "127.0.0.1", "etcd.endpoints": etcd.url, "probe.interval": "100ms", "probe.rise": "1"}
        zones = ["plant7", "plant8", "plant7"]
        proxies = [certferry(enroll_settings | common | {"zone": zone}) for zone in zones]

        def settled(root):
            members = root["vendor-certferry"]["members"]
            told = all(member.get("version") and member["started"] and "load" in member for member in members)
            return told and list(states(root).values()) == ["up"] * 3

        for proxy, zone in zip(proxies, zones, strict=True):
            root = until(lambda proxy=proxy: pvd(proxy), settled)
            members = {member["identifier"]: member for member in root["vendor-certferry"]["members"]}
            near = [members[entry["identifier"]]["zone"] == zone for entry in root["proxies"]]
            assert near == sorted(near, reverse=True) and len(near) == 3


def tls_listener(authority):
    """Settings of a https-connect port; only root may search the directory of its certificate."""
    made = authority.server("localhost", "127.0.0.1")
    listens = {"tls.listen": "127.0.0.1:0", "tls.cert": made.cert, "tls.key": made.key, "service.user": "root"}
    return listens | {"advertise.host": "localhost"}


def offered(root):
    return [(entry["protocol"], entry["proxy"], entry["identifier"]) for entry in root["proxies"]]


def test_our_tls_port_is_a_proxy_of_its_own(certferry, enroll_settings, authority, home):
    """The standard's clients may use either; PAC and the agent, who cannot verify it, are not sent there."""
    proxy = certferry(enroll_settings | tls_listener(authority))
    plain, tls = f"localhost:{proxy.port}", f"localhost:{proxy.doors['tls']}"
    wanted = [("http-connect", plain, f"http://{plain}"), ("https-connect", tls, f"https://{tls}")]
    root = pvd(proxy)
    assert offered(root) == wanted
    assert pvd_validator.proxies_for(root, "ca.enroll.test", 443) == [plain, tls]
    with pac(fetch(proxy, "/proxy.pac").body) as ask:
        assert ask("https://ca.enroll.test/") == f"PROXY {plain}"
    done = programs.run(home, BINARY, "peers", "--format", "json", proxy.url)
    assert done.returncode == 0, programs.told(done)
    (member,) = json.loads(done.stdout)["members"]
    assert (member["url"], member["tls_port"]) == (f"http://{plain}", proxy.doors["tls"])
    # peers= may name us, by that port too.
    proxy.reload({"peers": f"https://{tls},http://{plain},https://px2.example:443"})
    root = until(lambda: pvd(proxy), lambda root: len(root["proxies"]) > 2)
    assert offered(root)[0] == wanted[0] and offered(root)[-1] == wanted[1] and len(root["proxies"]) == 3


def test_tls_ports_of_peers_in_etcd(certferry, enroll_settings, authority, tmp_path):
    with Etcd(tmp_path / "etcd") as etcd:
        common = {"etcd.endpoints": etcd.url, "probe.interval": "100ms", "probe.rise": "1"}
        both = certferry(enroll_settings | common | tls_listener(authority))
        plain = certferry(enroll_settings | common | {"advertise.host": "127.0.0.1"})
        for proxy in (both, plain):
            root = until(lambda proxy=proxy: pvd(proxy), lambda root: len(root["proxies"]) == 3)
            assert offered(root)[-1][:2] == ("https-connect", f"localhost:{both.doors['tls']}")
            assert len(root["vendor-certferry"]["members"]) == 2
        # And off again: what it says itself counts.
        both.stop()
        until(lambda: pvd(plain), lambda root: len(root["proxies"]) == 1)


def test_roster_of_dns(certferry, enroll_settings, dns):
    service = "_certferry._tcp.enroll.test"
    dns.services[service] = [(10, 60, 48999, "px2.enroll.test"), (20, 0, 8080, "px3.enroll.test")]
    settings = {"advertise.host": "px1.enroll.test", "roster.dns": service, "probe.interval": "1h"}
    proxy = certferry(enroll_settings | settings)
    root = until(lambda: pvd(proxy), lambda root: len(root["proxies"]) == 3)
    assert [entry["proxy"] for entry in root["proxies"][1:]] == ["px2.enroll.test:48999", "px3.enroll.test:8080"]


# ---- PAC ----


class pac:
    """The script in a real PAC engine: with pac(script) as ask: ask(url)."""

    def __init__(self, script):
        self.script = script.decode("ascii")

    def __enter__(self):
        pacparser.init()
        pacparser.parse_pac_string(self.script)
        return self.ask

    def ask(self, url, host=None):
        if host is None:
            host = url.partition("://")[2].partition("/")[0]
            host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return pacparser.find_proxy(url, host)

    def __exit__(self, *_):
        pacparser.cleanup()


def test_pac_engine(certferry, enroll_settings):
    proxy = certferry(
        enroll_settings
        | {
            "advertise.host": "px1.plant7.example",
            "zone": "plant7",
            "peers": "https://px2.plant7.example:443,http://[2001:db8::3]:48999",
            "allowed.domains": "digicert.com,xn--bcher-kva.example",
            "allowed.hosts": "constructor,ca.example,192.0.2.7,[2001:db8::7]",
        }
    )
    ours = f"PROXY px1.plant7.example:{proxy.port}; HTTPS px2.plant7.example:443; PROXY [2001:db8::3]:48999"
    expected = {
        "https://digicert.com/": ours,
        "http://crl.DigiCert.com./x": ours,
        "https://a.b.c.digicert.com:8443/": ours,
        "https://bücher.example/": "DIRECT",  # engines give A-labels
        "https://www.xn--bcher-kva.example/": ours,
        "https://ca.example/": ours,
        "https://192.0.2.7/": ours,
        "https://[2001:db8::7]/": ours,
        "https://[2001:db8::8]/": "DIRECT",
        "https://constructor/": ours,
        "https://hasOwnProperty/": "DIRECT",
        "https://__proto__/": "DIRECT",
        "https://toString.example/": "DIRECT",
        "https://below.ca.example/": "DIRECT",
        "https://evildigicert.com/": "DIRECT",
        "https://digicert.com.evil.example/": "DIRECT",
        "https://com/": "DIRECT",
        "https://192.0.2.8/": "DIRECT",
        "ftp://digicert.com/": "DIRECT",
        "wss://digicert.com/": ours,
    }
    with pac(fetch(proxy, "/proxy.pac").body) as ask:
        assert {url: ask(url) for url in expected} == expected
        # Some engines leave the brackets on.
        assert ask("https://[2001:db8::7]/", "[2001:db8::7]") == ours


def seconds_each(script, urls):
    """Processor time of one question, the best of some rounds."""
    best = []
    with pac(script) as ask:
        for _ in range(5):
            begun = time.process_time()
            for url in urls:
                ask(url)
            best.append((time.process_time() - begun) / len(urls))
    return min(best)


def test_pac_of_ten_thousand_domains(certferry, enroll_settings):
    """A question costs about the same however many names there are, and the file stays below Chrome's megabyte."""
    names = [f"site{number}.enroll-{number % 97}.example" for number in range(10000)]
    small, large = certferry(enroll_settings), certferry(enroll_settings | {"allowed.domains": ",".join(names)})
    few, many = fetch(small, "/proxy.pac").body, fetch(large, "/proxy.pac").body
    assert len(many) < 1_000_000
    with pac(many) as ask:
        assert ask(f"https://ca.{names[-1]}/") == ask(f"https://{names[0]}/") != "DIRECT"
        assert ask("https://enroll-7.example/") == "DIRECT"
    assert len(pvd(large)["proxy-match"][0]["domains"]) == len(names)
    urls = [f"https://a.b.c.d.e.f.host{number}.test/" for number in range(500)]
    assert seconds_each(many, urls) < 10 * seconds_each(few, urls) + 0.0001


# ---- the same document, or a new one ----


def test_etag_is_that_of_all_workers(certferry, enroll_settings, home):
    """Signed or not: the signature is no part of what is compared."""
    settings = {"threads": "4", "roster.ttl": "1d"} | signed_with(make_key(home, "es256"))
    proxy = certferry(enroll_settings | settings)
    answers = [fetch(proxy, PVD) for _ in range(24)]
    assert len({answer.header("ETag") for answer in answers}) == 1
    assert len({answer.body for answer in answers}) == 1
    etag = answers[0].header("ETag")
    same = fetch(proxy, PVD, f"If-None-Match: {etag}")
    assert same.status == 304 and same.header("ETag") == etag and same.header("Certferry-Signature") is None
    head = fetch(proxy, PVD, method="HEAD")
    assert head.header("ETag") == etag and head.header("Certferry-Signature")
    assert fetch(proxy, "/proxy.pac").header("Certferry-Signature") is None


def test_expires_lies_a_whole_ttl_ahead(certferry, enroll_settings):
    """It moves on in steps of a quarter, so that the ETag stays for a while; max-age ends with the step."""
    proxy = certferry(enroll_settings | {"roster.ttl": "1h"})
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    answer = fetch(proxy, PVD)
    after = datetime.datetime.now(datetime.timezone.utc)
    expires = datetime.datetime.fromisoformat(json.loads(answer.body)["expires"].replace("Z", "+00:00"))
    hour, step = datetime.timedelta(hours=1), datetime.timedelta(minutes=15)
    assert before + hour <= expires <= after + hour + step
    assert expires.timestamp() % step.total_seconds() == 0
    assert 0 < int(answer.header("Cache-Control").removeprefix("max-age=")) <= step.total_seconds()


# ---- signatures ----


@pytest.mark.parametrize("kind", ["es256", "rs256", "eddsa"])
def test_signature(certferry, enroll_settings, home, kind):
    proxy = certferry(enroll_settings | signed_with(make_key(home, kind)))
    answer = fetch(proxy, PVD)
    field, key = answer.header("Certferry-Signature"), jws.public_key(home / f"{kind}.pub")
    header = jws.verify(field, answer.body, key)
    assert header["typ"] == "pvd+json" and set(header) == {"alg", "typ", "kid"}
    spki = openssl(home, "pkey", "-pubin", "-in", home / f"{kind}.pub", "-outform", "DER")
    assert jws.decode(header["kid"]) == openssl(home, "dgst", "-sha256", "-binary", stdin=spki)
    with pytest.raises(InvalidSignature):
        jws.verify(field, answer.body + b" ", key)


def test_signature_with_its_certificates(certferry, enroll_settings, authority):
    made = authority.server("px1.enroll.test")
    made.key.chmod(0o600)
    chain = made.cert.parent / "chain.pem"
    chain.write_text(made.cert.read_text() + authority.root.cert.read_text())
    proxy = certferry(enroll_settings | signed_with(made.key, chain))
    answer = fetch(proxy, PVD)
    header, _, _ = jws.read(answer.header("Certferry-Signature"))
    certificates = jws.chain_of(header)
    assert len(certificates) == 2
    jws.verify(answer.header("Certferry-Signature"), answer.body, certificates[0].public_key())
    assert certificates[0].issuer == certificates[1].subject


def test_key_changes_with_a_reload(certferry, enroll_settings, home):
    proxy = certferry(enroll_settings | {"service.user": "root"})
    assert fetch(proxy, PVD).header("Certferry-Signature") is None
    assert "reloaded" in proxy.reload(signed_with(make_key(home, "eddsa")))
    answer = until(lambda: fetch(proxy, PVD), lambda answer: answer.header("Certferry-Signature"))
    jws.verify(answer.header("Certferry-Signature"), answer.body, jws.public_key(home / "eddsa.pub"))
    (home / "eddsa.pem").write_text("no key")
    before = len(proxy.events())
    assert "reload refused" in proxy.reload({})
    assert any("holds no private key in PEM" in line for line in proxy.events()[before:])
    assert fetch(proxy, PVD).header("Certferry-Signature"), "the old configuration is in force"


def check_config(home, settings):
    (home / "conf").mkdir(exist_ok=True)
    (home / "conf/failover.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    for name in ("webserver", "useproxy"):
        (home / f"conf/{name}.properties").touch()
    done = programs.run(home, BINARY, "check-config", "--conf", home / "conf")
    return done.returncode, programs.told(done)


def test_keys_that_check_config_refuses(home, authority):
    key = make_key(home, "es256")
    other = authority.server("px9.enroll.test")
    other.key.chmod(0o600)
    encrypted = home / "encrypted.pem"
    openssl(home, "pkey", "-in", key, "-aes-128-cbc", "-passout", "pass:secret", "-out", encrypted)
    p384, readable = home / "p384.pem", home / "readable.pem"
    openssl(home, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", p384)
    readable.write_bytes(key.read_bytes())
    for path in (encrypted, p384):
        path.chmod(0o600)
    readable.chmod(0o644)
    status, _ = check_config(home, {"document.sign.key": key})
    assert status == 0
    status, _ = check_config(home, {"document.sign.key": other.key, "document.sign.cert": other.cert})
    assert status == 0
    for settings, words in [
        ({"document.sign.key": readable}, "everybody can read it, and it holds secrets; chmod o-r"),
        ({"document.sign.key": encrypted}, "is encrypted; take its pass phrase off with openssl pkey"),
        ({"document.sign.key": p384}, "has an elliptic curve other than P-256"),
        ({"document.sign.key": home / "none.pem"}, "No such file"),
        ({"document.sign.key": home}, "is no regular file"),
        ({"document.sign.cert": other.cert}, "without document.sign.key"),
        ({"document.sign.key": key, "document.sign.cert": other.cert}, "does not begin with the certificate of the key"),
        ({"document.sign.key": key, "document.sign.cert": key}, "holds something else than certificates"),
    ]:
        status, told = check_config(home, settings)
        assert status == 1 and words in told, (settings, told)
