"""certferry agent on a client machine: real clients enroll through it while sensors come and go."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import statistics
import subprocess
import threading
import time

import pytest
from support import programs, tunnels
from support.agent import Agent
from support.certferry import BINARY, PATIENCE, Certferry, NotReady, stop_all
from support.daemons import unused_port
from support.enrolling import Device, assert_verifies, curl
from support.est_server import EstServer
from support.origins import HttpOrigin, reply
from support.pebble import Pebble
from support.raw_http import Client

NAME = "est.enroll.test"
PKCS10 = ("--header", "Content-Type: application/pkcs10")
BASIC = ("--user", "device:first-password")
PVD = "/.well-known/pvd"


@pytest.fixture
def est(authority):
    with EstServer(authority, NAME, "127.0.0.1") as server:
        yield server


@pytest.fixture
def agent(tmp_path):
    """Factory: agent(*sensors, settings=...) -> running Agent, stopped and examined at the end."""
    started = []

    def start(*sensors, **how):
        urls = [getattr(sensor, "url", sensor) for sensor in sensors]
        started.append(Agent(tmp_path / f"agent-{len(started) + 1}", urls, **how))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        one.release_port()
    assert not [one.fault() for one in started if one.fault()]


def wait_for(happens, why, timeout=PATIENCE):
    """What is waited for is told by nobody: the state of another process."""
    end = time.monotonic() + timeout
    while not happens():
        assert time.monotonic() < end, why()
        time.sleep(0.02)


class Fleet:
    """`count` sensors that know each other; any of them can be killed, frozen, drained and started again."""

    def __init__(self, directory, settings, count=3, **more):
        self.directory = directory
        self.settings = settings | {"advertise.host": "127.0.0.1", "roster.ttl": "20s", "probe.interval": "500ms"}
        self.settings |= {"control.socket": "", "drain.notice": "2s"} | more
        self.starts = 0
        self.sensors = {}
        self.every = []
        for _ in range(count):
            self._start(0)
        for sensor in list(self.sensors.values()):
            sensor.reload({"peers": ",".join(self.urls())})

    def urls(self):
        return list(self.sensors)

    def _start(self, port):
        self.starts += 1
        peers = {"peers": ",".join(self.urls())} if self.sensors else {}
        where = {"heartbeatport": port} | peers
        sensor = Certferry(self.directory / f"sensor-{self.starts}", self.settings | where)
        self.sensors[sensor.url] = sensor
        self.every.append(sensor)

    def again(self, url):
        """A new one in the place of one that has ended."""
        self.sensors[url].release_port()
        self._start(url.rpartition(":")[2])

    def restart_all(self, between=lambda: None):
        for url in self.urls():
            self.sensors[url].terminate()
            assert self.sensors[url].wait() == 0
            self.again(url)
            between()

    @contextlib.contextmanager
    def frozen(self, url):
        process = self.sensors[url].process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def close(self):
        for sensor in self.every:
            if sensor.status is None:
                sensor.process.send_signal(signal.SIGCONT)
        stop_all(self.every)
        faults = [sensor.fault() for sensor in self.every if sensor.fault()]
        assert not faults, "\n".join(faults)


@pytest.fixture
def fleet(tmp_path, enroll_settings):
    made = []

    def start(**how):
        made.append(Fleet(tmp_path, enroll_settings, **how))
        return made[-1]

    yield start
    for one in made:
        one.close()


class Enrolling:
    """Devices that enroll over and over through one proxy, each in a thread: what failed, and the longest that took."""

    def __init__(self, home, proxy, est, workers=2):
        self.proxy, self.est = proxy, est
        self.done = []  # (began, ended, fault or "")
        self._held, self._active = False, 0
        self._changed = threading.Condition()
        self._ending = False
        self.devices = []
        for number in range(workers):
            directory = home / f"device{number}"
            directory.mkdir()
            self.devices.append(Device(directory))
        self._threads = [threading.Thread(target=self._run, args=(device,), daemon=True) for device in self.devices]
        for thread in self._threads:
            thread.start()

    def _run(self, device):
        trust = ("--cacert", self.est.authority.root.cert, "--fail")
        post = (*trust, *PKCS10, *BASIC, "--data-binary", f"@{device.request_base64}", self.est.url("simpleenroll"))
        while not self._ending:
            with self._changed:
                self._changed.wait_for(lambda: not self._held)
                self._active += 1
            began = time.monotonic()
            done = curl(device.directory, self.proxy.url, *post)
            fault = "" if done.returncode == 0 and done.stdout.startswith(b"MII") else programs.told(done)
            with self._changed:
                self.done.append((began, time.monotonic(), fault))
                self._active -= 1
                self._changed.notify_all()

    def wait(self, more):
        """Until so many more have ended that began after this call."""
        since = time.monotonic()

        def ended():
            return sum(began >= since for began, _, _ in self.done) >= more

        with self._changed:
            assert self._changed.wait_for(ended, 3 * PATIENCE), f"{len(self.done)} enrollments:\n{self.done[-3:]}"

    def stop(self):
        self._ending = True
        for thread in self._threads:
            thread.join(3 * PATIENCE)
        return self

    @contextlib.contextmanager
    def pause(self):
        """None is under way meanwhile."""
        with self._changed:
            self._held = True
            assert self._changed.wait_for(lambda: self._active == 0, 3 * PATIENCE)
        yield
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def failed(self):
        return [fault for _, _, fault in self.done if fault]

    def usual(self):
        return statistics.median(ended - began for began, ended, _ in self.done)

    def noise(self):
        """What a busy machine alone may add."""
        return 5 * self.usual()

    def delay(self):
        """By how much the slowest was slower than usual: what a client notices."""
        return max(ended - began for began, ended, _ in self.done) - self.usual()

    def figures(self, capsys, what):
        with capsys.disabled():
            print(
                f"\nagent, {what}: {len(self.done)} enrollments, {len(self.failed())} failed, "
                f"longest gap {self.delay() * 1000:.0f} ms over the usual {self.usual() * 1000:.0f} ms"
            )


def roster_known(one, count):
    """Until the agent has learned of so many sensors."""
    def known():
        text = metrics(one)
        return f"certferry_agent_sensors {count}\n" in text and "learned_timestamp_seconds 0\n" not in text

    wait_for(known, lambda: "\n".join(one.events()))


def metrics(one):
    with Client(one) as client:
        return client.fetch("/metrics", "Host: agent").body.decode()


# Ordinary work.


def test_enrolls_in_a_tunnel(agent, proxy, est, home):
    one = agent(proxy)
    device = Device(home)
    post = (*PKCS10, *BASIC, "--data-binary", f"@{device.request_base64}", "--cacert", est.authority.root.cert)
    done = curl(home, one.url, "--fail", *post, est.url("simpleenroll"))
    assert done.returncode == 0, programs.told(done)
    assert_verifies(home, est.authority.root.cert, device.keep(done.stdout), "CN=device1")
    line = one.wait_log(lambda line: line["class"] == "tunnel")
    assert (line["parent"], line["host"], line["port"]) == (proxy.url, NAME, est.port)
    proxy.wait_log(lambda line: line["class"] == "tunnel" and line["host"] == NAME)


def test_forwards_plain_http(agent, proxy, http_origin, home):
    origin = http_origin(lambda request: reply(b"crl"))
    done = curl(home, agent(proxy).url, "--fail", f"http://crl.enroll.test:{origin.port}/a.crl")
    assert done.stdout == b"crl", programs.told(done)
    proxy.wait_log(lambda line: line["method"] == "GET" and line["host"] == "crl.enroll.test")


def test_the_sensors_decide(agent, proxy, home):
    """The agent itself allows every host and port; a refusal is the sensor's, and the client sees its reason."""
    one = agent(proxy)
    for url, options in (("http://example.org:81/", ()), ("https://example.org:444/", ("-p",))):
        done = curl(home, one.url, "--verbose", *options, url)
        assert b"403" in done.stderr, programs.told(done)
        line = proxy.wait_log(lambda line: line["host"] == "example.org" and line["status"] == 403)
        assert line["outcome"] == "host-denied"
    assert one.wait_log(lambda line: line["host"] == "example.org")["parent"] == proxy.url


