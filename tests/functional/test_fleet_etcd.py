"""Members that find each other in a real etcd: joins, crashes, drains, and whatever may become of etcd."""

import json
import ssl
import time
import urllib.error

import pytest

from support import fleets, pki
from support.etcd import Etcd, text64
from support.fleets import place, wait_roster, wait_until

TTL = 2  # seconds; etcd knows no shorter lease
SLACK = 2  # seconds more that a busy machine may take
PREFIX = "/certferry/v1/"
ROOT = {"service.user": "root"}  # where the files of a test lie a service user could not go


@pytest.fixture
def etcd(tmp_path):
    with Etcd(tmp_path / "etcd") as server:
        yield server


@pytest.fixture
def member(certferry):
    """Factory: member(etcd, **settings with _ for .) -> a running proxy that registers there."""

    def start(etcd, **settings):
        named = {key.replace("_", "."): value for key, value in settings.items()}
        return certferry(
            {
                "advertise.host": "127.0.0.1",
                "etcd.endpoints": etcd.url,
                "etcd.lease.ttl": f"{TTL}s",
                "etcd.timeout": "1s",
                "probe.interval": "500ms",
            }
            | named
        )

    return start


def join(member, etcd, count, **settings):
    proxies = [member(etcd, **settings) for _ in range(count)]
    for proxy in proxies:
        wait_roster(proxy, *(other for other in proxies if other is not proxy))
    return proxies


def source_up(proxy):
    return fleets.gauges(proxy)["source_up", "etcd"] == 1


def wait_back(*proxies):
    for proxy in proxies:
        wait_until(lambda proxy=proxy: source_up(proxy), "etcd never came back")


def test_a_join_is_seen_by_all(etcd, member):
    first, second = join(member, etcd, 2)
    third = member(etcd, zone="far", advertise_priority="7", advertise_weight="30")
    begun = time.monotonic()
    for proxy in (first, second, third):
        wait_roster(proxy, *(other for other in (first, second, third) if other is not proxy))
    assert time.monotonic() - begun < 2 + SLACK
    seen = fleets.members(first)[place(third)]
    assert (seen["zone"], seen["priority"], seen["weight"], seen["self"]) == ("far", 7, 30, False)
    assert seen["version"] and seen["started"] > 0
    wait_until(lambda: fleets.gauges(first)["members", "up"] == 3, "not all are up")
    assert set(etcd.keys()) == {PREFIX + place(proxy) for proxy in (first, second, third)}
    assert len(etcd.leases()) == 3


def test_a_crash_is_seen_when_the_lease_is_over(etcd, member):
    first, second, third = join(member, etcd, 3)
    third.kill()
    begun = time.monotonic()
    wait_roster(first, second)
    wait_roster(second, first)
    assert time.monotonic() - begun < TTL + 1 + SLACK


def test_who_drains_is_gone_at_once(etcd, member):
    first, second = join(member, etcd, 2, etcd_lease_ttl="60s")
    assert second.stop() == 0
    assert wait_roster(first) < SLACK
    assert etcd.leases() and set(etcd.keys()) == {PREFIX + place(first)}


def test_the_last_roster_stays_while_etcd_is_away(etcd, member):
    first, second = join(member, etcd, 2)
    etcd.stop()
    first.wait_event("roster: etcd is away: http://localhost.*; what it told last stays")
    wait_until(lambda: not source_up(first), "the gauge never fell")
    assert set(fleets.members(first)) == {place(first), place(second)}
    time_in_trouble = time.monotonic() + TTL + 1  # longer than the lease: nothing may depend on it
    wait_until(lambda: time.monotonic() > time_in_trouble, "")
    assert set(fleets.members(first)) == {place(first), place(second)}
    etcd.start()
    first.wait_event("roster: etcd is back")
    wait_back(first, second)
    third = member(etcd)
    for proxy in (first, second):
        wait_until(lambda proxy=proxy: place(third) in fleets.members(proxy), "no new member after the restart")
    assert len([line for line in first.events() if "etcd is away" in line]) == 1
    assert first.stop() == second.stop() == third.stop() == 0


