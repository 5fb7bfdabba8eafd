"""
The device of a TLS key that does not answer holds up nothing but its own door: not the main loop either, which keeps
the lease in etcd, answers the control socket, hears signals and builds new configurations, while it is opened or asked.
"""

import pathlib
import shutil
import signal
import socket
import tempfile

import pytest

from support.certferry import PATIENCE
from support.etcd import Etcd
from support.fleets import wait_until
from support.tls_door import handshake_error
from test_keys import of_tpm, serves, serves_again, serves_plain, start, tls, tpm, without_leak_checks

__all__ = ["start", "tls", "tpm"]  # fixtures

# Whoever waits for the device waits longer than any test.
FOR_EVER = "600s"
OFTEN = {"tls.provider.retry": "50ms", "tls.provider.retry.max": "50ms"}


@pytest.fixture
def place():
    """A short one: a Unix socket's path has 107 octets."""
    path = tempfile.mkdtemp(prefix="certferry-")
    yield f"{path}/control"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def member(start, authority, tpm, tmp_path, place):
    """(certferry with a key in the TPM, registered in etcd, with a control socket; that etcd)"""
    with Etcd(tmp_path / "etcd") as etcd:
        fleet = {"etcd.endpoints": etcd.url, "etcd.lease.ttl": "5s", "advertise.host": "127.0.0.1"}
        waits = {"tls.provider.timeout": FOR_EVER, "control.socket": place}
        made = without_leak_checks(of_tpm(authority, tpm, password="barley"))
        proxy = start(made, fleet | waits | OFTEN)
        wait_until(lambda: etcd.keys(), "it never registered")
        yield proxy, etcd
        proxy.stop()


def question(place):
    """What the control socket says to a command that there is not."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(place)
        client.sendall(b"hello\n")
        return client.makefile().readline()


def wait_for_renewals(etcd, count):
    """The lease that all hangs on is renewed: what is left of it falls, and rises again."""
    (lease,) = etcd.leases()
    last, seen = 0, 0

    def rises():
        nonlocal last, seen
        left = int(etcd.call("/v3/lease/timetolive", ID=lease).get("TTL", "0"))
        seen, last = seen + (left > last), left
        return seen > count

    wait_until(rises, "the lease is not renewed")
    assert etcd.leases() == [lease], "it is the same still"


def main_loop_goes_on(proxy, etcd, place):
    wait_for_renewals(etcd, 2)
    assert "error" in question(place)
    assert serves_plain(proxy)


def lose(proxy, tpm, tls):
    tpm.kill()
    assert handshake_error(proxy, tls)
    proxy.wait_event("the device of a TLS key is lost")


def test_a_lost_tpm_stands_still_when_it_is_opened_again(member, tpm, tls, place):
    proxy, etcd = member
    lose(proxy, tpm, tls)
    with tpm.silence():
        main_loop_goes_on(proxy, etcd, place)
        assert handshake_error(proxy, tls)
    assert tpm.start()
    proxy.wait_event("the device of the TLS key is back")
    assert serves_again(proxy, tls)


def test_the_end_while_a_lost_tpm_stands_still(member, tpm, tls):
    """In order: out of the roster first."""
    proxy, etcd = member
    lose(proxy, tpm, tls)
    with tpm.silence():
        proxy.terminate()
        wait_until(lambda: not etcd.keys(), "it never left")
        assert proxy.wait() == 0


def ask_for_reloads(proxy):
    """SIGHUP until the log tells that one waits for another, which waits for the TPM."""
    seen = len(proxy.events())

    def waits():
        proxy.process.send_signal(signal.SIGHUP)
        return any("reload: begins when the device" in line for line in proxy.events()[seen:])

    wait_until(waits, "no reload waits")


def test_a_reload_while_the_tpm_stands_still(member, tpm, tls, place):
    proxy, etcd = member
    tpm.pause()
    ask_for_reloads(proxy)
    main_loop_goes_on(proxy, etcd, place)
    seen = len(proxy.events())
    tpm.resume()
    proxy.wait_event("reloaded", start=seen)
    assert serves_again(proxy, tls)


def test_the_end_while_a_reload_waits_for_the_tpm(member, tpm, tls):
    proxy, etcd = member
    assert serves(proxy, tls)
    tpm.pause()
    ask_for_reloads(proxy)
    proxy.terminate()
    wait_until(lambda: not etcd.keys(), "it never left")
    assert proxy.wait() == 0


def test_changed_certificates(member, tpm, tls):
    """Read there as well."""
    proxy, _ = member
    assert "reloaded" in proxy.reload({"tls.watch.interval": "100ms"})
    pathlib.Path(proxy.settings["tls.cert"]).touch()
    proxy.wait_event("renewed: the changed certificates")
    assert serves_again(proxy, tls)