def test_pages(agent, proxy, home):
    one = agent(proxy)
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/proxy.pac", 404), (PVD, 404)):
        with Client(one) as client:
            assert client.fetch(path, "Host: agent").status == status, path


def test_only_loopback(agent, proxy):
    """Without --listen and without listen.addresses it listens on 127.0.0.1, for clients of loopback alone."""
    one = agent(proxy)
    assert one.listeners == [f"127.0.0.1:{one.port}"]
    wide = agent(proxy, settings={"listen.addresses": "0.0.0.0", "clients.allow": "192.0.2.0/24"})
    with Client(wide) as client:
        assert client.fetch("/healthz", "Host: agent").status == 403


def test_listen_option(proxy, tmp_path):
    """No configuration directory at all; --listen outranks everything."""
    process = subprocess.Popen(
        [BINARY, "agent", "--listen", "127.0.0.1:0", proxy.url],
        env=programs.environment(tmp_path, **programs.sanitizer_options(99)),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    with process:
        lines = iter(process.stderr.readline, b"")
        ready = next(line for line in lines if b"ready: listening on 127.0.0.1:" in line)
        port = int(ready.split(b"127.0.0.1:")[1].split()[0])
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "Nothing follows"),
        (("https://px1:48999",), "TLS to a sensor"),
        (("http://user@px1:48999",), "user name"),
        (("px1:0",), "port"),
        (("px1;DIRECT",), "px1;DIRECT"),
        (("--listen", "px1:1", "px1"), "--listen"),
        (("--listen", "127.0.0.1:99999", "px1"), "--listen"),
        (("--listen", "127.0.0.1", "px1"), "--listen"),
        (("--listen",), "--listen"),
        (("--format", "json", "px1"), "--format"),
    ],
)
def test_wrong_usage(home, arguments, said):
    done = programs.run(home, BINARY, "agent", *arguments)
    assert done.returncode == 2, programs.told(done)
    assert said in done.stderr.decode()