def test_a_start_without_etcd(etcd, member):
    etcd.stop()
    proxy = member(etcd)
    proxy.wait_event("etcd is away")
    assert set(fleets.members(proxy)) == {place(proxy)}
    etcd.start()
    wait_back(proxy)
    assert set(etcd.keys()) == {PREFIX + place(proxy)}


def test_a_lost_lease_is_taken_anew(etcd, member):
    first, second = join(member, etcd, 2)
    for lease in etcd.leases():
        etcd.call("/v3/lease/revoke", ID=lease)
    for proxy in (first, second):
        wait_until(lambda proxy=proxy: PREFIX + place(proxy) in etcd.keys(), "not registered again")
    wait_roster(first, second)
    wait_roster(second, first)


def test_our_key_is_put_back(etcd, member):
    proxy = member(etcd, etcd_lease_ttl="60s")
    wait_until(lambda: etcd.keys(), "never registered")
    etcd.delete(PREFIX + place(proxy))
    wait_until(lambda: etcd.keys(), "not put back")
    assert proxy.stop() == 0
    assert not etcd.keys()


def test_history_that_was_compacted_away(etcd, member):
    first, second = join(member, etcd, 2)
    etcd.stop()
    first.wait_event("etcd is away")
    etcd.start()
    for number in range(20):
        etcd.put("/elsewhere", str(number))
    etcd.compact()
    third = member(etcd)
    for proxy in (first, second):
        wait_until(lambda proxy=proxy: place(third) in fleets.members(proxy), "a member was missed")


def test_a_reload_moves_us(etcd, member):
    first, second = join(member, etcd, 2, etcd_lease_ttl="60s")
    assert "in force" in second.reload({"advertise.host": "localhost"})
    wait_until(lambda: set(etcd.keys()) == {PREFIX + place(first), f"{PREFIX}localhost:{second.port}"}, "key stays")
    assert "in force" in second.reload({"zone": "here"})
    wait_until(lambda: fleets.members(first)[f"localhost:{second.port}"]["zone"] == "here", "the zone is not told")
    assert "in force" in second.reload({"etcd.endpoints": ""})
    assert set(fleets.members(second)) == {f"localhost:{second.port}"}
    assert ("source_up", "etcd") not in fleets.gauges(second)
    assert "in force" in second.reload({"etcd.endpoints": etcd.url})
    wait_until(lambda: place(first) in fleets.members(second), "etcd is not asked again")


GARBAGE = {
    "not-json": "members?",
    "wrong-types": json.dumps({"protocol": 1, "host": ["a"], "port": "80"}),
    "no-host": json.dumps({"protocol": "http-connect", "port": 80}),
    "port": json.dumps({"protocol": "http-connect", "host": "a.example", "port": 70000}),
    "upper-case": json.dumps({"protocol": "http-connect", "host": "A.example", "port": 80}),
    "line": json.dumps({"protocol": "http-connect", "host": "a.example\r\nX: y", "port": 80}),
    "number": json.dumps({"protocol": "http-connect", "host": "0x7f.1", "port": 80}),
    "long": json.dumps({"protocol": "http-connect", "host": "a" * 300, "port": 80}),
    "huge": "x" * 100000,
    "deep": "[" * 1000,
    "twice": '{"protocol":"http-connect","host":"a.example","host":"b.example","port":80}',
    "protocol": json.dumps({"protocol": "socks5", "host": "a.example", "port": 80}),
    "self": json.dumps({"protocol": "http-connect", "host": "a.example", "port": 80, "weight": -1}),
    "empty": "",
}


def test_garbage_is_passed_over_and_told_once(etcd, member):
    for name, value in GARBAGE.items():
        etcd.put(PREFIX + name, value)
    first, second = join(member, etcd, 2)
    first.wait_event("etcd: what stands at /certferry/v1/")
    for name, value in GARBAGE.items():
        etcd.put(PREFIX + name, value + " ")
    etcd.put(PREFIX + "last.example:80", json.dumps({"protocol": "http-connect", "host": "last.example", "port": 80}))
    wait_roster(first, second, "last.example:80")
    assert len([line for line in first.events() if "what stands at" in line]) == 1


