"""Members from DNS, and the last good roster on disk."""

import json
import os
import pathlib
import shutil
import tempfile

import pytest

from support import fleets
from support.etcd import Etcd
from support.fleets import place, wait_roster, wait_until

SERVICE = "_certferry._tcp.enroll.test"


@pytest.fixture
def settings(dns):
    return {
        "advertise.host": "px1.enroll.test",
        "resolver.servers": dns.address,
        "resolver.cache.entries": "0",
        "roster.dns.interval": "1s",
        "probe.interval": "1h",
    }


def test_services(certferry, dns, settings):
    dns.services[SERVICE] = [(10, 60, 48999, "PX2.enroll.test"), (20, 0, 8080, "px3.enroll.test")]
    proxy = certferry(settings | {"roster.dns": SERVICE})
    wait_until(lambda: len(fleets.members(proxy)) == 3, "no members")
    seen = fleets.members(proxy)
    assert (seen["px2.enroll.test:48999"]["priority"], seen["px2.enroll.test:48999"]["weight"]) == (10, 60)
    assert (seen["px3.enroll.test:8080"]["priority"], seen["px3.enroll.test:8080"]["weight"]) == (20, 1)
    assert fleets.gauges(proxy)["source_up", "dns"] == 1

    dns.services[SERVICE] = [(1, 1, proxy.port, "px1.enroll.test"), (1, 1, 1, "."), (1, 1, 0, "px4.enroll.test")]
    dns.services[SERVICE] += [(0, 1000, 1, "px5.enroll.test"), (0, 65535, 1, "px6.enroll.test")]
    ours = f"px1.enroll.test:{proxy.port}"
    wait_until(lambda: set(fleets.members(proxy)) == {ours, "px5.enroll.test:1", "px6.enroll.test:1"}, "no change")
    assert [fleets.members(proxy)[f"px{n}.enroll.test:1"]["weight"] for n in (5, 6)] == [1, 100]


def test_addresses_are_members_on_our_port(certferry, dns, settings):
    dns.names["site.enroll.test"] = ["192.0.2.1", "2001:db8::1", "127.0.0.1"]  # the last is ours
    proxy = certferry(settings | {"roster.dns": "site.enroll.test"})
    wanted = {f"px1.enroll.test:{proxy.port}", f"192.0.2.1:{proxy.port}", f"[2001:db8::1]:{proxy.port}"}
    wait_until(lambda: set(fleets.members(proxy)) == wanted, "not these members")


def test_trouble_changes_nothing(certferry, dns, settings):
    dns.services[SERVICE] = [(1, 1, 1, "px2.enroll.test")]
    proxy = certferry(settings | {"roster.dns": SERVICE, "resolver.timeout": "500ms"})
    wait_until(lambda: len(fleets.members(proxy)) == 2, "no members")
    for mode, words in (("silence", "no answer in time"), ("servfail", "the look-up failed")):
        dns.mode = mode
        before = len(proxy.events())
        proxy.wait_event(f"DNS is away: {SERVICE}: {words}", start=before)
        assert len(fleets.members(proxy)) == 2
        assert fleets.gauges(proxy)["source_up", "dns"] == 0
        dns.mode = "answer"
        proxy.wait_event("DNS is back", start=before)
    services = dns.services.pop(SERVICE)
    proxy.wait_event("DNS is away: .* there is no such name")
    dns.services[SERVICE] = [(1, 1, 1, ".")]
    asked = dns.count(SERVICE)
    wait_until(lambda: dns.count(SERVICE) > asked + 1, "not asked again")
    assert len(fleets.members(proxy)) == 2
    assert len([line for line in proxy.events() if "DNS is away" in line]) == 3
    dns.services[SERVICE] = services