def test_reload(agent, proxy, est, home):
    """The sensors stay; what an agent is made of needs a restart, and that is told."""
    one = agent(proxy)
    assert "reloaded" in one.reload({"agent.zone": "plant9", "clients.allow": "127.0.0.0/8"})
    one.wait_event("agent.zone changed, but only a restart")
    done = curl(home, one.url, "--fail", "--cacert", est.authority.root.cert, est.url("cacerts"))
    assert done.returncode == 0, programs.told(done)
    assert one.wait_log(lambda line: line["class"] == "tunnel")["parent"] == proxy.url


def test_it_is_no_sensor_of_its_own(tmp_path):
    port = unused_port()
    with pytest.raises(NotReady) as refused:
        Agent(tmp_path, [f"http://127.0.0.1:{port}"], {"heartbeatport": port})
    assert refused.value.status == 1
    assert "this agent itself" in "\n".join(refused.value.events)


# Sensors that come and go.


@pytest.fixture
def herd(fleet, agent, home, authority):
    """Factory: three sensors, an agent that was told of one of them, devices that enroll by TLS or plainly."""
    with contextlib.ExitStack() as ends:

        def start(names=(NAME, "127.0.0.1")):
            sensors = fleet()
            est = ends.enter_context(EstServer(authority, *names))
            one = agent(sensors.urls()[0])
            roster_known(one, 3)
            devices = Enrolling(home, one, est)
            ends.callback(devices.stop)
            devices.wait(6)
            return sensors, one, devices

        yield start


BOTH = pytest.mark.parametrize("names", [(NAME, "127.0.0.1"), ()], ids=["tunnels", "plain"])


@BOTH
def test_a_sensor_is_killed(herd, names, capsys):
    sensors, one, devices = herd(names)
    first = one.first()
    sensors.sensors[first].kill()
    devices.wait(10)
    devices.stop().figures(capsys, "a sensor is killed")
    # Only what was on its way through it, one for each device at most: TLS that has begun can't be moved, and a POST
    # that was sent must not be sent twice.
    assert len(devices.failed()) <= len(devices.devices), devices.failed()
    assert devices.delay() < 1 + devices.noise()
    one.wait_event(f"no longer to {first}")


