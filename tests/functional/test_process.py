"""
The process gives away what it does not need: root, capabilities, new privileges, system calls. Only the release
build is what an operator runs; a sanitizer has needs of its own.
"""

import os
import pathlib
import pwd
import re
import signal
import subprocess

import pytest
from support import programs
from support.certferry import ROOT, Certferry, NotReady
from support.origins import pages
from support.raw_http import Client

NAME = "ca.enroll.test"
BINARY = os.environ.get("CERTFERRY_RELEASE_BINARY", str(ROOT / "build/release/certferry"))
CONFINED = {"seccomp": "on", "service.user": None}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root away")


@pytest.fixture
def start(tmp_path, enroll_settings):
    """Factory: start(changed settings) -> the release build, confined, ended and examined after the test."""
    started = []

    def make(changes=None, **how):
        directory = tmp_path / f"release-{len(started) + 1}"
        started.append(Certferry(directory, enroll_settings | CONFINED | (changes or {}), binary=BINARY, **how))
        return started[-1]

    yield make
    for proxy in started:
        proxy.stop()
        proxy.release_port()
        assert proxy.fault() is None, proxy.fault()


@pytest.fixture
def web(http_origin):
    return f"http://{NAME}:{http_origin(pages({'/': b'ok'})).port}/"


def service_account():
    for name in ("certferry", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("no service account")


def status_of(path):
    return dict(re.findall(r"^(\w+):\s*(.*)$", path.read_text(), re.MULTILINE))


def fetches(proxy, url):
    with Client(proxy) as client:
        return client.fetch(url).status


def test_nothing_is_left(start, web):
    """Every thread: the service user, no group but its own, no capability, no way back, a filter."""
    proxy = start()
    assert fetches(proxy, web) == 200
    account = service_account()
    tasks = list(pathlib.Path(f"/proc/{proxy.process.pid}/task").iterdir())
    assert len(tasks) >= 4, "main, two workers, the log's writer"
    for task in tasks:
        seen = status_of(task / "status")
        assert seen["Uid"].split() == [str(account.pw_uid)] * 4
        assert seen["Gid"].split() == [str(account.pw_gid)] * 4
        assert seen["Groups"].split() == [str(account.pw_gid)]
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(seen[name], 16) == 0, (name, seen[name])
        assert seen["NoNewPrivs"] == "1"
        assert seen["Seccomp"] == "2", "a filter"
    assert not [line for line in proxy.events() if "warning" in line]


def test_signals_are_the_main_threads(start):
    proxy = start()
    ours = sum(1 << (number - 1) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
    for task in pathlib.Path(f"/proc/{proxy.process.pid}/task").iterdir():
        blocked = int(status_of(task / "status")["SigBlk"], 16) & ours
        assert blocked == (0 if task.name == str(proxy.process.pid) else ours)


def test_root_must_be_asked_for(start):
    proxy = start({"service.user": "root"})
    proxy.wait_event("running as root")
    assert status_of(pathlib.Path(f"/proc/{proxy.process.pid}/status"))["NoNewPrivs"] == "1"


def test_named_user(start):
    proxy = start({"service.user": "daemon"})
    seen = status_of(pathlib.Path(f"/proc/{proxy.process.pid}/status"))
    assert seen["Uid"].split()[0] == str(pwd.getpwnam("daemon").pw_uid)


def test_unknown_user(start):
    with pytest.raises(NotReady) as caught:
        start({"service.user": "no-such-user"})
    assert caught.value.status == 1
    assert any("service.user" in line and "adduser --system" in line for line in caught.value.events)


def test_reload_below_a_closed_directory(start, web, tmp_path):
    """A checkout in /root: the service user may not search there, and reloads all the same."""
    tmp_path.chmod(0o700)
    proxy = start()
    assert fetches(proxy, web) == 200
    assert "in force" in proxy.reload({"allowed.domains": "other.test"})
    assert fetches(proxy, web) == 403
    assert "in force" in proxy.reload({"allowed.domains": "enroll.test"})
    assert fetches(proxy, web) == 200
    assert "refused" in proxy.reload({"allowed.domains": "a b"})
    assert fetches(proxy, web) == 200


@pytest.mark.parametrize("mode, told", [(0o600, "Permission denied"), (0o666, "others can write.*chmod go-w")])
def test_configuration_that_cannot_be_used(start, tmp_path, mode, told):
    """At start, as the service user will find it at the first reload."""
    conf = tmp_path / "release-1/conf"
    conf.mkdir(parents=True)
    (conf / "gateway.properties").write_text("")
    (conf / "gateway.properties").chmod(mode)
    with pytest.raises(NotReady) as caught:
        start()
    assert caught.value.status == 1
    said = "\n".join(caught.value.events)
    assert re.search(rf"gateway\.properties: .*{told}", said), said


def test_directory_that_others_can_write(start, tmp_path):
    conf = tmp_path / "release-1/conf"
    conf.mkdir(parents=True)
    conf.chmod(0o777)
    with pytest.raises(NotReady) as caught:
        start()
    assert any("others can write" in line for line in caught.value.events)


def test_reload_refuses_what_others_can_write(start, web):
    proxy = start()
    path = proxy.directory / "conf/failover.properties"
    path.chmod(0o666)
    assert "refused" in proxy.reload({})
    proxy.wait_event(r"failover\.properties: others can write")
    assert fetches(proxy, web) == 200
    path.chmod(0o644)
    assert "in force" in proxy.reload({})


def test_everything_works_confined(start, web, authority, http_origin, home, tmp_path):
    """What needs files, names, threads or sockets only later: a password, a reload, DNS anew, a tunnel, the end."""
    made = subprocess.run(["htpasswd", "-nbB", "-C", "4", "u", "p"], capture_output=True, check=True)
    conf = tmp_path / "release-1/conf"
    conf.mkdir(parents=True)
    (conf / "users").write_bytes(made.stdout.strip() + b"\n")
    (conf / "users").chmod(0o640)
    os.chown(conf / "users", 0, service_account().pw_gid)
    proxy = start({"auth.file": "users", "resolver.cache.max": "0ms"})
    secure = http_origin(pages({"/": b"ok"}), certificate=authority.server(NAME))
    for url in (web, f"https://{NAME}:{secure.port}/"):
        done = programs.run(
            home, "curl", "-sS", "--cacert", authority.root.cert, "--proxy", f"http://u:p@127.0.0.1:{proxy.port}", url
        )
        assert done.stdout == b"ok", programs.told(done)
    assert "in force" in proxy.reload({"auth.file": None, "resolver.cache.entries": "0"})
    assert fetches(proxy, web) == 200
    assert fetches(proxy, "http://localhost.enroll.test:1/") == 502
    assert proxy.stop() == 0
    proxy.wait_event("stopped")


def test_hardened_build():
    """PIE, no lazy binding, read-only relocations, no executable stack, stack protector, fortified calls, CET."""
    header = subprocess.run(["readelf", "-hldnW", BINARY], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Type:\s+DYN", header), "position-independent"
    assert "BIND_NOW" in header or re.search(r"FLAGS_1.*NOW", header)
    assert "GNU_RELRO" in header
    assert re.search(r"GNU_STACK\s+\S+ \S+ \S+ \S+ \S+ RW\s", header), "no executable stack"
    assert not re.search(r"LOAD.* RWE ", header)
    if os.uname().machine == "x86_64":
        # Debian's own start files have no CET mark, so the linker drops ours; the landing pads are there.
        code = subprocess.run(["objdump", "-d", BINARY], capture_output=True, text=True, check=True).stdout
        assert code.count("endbr64") > 100
    symbols = subprocess.run(["readelf", "--dyn-syms", "-W", BINARY], capture_output=True, text=True, check=True).stdout
    assert "__stack_chk_fail" in symbols
    assert re.search(r"__(mem|str|sn?printf|vsn)\w*_chk", symbols)