def test_our_own_address_in_anothers_key(etcd, member):
    proxy = member(etcd)
    lie = {"protocol": "http-connect", "host": "127.0.0.1", "port": proxy.port, "state": "draining", "zone": "lie"}
    etcd.put(PREFIX + "aaa", json.dumps(lie))
    etcd.put(PREFIX + "127.0.0.1:2", json.dumps(lie | {"port": 1}))
    etcd.put(PREFIX + "127.0.0.1:1", json.dumps(lie | {"port": 1, "zone": "truth"}))
    wait_roster(proxy, "127.0.0.1:1")
    ours = fleets.members(proxy)[place(proxy)]
    assert (ours["state"], ours["zone"], ours["self"]) == ("up", "", True)
    assert fleets.members(proxy)["127.0.0.1:1"]["zone"] == "truth"
    proxy.wait_event("etcd: what stands at .* is passed over: its host and port are not those of its key")


def test_ten_thousand_keys(etcd, member):
    for batch in range(100):
        puts = [
            {
                "request_put": {
                    "key": text64(f"{PREFIX}m{batch}-{number}.example:80"),
                    "value": text64(
                        json.dumps({"protocol": "http-connect", "host": f"m{batch}-{number}.example", "port": 80})
                    ),
                }
            }
            for number in range(100)
        ]
        etcd.call("/v3/kv/txn", success=puts)
    proxy = member(etcd, probe_interval="1h")
    wait_until(lambda: len(fleets.members(proxy)) == 256, "the roster is not full")
    assert place(proxy) in fleets.members(proxy)
    wait_back(proxy)
    proxy.wait_event("etcd: more than 1024 keys stand below /certferry/v1/")


def test_user_and_password_and_tokens_that_expire(tmp_path, member):
    with Etcd(tmp_path / "etcd", *jwt(tmp_path, "2s")) as etcd:
        etcd.call("/v3/auth/user/add", name="root", password="first")
        etcd.call("/v3/auth/user/grant", user="root", role="root")
        etcd.call("/v3/auth/user/add", name="plant", password='p"\\w')
        etcd.call("/v3/auth/role/add", name="plant")
        end = PREFIX[:-1] + "0"
        permission = {"permType": "READWRITE", "key": text64(PREFIX), "range_end": text64(end)}
        etcd.call("/v3/auth/role/grant", name="plant", perm=permission)
        etcd.call("/v3/auth/user/grant", user="plant", role="plant")
        etcd.call("/v3/auth/enable")
        password = tmp_path / "password"
        password.write_text('p"\\w\n')
        password.chmod(0o600)
        login = ROOT | {"etcd_user": "plant", "etcd_password_file": password}
        login |= {"etcd_lease_ttl": "6s", "etcd_timeout": "3s"}  # logging in costs etcd a bcrypt hash each time
        first, second = join(member, etcd, 2, **login)
        wait_back(first, second)
        expired = time.monotonic() + 5  # two tokens and more
        wait_until(lambda: time.monotonic() > expired, "")
        third = member(etcd, **login)
        for proxy in (first, second):
            wait_until(lambda proxy=proxy: place(third) in fleets.members(proxy), "a member was missed")
        for proxy in (first, second, third):
            assert not [line for line in proxy.events() if "etcd" in line], proxy.events()

        stranger = member(etcd)
        stranger.wait_event("etcd is away: .*user name is empty")
        password.write_text("wrong\n")
        wrong = member(etcd, **login)
        wrong.wait_event("etcd is away: .*authentication failed")
        assert third.stop() == 0
        wait_roster(first, second)