def test_a_sensor_falls_silent(herd, capsys):
    sensors, one, devices = herd()
    first = one.first()
    with contextlib.ExitStack() as thawed:
        with devices.pause():  # tunnels that are open on it can't be moved
            thawed.enter_context(sensors.frozen(first))
        devices.wait(10)
        one.wait_event(f"no longer to {first}")
    devices.stop().figures(capsys, "a sensor falls silent")
    assert not devices.failed()
    assert devices.delay() < 2 + devices.noise()  # agent.attempt.timeout and 1 s


def test_a_plain_request_leaves_a_silent_sensor(fleet, agent, home, http_origin):
    sensors = fleet()
    origin = http_origin(lambda request: reply(b"crl"))
    one = agent(sensors.urls()[0])
    roster_known(one, 3)
    url = f"http://crl.enroll.test:{origin.port}/a.crl"
    assert curl(home, one.url, "--fail", url).returncode == 0
    with sensors.frozen(one.first()):
        done = curl(home, one.url, "--fail", "--write-out", "%{time_total}", url)
    assert done.returncode == 0, programs.told(done)
    assert 1 <= float(done.stdout.removeprefix(b"crl")) < 4, "one attempt and little more"


@BOTH
def test_a_sensor_is_drained(herd, names, capsys):
    sensors, one, devices = herd(names)
    first = one.first()
    sensors.sensors[first].terminate()
    assert sensors.sensors[first].wait() == 0
    devices.wait(10)
    devices.stop().figures(capsys, "a sensor is drained")
    assert not devices.failed()
    assert devices.delay() < 1 + devices.noise()


@BOTH
def test_all_are_restarted_one_after_another(herd, names, capsys):
    sensors, one, devices = herd(names)
    sensors.restart_all(lambda: devices.wait(6))
    devices.stop().figures(capsys, "all sensors are restarted, one after the other")
    assert not devices.failed()
    assert devices.delay() < 1 + devices.noise()


def test_acme_while_all_are_restarted(fleet, agent, home, authority):
    """lego, from a new account to its certificate, again and again."""
    sensors = fleet()
    one = agent(sensors.urls()[0])
    roster_known(one, 3)
    with Pebble(home / "pebble", authority) as pebble, concurrent.futures.ThreadPoolExecutor(1) as aside:
        trust = {"LEGO_CA_CERTIFICATES": authority.root.cert, "HTTPS_PROXY": one.url}
        restarts = aside.submit(sensors.restart_all)
        attempts = 0
        while not restarts.done() or attempts < 3:
            attempts += 1
            where = ("--accept-tos", "--email", "operator@enroll.test", "--path", home / f"{attempts}")
            proof = ("--domains", "device1.enroll.test", "--http", "--http.port", "127.0.0.1:0")
            done = programs.run(home, "lego", "--server", pebble.directory_url, *where, *proof, "run", **trust)
            assert done.returncode == 0, programs.told(done)
        restarts.result()


def test_near_ones_are_found(fleet, agent, certferry, enroll_settings):
    """Sensors that know each other by peers= alone tell their own zone only: each is asked."""
    same = enroll_settings | {"advertise.host": "127.0.0.1", "control.socket": ""}
    near = certferry(same | {"zone": "plant7"})
    far = [certferry(same | {"zone": "plant8", "peers": near.url}) for _ in range(2)]
    one = agent(*far, settings={"agent.zone": "plant7"})
    one.wait_event(f"exchanges go to sensor {near.url} first")


def test_it_goes_back_to_the_near_one(fleet, agent, home, est):
    """The near sensor, once it has come back and worked for agent.return.after; not before."""
    sensors = fleet(count=2)
    near, far = sensors.urls()
    liar = Liar(document([far[7:], near[7:]], zones=["plant8", "plant7"]))
    try:
        one = agent(liar.url, settings={"agent.zone": "plant7"})
        one.wait_event(f"exchanges go to sensor {near} first")
        sensors.sensors[near].kill()
        one.wait_event(f"no longer to {near}")
        began, before = time.monotonic(), len(one.events())
        sensors.again(near)
        one.wait_event(f"exchanges go to sensor {near} first", start=before)
        assert time.monotonic() - began > 1
    finally:
        liar.close()


# The roster.