def test_sources_are_merged(certferry, dns, settings, tmp_path):
    with Etcd(tmp_path / "etcd") as etcd:
        entry = {"protocol": "http-connect", "host": "px2.enroll.test", "port": 1, "zone": "far", "weight": 7}
        etcd.put("/certferry/v1/px2.enroll.test:1", json.dumps(entry))
        dns.services[SERVICE] = [(9, 50, 1, "px2.enroll.test"), (9, 50, 2, "px3.enroll.test")]
        peers = "http://px2.enroll.test:1,http://px4.enroll.test:4"
        more = {"roster.dns": SERVICE, "etcd.endpoints": etcd.url, "peers": peers}
        proxy = certferry(settings | more)
        wanted = {f"px1.enroll.test:{proxy.port}", "px2.enroll.test:1", "px3.enroll.test:2", "px4.enroll.test:4"}
        wait_until(lambda: set(fleets.members(proxy)) == wanted, "not these members")
        # What it says itself outranks the others.
        told = lambda: fleets.members(proxy)["px2.enroll.test:1"]  # noqa: E731
        wait_until(lambda: (told()["zone"], told()["weight"]) == ("far", 7), "etcd is not heard")
        etcd.delete("/certferry/v1/px2.enroll.test:1")
        wait_until(lambda: told()["weight"] == 50, "DNS is not heard")


@pytest.fixture
def kept():
    """A file in a directory where the service user may write."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="certferry-"))
    directory.chmod(0o777)
    yield directory / "roster.json"
    shutil.rmtree(directory)


def test_the_last_roster_is_kept_on_disk(certferry, settings, tmp_path, kept):
    settings |= {"advertise.host": "127.0.0.1", "etcd.lease.ttl": "2s", "roster.cache": kept}
    with Etcd(tmp_path / "etcd") as etcd:
        settings["etcd.endpoints"] = etcd.url
        first, second = certferry(settings), certferry(settings | {"roster.cache": ""})
        wait_roster(first, second)
        wait_until(lambda: kept.exists() and place(second) in kept.read_text(), "never written")
        assert os.stat(kept).st_mode & 0o777 == 0o644
        assert [path.name for path in kept.parent.iterdir()] == [kept.name]
        assert first.stop() == 0
        etcd.stop()
        alone = certferry(settings)
        alone.wait_event("1 members until the sources are heard")
        assert set(fleets.members(alone)) == {place(second), place(alone)}
        etcd.start()
        second.stop()
        wait_roster(alone)
        wait_until(lambda: place(second) not in kept.read_text(), "never written again")


NO_ROSTER = {
    "empty": "",
    "cut": "{",
    "array": "[]",
    "zeros": "\0" * 100,
    "part": '{"identifier":"a.example"}',
    "huge": "x" * 5000000,
}


@pytest.mark.parametrize("text", NO_ROSTER.values(), ids=NO_ROSTER)
def test_what_is_no_roster_on_disk(certferry, dns, settings, kept, text):
    kept.write_text(text)
    kept.chmod(0o666)
    proxy = certferry(settings | {"roster.cache": kept, "roster.dns": SERVICE})
    proxy.wait_event("the roster kept there is not used: ")
    assert set(fleets.members(proxy)) == {f"px1.enroll.test:{proxy.port}"}
    dns.services[SERVICE] = [(1, 1, 1, "px2.enroll.test")]
    wait_until(lambda: "px2.enroll.test" in kept.read_text(errors="replace"), "never written anew")


def test_a_place_where_nothing_can_be_written(certferry, dns, settings, kept):
    dns.services[SERVICE] = [(1, 1, 1, "px2.enroll.test")]
    proxy = certferry(settings | {"roster.cache": kept.parent / "missing" / "roster.json", "roster.dns": SERVICE})
    wait_until(lambda: len(fleets.members(proxy)) == 2, "no members")
    proxy.wait_event("roster.cache: .*: no roster can be kept there: no such file or directory")


def test_systemd_names_the_place(certferry, dns, settings, kept):
    dns.services[SERVICE] = [(1, 1, 1, "px2.enroll.test")]
    certferry(settings | {"roster.dns": SERVICE}, STATE_DIRECTORY=f"{kept.parent}:/nowhere")
    wait_until(kept.exists, "never written")