def jwt(directory, ttl):
    """Options for signed tokens that live so long."""
    directory.mkdir(parents=True, exist_ok=True)
    private, public = directory / "jwt.key", directory / "jwt.pem"
    private.write_bytes(pki.openssl(directory, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    public.write_bytes(pki.openssl(directory, "pkey", "-in", private, "-pubout"))
    return ("--auth-token", f"jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl={ttl}")


def test_tls_with_certificates_on_both_sides(tmp_path, authority, member):
    server = authority.server("localhost", "127.0.0.1")
    ours = authority.server("certferry.test")
    context = ssl.create_default_context(cafile=str(authority.root.cert))
    context.load_cert_chain(str(ours.cert), str(ours.key))
    options = ("--cert-file", server.cert, "--key-file", server.key)
    options += ("--trusted-ca-file", authority.root.cert, "--client-cert-auth")
    with Etcd(tmp_path / "etcd", *options, tls=context) as etcd:
        ours.key.chmod(0o600)
        tls = ROOT | {"etcd_ca": authority.root.cert, "etcd_cert": ours.cert, "etcd_key": ours.key}
        join(member, etcd, 2, **tls)
        blind = member(etcd, etcd_ca="", etcd_cert="", etcd_key="")
        assert "certificate" in blind.wait_event("etcd is away").lower()
        nobody = member(etcd, **ROOT, etcd_ca=authority.root.cert)
        nobody.wait_event("etcd is away")
        assert set(fleets.members(nobody)) == {place(nobody)}


def test_a_ca_that_is_replaced_counts(tmp_path, authority, member):
    """Not after a day: the file is read again with each connection."""
    server = authority.server("localhost", "127.0.0.1")
    stranger = pki.Authority(tmp_path / "stranger")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(stranger.root.cert.read_bytes())
    context = ssl.create_default_context(cafile=str(authority.root.cert))
    with Etcd(tmp_path / "etcd", "--cert-file", server.cert, "--key-file", server.key, tls=context) as etcd:
        proxy = member(etcd, **ROOT, etcd_ca=ca)
        assert "certificate" in proxy.wait_event("etcd is away").lower()
        ca.write_bytes(authority.root.cert.read_bytes())
        proxy.wait_event("etcd is back")
        wait_back(proxy)


def test_the_next_endpoint_is_tried(etcd, member):
    proxy = member(etcd, etcd_endpoints=f"http://127.0.0.1:1,{etcd.url},http://127.0.0.1:2")
    wait_until(lambda: PREFIX + place(proxy) in etcd.keys(), "never registered")
    wait_back(proxy)


def test_mistakes_are_told(certferry, tmp_path):
    open_to_all = tmp_path / "password"
    open_to_all.write_text("secret\n")
    open_to_all.chmod(0o644)
    proxy = certferry(ROOT)
    wrong = {
        "etcd.endpoints": "http://a.example",
        "etcd.prefix": "/certferry",
        "etcd.lease.ttl": "2500ms",
        "etcd.user": "me",
        "etcd.ca": "ca.pem",
        "roster.dns": "192.0.2.1",
    }
    assert "refused" in proxy.reload(wrong)
    text = "\n".join(proxy.events())
    for key, words in {
        "etcd.endpoints": "has no port",
        "etcd.prefix": "must end with a slash",
        "etcd.lease.ttl": "must be whole seconds",
        "etcd.user": "go together",
        "etcd.ca": "is no full path",
        "roster.dns": "is an address",
    }.items():
        assert any(key in line and words in line for line in text.splitlines()), (key, text)
    many = ",".join(f"http://a{number}.example:2379" for number in range(17))
    assert "refused" in proxy.reload(dict.fromkeys(wrong) | {"etcd.endpoints": many})
    assert any("etcd.endpoints" in line and "16" in line for line in proxy.events()), proxy.events()
    fine = dict.fromkeys(wrong) | {"etcd.user": "me", "etcd.password.file": open_to_all}
    assert "refused" in proxy.reload(fine)
    assert any("etcd.password.file" in line and "chmod" in line for line in proxy.events()), proxy.events()


def test_the_helper_sees_what_is_refused(etcd):
    """The tests above rest on it."""
    with pytest.raises(urllib.error.HTTPError):
        etcd.call("/v3/lease/revoke", ID="12345")