def test_the_roster_is_kept_on_disk(fleet, agent, tmp_path, home, est):
    """An agent that was told of one sensor, and finds that one gone at its next start, still knows the others."""
    sensors = fleet()
    told, *others = sensors.urls()
    cache = {"agent.cache": tmp_path / "kept.json", "service.user": "root"}  # the directory is root's
    one = agent(told, settings=cache)
    roster_known(one, 3)
    wait_for((tmp_path / "kept.json").exists, lambda: "\n".join(one.events()))
    assert one.stop() == 0
    sensors.sensors[told].kill()
    two = agent(told, settings=cache)
    done = curl(home, two.url, "--fail", "--cacert", est.authority.root.cert, est.url("cacerts"))
    assert done.returncode == 0, programs.told(done)
    assert two.wait_log(lambda line: line["class"] == "tunnel")["parent"] in others


@pytest.mark.parametrize("kept", [b"", b"{}", b"not JSON \xff", b"[" * 100000])
def test_a_spoiled_file_is_no_trouble(agent, proxy, tmp_path, kept):
    (tmp_path / "kept.json").write_bytes(kept)
    one = agent(proxy, settings={"agent.cache": tmp_path / "kept.json"})
    one.wait_event("the last roster cannot be read from .*kept.json")
    roster_known(one, 1)


def document(members, zones=None, **more):
    """A PvD document with these (host:port), as a sensor would write it."""
    names = [f"http://{member}" for member in members]
    proxies = [
        {"protocol": "http-connect", "proxy": member, "identifier": name}
        for member, name in zip(members, names, strict=True)
    ]
    same = {"state": "up", "weight": 100, "started": 0, "self": False}
    facts = [same | {"zone": zone} for zone in zones or [""] * len(names)]
    whole = {
        "identifier": "px1.plant7.example",
        "expires": "2100-01-01T00:00:00Z",
        "prefixes": [],
        "proxies": proxies,
        "proxy-match": [{"domains": ["*.enroll.test"], "ports": ["443"], "proxies": names}],
        "vendor-certferry": {
            "version": "1",
            "members": [{"identifier": name} | fact for name, fact in zip(names, facts, strict=True)],
        },
    }
    return whole | more


class Liar:
    """Says that it is ready, and tells whatever roster it is given: bytes, or something to be sent as JSON."""

    def __init__(self, roster):
        self.roster = roster
        self.origin = HttpOrigin(self._answer)
        self.url = f"http://127.0.0.1:{self.origin.port}"
        self.asked = 0

    def _answer(self, request):
        if request.target != PVD:
            return reply(b"ready\n")
        self.asked += 1
        roster = self.roster(self) if callable(self.roster) else self.roster
        return reply(roster if isinstance(roster, bytes) else json.dumps(roster).encode())

    def close(self):
        self.origin.close()


def test_a_roster_that_could_not_be_kept(agent, tmp_path):
    """Where a directory stands no file can be put; once that is gone the same roster is kept, not only another."""
    soon = lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))  # noqa: E731
    liar = Liar(lambda self: document([self.url[7:]], expires=soon()))
    kept = tmp_path / "kept.json"
    kept.mkdir()
    try:
        one = agent(liar.url, settings={"agent.cache": kept, "service.user": "root"})
        one.wait_event("the roster cannot be kept in .*kept.json")
        kept.rmdir()
        one.wait_event("the roster is kept in .*kept.json again", timeout=2 * PATIENCE)  # asked for anew within 20 s
        assert kept.is_file()
        assert sum("cannot be kept" in event for event in one.events()) == 1
    finally:
        liar.close()


@pytest.mark.parametrize(
    "roster, said",
    [
        (b"", "no roster from"),
        (b"\x00" * 1000, "no roster from"),
        (b"[" * 200000, "no roster from"),
        (b'{"a":' * 3000, "no roster from"),
        (document([]), "it names nobody"),
        (document([f"127.0.0.1:{port}" for port in range(1000, 4000)]), "are too many"),
        (document(["127.0.0.1:1"], proxies="127.0.0.1:1"), "proxies: is not an array"),
        (document(["127.0.0.1:1"], proxies=[{"protocol": 1, "proxy": None}]), "is not a string"),
        (document(["x" * 100000 + ":1"]), "is too long"),
        (document(["127.0.0.1:1"], expires="2020-01-01T00:00:00Z"), "it has expired"),
        (document(["127.0.0.1:1"], expires="tomorrow"), "is not a time"),
        (lambda self: document([self.url[7:], "192.0.2.1:1", "evil.example:48999"]), "2 members of the roster are not"),
    ],
    ids="empty zeros deep deep-objects nobody thousands type types huge old date strangers".split(),
)
def test_rosters_that_lie(agent, roster, said):
    """Refused as a whole, or in the members that may not be used; told once; what was known before stays."""
    liar = Liar(roster)
    try:
        one = agent(liar.url)
        one.wait_event(said)
        assert sum(said in event for event in one.events()) == 1
        assert "certferry_agent_sensors 1\n" in metrics(one)
        assert one.first() == liar.url
    finally:
        liar.close()


def test_the_next_sensor_is_asked(agent, proxy):
    """When the first one's document is no good, whichever of the two comes first."""
    liar = Liar(b"no document")
    try:
        one = agent(liar.url, proxy)
        roster_known(one, 2)
    finally:
        liar.close()


def test_it_never_uses_itself(agent, proxy):
    """A roster that names the agent's own address, which would be a loop."""
    port = unused_port()
    liar = Liar(lambda self: document([f"127.0.0.1:{port}", f"localhost:{port}", self.url[7:]]))
    try:
        one = agent(liar.url, settings={"heartbeatport": port, "agent.domains": "localhost.test"})
        one.wait_event("names this agent itself")
        text = metrics(one)
        assert "certferry_agent_sensors 1\n" in text
        assert f"127.0.0.1:{port}" not in text
    finally:
        liar.close()


def test_an_answer_without_an_end(agent, proxy, home, est, origin):
    """200 and then nothing, or octets for ever: bounded, and the next sensor is asked."""

    def begin(connection):
        connection.read_until()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv()

    silent = origin(begin)
    one = agent(f"127.0.0.1:{silent.port}", proxy)
    one.wait_event(f"exchanges go to sensor {proxy.url} first")
    done = curl(home, one.url, "--fail", "--cacert", est.authority.root.cert, est.url("cacerts"))
    assert done.returncode == 0, programs.told(done)


def test_nobody_is_there(agent, home, tmp_path):
    """It starts, says that it is not ready, refuses; and all is well as soon as a sensor is there."""
    port = unused_port()
    one = agent(f"127.0.0.1:{port}")
    one.wait_event("no sensor is usable")
    with Client(one) as client:
        answer = client.fetch("/readyz", "Host: agent")
        assert (answer.status, answer.body) == (503, b"not ready: no sensor is usable\n")
    with pytest.raises(tunnels.Refused) as refused:
        tunnels.open_tunnel(one, NAME, 443)
    assert refused.value.status == 502
    late = Certferry(tmp_path / "late", {"heartbeatport": port, "advertise.host": "127.0.0.1", "control.socket": ""})
    try:
        one.wait_event("there is a usable sensor again")
    finally:
        late.stop()
        late.release_port()
    assert late.fault() is None


def test_a_signed_roster_may_name_strangers(agent, certferry, enroll_settings, authority, tmp_path):
    """Whom agent.signer shows to have signed is believed; the same document without a signature is not."""
    signer = authority.server("127.0.0.1")
    key = tmp_path / "sign.key"
    key.write_bytes(signer.key.read_bytes())
    key.chmod(0o600)
    root = {"service.user": "root"}  # where the files lie a service user could not go
    peers = root | {"peers": "http://px2.enroll.test:48999", "advertise.host": "127.0.0.1", "control.socket": ""}
    plain = certferry(enroll_settings | peers)
    signed = certferry(enroll_settings | peers | {"document.sign.key": key, "document.sign.cert": signer.cert})
    for sensor, settings, count in (
        (plain, {}, 1),
        (signed, {}, 1),
        (signed, {"agent.signer": signer.cert}, 2),
        (plain, {"agent.signer": signer.cert}, 1),
        (plain, {"agent.domains": "enroll.test"}, 2),
    ):
        roster_known(agent(sensor, settings=root | settings), count)
