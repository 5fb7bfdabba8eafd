"""
One process of the proxy after the other on the same listening sockets: `serve --takeover`, and sockets that a service
manager holds. Not one connection is refused, reset or left without its answer.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from support import fleets, gateway, programs
from support.agent import Agent
from support.certferry import BINARY, PATIENCE, SANITIZER_STATUS, Certferry, NotReady
from support.daemons import unused_port
from support.etcd import Etcd
from support.origins import echo, pages
from support.raw_http import Client
from support.tls_door import DoorClient, context, door_settings, resume
from support.tunnels import connect, open_tunnel, read_exactly
from support.upgrades import (
    TAKEOVER,
    Load,
    activated,
    all_closed,
    ask_listeners,
    half_a_successor,
    listening,
    open_place,
    place_settings,
    played_old_one,
)

NAME = "ca.enroll.test"
EST = "/.well-known/est/cacerts"
ROUNDS = 10
WORKERS = (2, 4, 1, 3)  # one after the other: more of them than sockets, and fewer
STRANGER = "daemon"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def place():
    with open_place() as path:
        yield path


@pytest.fixture
def upgrade_settings(enroll_settings, place):
    return enroll_settings | place_settings(place)


@pytest.fixture
def start(certferry, upgrade_settings):
    """Factory: start(changed settings) -> running certferry with the control socket of all."""

    def make(changes=None, **how):
        return certferry(upgrade_settings | (changes or {}), **how)

    return make


@pytest.fixture
def targets(origin, http_origin):
    """Ports of a server for tunnels and of one for GET."""
    return origin(echo).port, http_origin(pages({"/": b"ok"})).port


def fetch(proxy, target="/readyz"):
    with Client(proxy) as client:
        return client.fetch(target, "Host: a")


def assert_served(tunnel):
    tunnel.sendall(b"x")
    assert read_exactly(tunnel, 1) == b"x"


def assert_gone(proxy):
    """It ends by itself, in order."""
    assert proxy.wait() == 0


def assert_refused(port):
    with pytest.raises(ConnectionRefusedError):
        connect_to(port)


def connect_to(port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def drain(proxy):
    """`certferry drain`; its output."""
    done = subprocess.run(
        [BINARY, "drain", "--conf", proxy.directory / "conf"],
        env=programs.environment(proxy.directory, **programs.sanitizer_options(SANITIZER_STATUS)),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.decode()


# serve --takeover.


def test_ten_takeovers_under_load(start, targets):
    """Tunnels that are open go on in the process that has them, each to its end."""
    proxies = [start({"threads": "2"})]
    tunnels = []
    with Load(proxies[0], NAME, *targets) as load:
        for number in range(1, ROUNDS + 1):
            tunnels.append(open_tunnel(proxies[-1], NAME, targets[0]))
            load.wait(50)
            proxies.append(start({"threads": WORKERS[number % len(WORKERS)]}, args=TAKEOVER))
            assert proxies[-1].port == proxies[0].port, "port 0: that of the socket"
            proxies[-2].wait_event("has taken over")
        load.wait(100)
        for tunnel in tunnels:
            assert_served(tunnel)
            tunnel.close()
        for proxy in proxies[:-1]:
            assert_gone(proxy)
        load.wait(50)
    assert load.failures == []
    assert proxies[-1].stop() == 0


def test_every_socket_goes_over(start, place):
    """Four workers have a queue each; one alone then serves all of them, and hands them on again."""
    first = start({"threads": "4"})
    second = start({"threads": "1"}, args=TAKEOVER)
    second.wait_event("shares 4 sockets with us")
    assert_gone(first)
    third = start({"threads": "8", "heartbeatport": second.port}, args=TAKEOVER)
    third.wait_event("shares 4 sockets with us")
    assert_gone(second)
    for _ in range(64):
        assert fetch(third).status == 200


def test_who_has_not_spoken_yet_is_served(start, targets):
    """Accepted, by the old one perhaps, and not closed for that the new one is there."""
    old = start()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(Client(old)) for _ in range(32)]
        assert_served(stack.enter_context(open_tunnel(old, NAME, targets[0])))
        new = start(args=TAKEOVER)
        old.wait_event("no new connections")
        for client in silent:
            assert client.fetch(f"http://{NAME}:{targets[1]}/").status == 200
        for _ in range(8):
            assert fetch(new).status == 200
    assert_gone(old)


def test_the_old_one_says_it_is_ready_to_the_end(start):
    old = start()
    with Client(old) as early:
        # Its request is under way, so the old one certainly has it.
        early.send(b"GET /readyz HTTP/1.1\r\n")
        assert fetch(old).status == 200
        start(args=TAKEOVER)
        old.wait_event("no new connections")
        early.send(b"Host: a\r\n\r\n")
        answer = early.response("GET")
    # Whether it says that it closes is open: the worker may not have heard of the drain yet. Then it just closes.
    assert answer.status == 200
    assert_gone(old)


def test_nobody_to_take_over_from(start):
    proxy = start(args=TAKEOVER)
    proxy.wait_event("takeover: nobody is at .* starting as usual")
    proxy.kill()
    proxy = start(args=TAKEOVER)  # its file was left behind
    proxy.wait_event("takeover: nobody is at")
    assert fetch(proxy).status == 200


def test_without_a_control_socket(start):
    with pytest.raises(NotReady) as caught:
        start({"control.socket": ""}, args=TAKEOVER)
    assert caught.value.status == 1
    assert any("control.socket" in line and "--takeover needs it" in line for line in caught.value.events)


def test_drain_reaches_the_new_one(start, place, targets):
    """The file is the new one's, also when the old one ends after it."""
    old = start()
    with open_tunnel(old, NAME, targets[0]) as tunnel:
        new = start(args=TAKEOVER)
        old.wait_event("no new connections")
        assert [path.name for path in place.iterdir()] == ["sock"]
        assert_served(tunnel)
    assert_gone(old)
    assert [path.name for path in place.iterdir()] == ["sock"]
    assert f"process {new.process.pid} begins to drain" in drain(new)
    assert_gone(new)
    assert not list(place.iterdir())


def test_other_doors_and_another_port(start):
    """What the new configuration does not name is closed, and told; what it adds is bound as ever."""
    plain = start()
    opened = start({"passthrough.listen": "127.0.0.1:0"}, args=TAKEOVER)
    assert_gone(plain)
    door = opened.listeners[1]
    assert door.startswith("passthrough 127.0.0.1:")
    kept = start({"passthrough.listen": "127.0.0.1:0", "threads": "3"}, args=TAKEOVER)
    assert kept.listeners == opened.listeners
    assert_gone(opened)
    closed = start(args=TAKEOVER)
    closed.wait_event(f"socket of {door.split()[1]} is closed: no key names that address for door passthrough")
    assert_gone(kept)
    assert_refused(int(door.rpartition(":")[2]))
    port = unused_port()
    moved = start({"heartbeatport": port}, args=TAKEOVER)
    assert moved.port == port
    assert_gone(closed)
    assert_refused(closed.port)
    assert fetch(moved).status == 200


def test_a_wider_address(start):
    """The old one has one address of the port, the new one wants all: not both can be had. It says what to do."""
    first = start()
    with pytest.raises(NotReady) as caught:
        start({"heartbeatport": first.port, "listen.addresses": "0.0.0.0"}, args=TAKEOVER)
    held = f"the socket of 127.0.0.1:{first.port} that we were given for door proxy has that port; keep to its address"
    assert any(f"cannot listen on 0.0.0.0:{first.port}: " in line and held in line for line in caught.value.events)
    assert fetch(first).status == 200


def test_every_kind_of_door_goes_over(start, targets, authority, http_origin):
    """A handshake is over where it has begun; the door's next process has the certificate as well."""
    est = http_origin(pages({EST: b"ok"}), certificate=authority.server(NAME))
    own = authority.server("localhost", "127.0.0.1")
    doors = door_settings(own) | gateway.settings(authority, f"https://{NAME}:{est.port}") | gateway.tls_settings(own)
    doors |= {"gateway.redirect.listen": "127.0.0.1:0"}
    doors |= {"passthrough.listen": "127.0.0.1:0", "passthrough.port": est.port}
    trust = context(authority)
    proxies = [start(doors)]
    assert set(proxies[0].doors) == {"tls", "gateway", "redirect", "passthrough"}

    def visitor(target, status=200, **how):
        def visit():
            with DoorClient(proxies[0], trust, **how) as client:
                assert client.fetch(target, "Host: localhost").status == status

        return visit

    def be_redirected():
        with gateway.DoorClient(proxies[0], "redirect") as client:
            assert client.fetch(EST, "Host: localhost").status == 308

    visitors = [
        visitor(f"http://{NAME}:{targets[1]}/"),
        visitor(EST, door="gateway"),
        visitor(EST, door="passthrough", name=NAME),
        be_redirected,
    ]
    with Load(proxies[0], NAME, *targets, clients=14, more=visitors) as load:
        for threads in WORKERS:
            load.wait(70)
            proxies.append(start(doors | {"threads": threads}, args=TAKEOVER))
            assert proxies[-1].listeners == proxies[0].listeners
        load.wait(70)
        for proxy in proxies[:-1]:
            assert_gone(proxy)
    assert load.failures == []
    plain = start(args=TAKEOVER)
    assert_gone(proxies[-1])
    for port in proxies[0].doors.values():
        assert_refused(port)
    assert fetch(plain).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_sessions_begin_anew(start, authority, version):
    """What the old process has promised the new one cannot keep; it is no error, but a whole handshake."""
    door = door_settings(authority.server("localhost", "127.0.0.1"))
    tls = context(authority, version=version)
    old = start(door)
    _, session = resume(old, tls)
    resumed, session = resume(old, tls, session)
    assert resumed
    new = start(door, args=TAKEOVER)
    assert_gone(old)
    resumed, later = resume(new, tls, session)
    assert not resumed
    assert resume(new, tls, later)[0]


def test_a_socket_does_not_change_its_door(start):
    """Whoever has tunnels at an address must not find something else there by a mistake."""
    first = start({"passthrough.listen": "127.0.0.1:0"})
    port = int(first.listeners[1].rpartition(":")[2])
    with pytest.raises(NotReady) as caught:
        start({"heartbeatport": port}, args=TAKEOVER)
    held = f"the socket of 127.0.0.1:{port} that we were given for door passthrough has that port"
    assert any(f"cannot listen on 127.0.0.1:{port}" in line and held in line for line in caught.value.events)
    assert fetch(first).status == 200


def test_a_new_one_that_fails_changes_nothing(start, place, targets):
    proxy = start()
    busy = listening()
    with Load(proxy, NAME, *targets) as load, open_tunnel(proxy, NAME, targets[0]) as tunnel, busy:
        for changes in (
            {"allowed.domains": "not a domain"},
            {"heartbeatport": busy.getsockname()[1]},
            {"service.user": "no-such-user"} if os.geteuid() == 0 else {"threads": "x"},
        ):
            load.wait(20)
            with pytest.raises(NotReady) as caught:
                start(changes, args=TAKEOVER)
            assert caught.value.status == 1
        proxy.wait_event("ended before it had taken over, or took too long: we go on")
        load.wait(20)
        assert_served(tunnel)
        assert [path.name for path in place.iterdir()] == ["sock"]
    assert load.failures == []
    start(args=TAKEOVER)
    assert_gone(proxy)


def test_two_at_once(start, place):
    """The second is told so; when the first ends without being ready, another may try."""
    proxy = start()
    connection, text, sockets = ask_listeners(place / "sock")
    assert text == "ok\nproxy\nproxy\n.\n"
    with connection, all_closed(sockets):
        assert {one.getsockname() for one in sockets} == {("127.0.0.1", proxy.port)}
        with pytest.raises(NotReady) as caught:
            start(args=TAKEOVER)
        assert caught.value.status == 1
        assert any("another process is taking over already" in line for line in caught.value.events)
        assert fetch(proxy).status == 200
    proxy.wait_event("we go on")
    start(args=TAKEOVER)
    assert_gone(proxy)


def test_many_at_once(start, upgrade_settings, targets, tmp_path):
    """However they meet: one serves in the end, and no connection is lost."""
    first = start()
    started, refusals = [], []

    def try_it(number):
        try:
            started.append(Certferry(tmp_path / f"try-{number}", upgrade_settings, TAKEOVER))
        except NotReady as refused:
            refusals.append([line for line in refused.events if "takeover: " in line][-1])

    with Load(first, NAME, *targets) as load:
        threads = [threading.Thread(target=try_it, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        load.wait(100)
        assert_gone(first)
        fleets.wait_until(lambda: sum(proxy.process.poll() is None for proxy in started) == 1, "more than one stays")
    assert load.failures == []
    assert len(started) + len(refusals) == 4
    assert all("taking over already" in line or "draining" in line for line in refusals), refusals
    for proxy in started:
        with proxy:
            assert proxy.stop() == 0
        proxy.release_port()


def test_the_new_one_is_killed(start, place, targets):
    """It has the sockets, and has accepted nothing; nobody who came meanwhile is lost with it."""
    proxy = start()
    with Load(proxy, NAME, *targets) as load:
        with half_a_successor(place / "sock") as half:
            load.wait(50)
            half.kill()
            proxy.wait_event(f"process {half.pid} ended before it had taken over.* we go on")
        load.wait(50)
    assert load.failures == []
    start(args=TAKEOVER)
    assert_gone(proxy)


def test_the_old_one_is_killed(start, place):
    """It has given its sockets, which are ours now; that it hears no more is told, and no reason to give up."""
    with listening() as held:
        port = held.getsockname()[1]
        waiting = connect_to(port)
        with played_old_one(place / "sock", b"ok\nproxy\n.\n", held):
            new = start({"heartbeatport": port}, args=TAKEOVER)
    new.wait_event("has ended or no longer waits for us")
    with waiting:
        waiting.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_exactly(waiting, 12) == b"HTTP/1.1 200"
    third = start({"heartbeatport": port}, args=TAKEOVER)
    assert_gone(new)
    assert fetch(third).status == 200


def test_the_old_one_hangs(start):
    """Nothing can be had from it, and nothing taken; when it wakes it serves on."""
    proxy = start()
    proxy.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(NotReady) as caught:
            start(args=TAKEOVER)
    finally:
        proxy.process.send_signal(signal.SIGCONT)
    assert caught.value.status == 1
    assert any("takeover: " in line and "no answer in time" in line for line in caught.value.events)
    proxy.wait_event("ended before it had taken over")
    assert fetch(proxy).status == 200
    start(args=TAKEOVER)
    assert_gone(proxy)


def test_more_sockets_than_descriptors(start):
    """Not one of them may be lost on the way: it goes without any."""
    proxy = start({"threads": 30})
    with pytest.raises(NotReady) as caught:
        start(args=TAKEOVER, within=("prlimit", "--nofile=24:24"))
    assert any("more descriptors than this process may have; raise LimitNOFILE" in line for line in caught.value.events)
    assert fetch(proxy).status == 200
    start(args=TAKEOVER)
    assert_gone(proxy)


def test_another_version(start, place):
    """An old one that knows of no takeover; one whose doors have names that are not ours yet."""
    with played_old_one(place / "sock", b"error: unknown command\n.\n"), pytest.raises(NotReady) as caught:
        start(args=TAKEOVER)
    assert any("too old to give its sockets away; restart it instead" in line for line in caught.value.events)
    (place / "sock").unlink()
    with listening() as ours, listening() as other:
        port, elsewhere = (sock.getsockname()[1] for sock in (ours, other))
        with played_old_one(place / "sock", b"ok\nproxy\nquic\n.\n", ours, other):
            new = start({"heartbeatport": port}, args=TAKEOVER)
        new.wait_event(rf"inherited socket of 127\.0\.0\.1:{elsewhere} is closed: no key names that address")
    assert fetch(new).status == 200


def test_words_that_are_not_expected(start, place):
    proxy = start()
    for word in (b"x", b"take over\n", b"\n", b"drain\n"):
        connection, _, sockets = ask_listeners(place / "sock")
        with connection, all_closed(sockets):
            connection.sendall(word)
            with contextlib.suppress(ConnectionResetError):  # of what it did not read
                assert connection.recv(100) == b""
        assert fetch(proxy).status == 200
    assert not [line for line in proxy.events() if "drain" in line]


def test_not_from_one_that_drains(start, targets):
    proxy = start({"peers": f"http://127.0.0.1:{unused_port()}", "drain.notice": "10m"})
    proxy.terminate()
    proxy.wait_event("not ready any more")
    with pytest.raises(NotReady) as caught:
        start(args=TAKEOVER)
    assert any("it is draining" in line for line in caught.value.events)
    proxy.terminate()
    assert_gone(proxy)


def test_drained_while_another_takes_over(start, place):
    """Whoever was slower finds it ended; what it has been given is its own."""
    proxy = start()
    connection, _, sockets = ask_listeners(place / "sock")
    with connection, all_closed(sockets):
        proxy.terminate()
        assert connection.recv(100) == b""
        assert_gone(proxy)


@needs_root
def test_a_stranger_gets_nothing(start, place):
    proxy = start()
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(place / 'sock')!r})"
    done = programs.run(place, "setpriv", f"--reuid={STRANGER}", "--clear-groups", sys.executable, "-c", script)
    assert b"PermissionError" in done.stderr, programs.told(done)
    # The mode alone would not be enough.
    (place / "sock").chmod(0o666)
    script = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(place / 'sock')!r});"
        "s.sendall(b'listeners\\n'); print(s.recvmsg(1000, 1000))"
    )
    done = programs.run(place, "setpriv", f"--reuid={STRANGER}", "--clear-groups", sys.executable, "-c", script)
    assert b"error: only root and the service user may take over" in done.stdout, programs.told(done)
    assert b"(b'error" in done.stdout and b", [], " in done.stdout
    assert fetch(proxy).status == 200


@needs_root
def test_not_from_a_stranger(start, place):
    """Who has put himself in the place of the socket is not asked at all."""
    script = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(place / 'sock')!r}); s.listen();"
        "print('there', flush=True); print(s.accept()[0].recv(100), flush=True)"
    )
    command = ("setpriv", f"--reuid={STRANGER}", "--clear-groups", sys.executable, "-c", script)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=programs.environment(place)) as other:
        assert other.stdout.readline() == b"there\n"
        with pytest.raises(NotReady) as caught:
            start(args=TAKEOVER)
        assert any("neither root nor the service user" in line for line in caught.value.events)
        assert other.stdout.readline() == b"b''\n"
    assert caught.value.status == 1


@needs_root
def test_a_privileged_port_without_root(place, upgrade_settings):
    """Bound once by root, it stays bound from process to process, which are the service user's."""
    account = pwd.getpwnam(STRANGER)
    binary = shutil.copy(BINARY, place / "certferry")
    for port in range(1023, 512, -1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            break
    settings = upgrade_settings | {"service.user": STRANGER, "heartbeatport": port}
    within = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    with Certferry(place / "1", settings, binary=binary) as old:
        for number in ("2", "3"):
            (place / number).mkdir(mode=0o755)
            new = Certferry(place / number, settings, TAKEOVER, binary=binary, within=within)
            assert_gone(old)
            assert (new.port, fetch(new).status) == (port, 200)
            assert pathlib.Path(f"/proc/{new.process.pid}").stat().st_uid in (account.pw_uid, 0)
            old = new
        assert old.stop() == 0
        old.release_port()


# The service manager.


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(start, place, abstract):
    """sd_notify(3): ready when it is, stopping when it drains or is taken over from; never waited for."""
    name = f"@certferry-{place.name}" if abstract else str(place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(PATIENCE)
        if not abstract:
            os.chmod(name, 0o666)
        old = start(NOTIFY_SOCKET=name)
        assert manager.recv(100) == b"READY=1"
        new = start(args=TAKEOVER, NOTIFY_SOCKET=name)
        assert {manager.recv(100), manager.recv(100)} == {b"STOPPING=1", b"READY=1"}
        assert_gone(old)
        with pytest.raises(NotReady):
            start({"allowed.domains": "not a domain"}, NOTIFY_SOCKET=name)
        assert new.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"
        manager.settimeout(0)
        with pytest.raises(BlockingIOError):
            manager.recv(100)


@pytest.mark.parametrize("name", ["", "relative", "@", "/nobody/there", "/" + 200 * "x"])
def test_a_manager_that_cannot_be_told(start, name):
    proxy = start(NOTIFY_SOCKET=name)
    proxy.wait_event("NOTIFY_SOCKET: nobody can be reached")
    assert fetch(proxy).status == 200


# The roster: nobody may notice.


def test_peers_and_etcd_see_no_gap(certferry, upgrade_settings, place, tmp_path):
    with Etcd(tmp_path / "etcd") as etcd:
        shared = upgrade_settings | {
            "advertise.host": "127.0.0.1",
            "etcd.endpoints": etcd.url,
            "etcd.lease.ttl": "2s",
            "probe.interval": "100ms",
            "probe.timeout": "5s",
        }
        proxy = certferry(shared)
        peer = certferry(shared | {"control.socket": ""})
        here = fleets.place(proxy)
        fleets.wait_until(lambda: fleets.states(peer).get(here) == "up", "the peer never saw it")
        seen, ending = set(), threading.Event()

        def watch():
            while not ending.is_set():
                seen.add(fleets.states(peer).get(here, "absent"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        key, begun = f"/certferry/v1/{here}", etcd.describe(f"/certferry/v1/{here}")
        for _ in range(3):
            following = certferry(shared, args=TAKEOVER)
            assert_gone(proxy)
            proxy = following
        # The leases of those that went have ended by themselves.
        fleets.wait_until(lambda: len(etcd.leases()) == 2, "leases stay")
        ending.set()
        watcher.join(PATIENCE)
        assert seen == {"up"}
        now = etcd.describe(key)
        assert now["create_revision"] == begun["create_revision"], "the key was never away"
        assert now["lease"] != begun["lease"] and int(now["version"]) > int(begun["version"])


# Sockets of a service manager.


@pytest.mark.parametrize("count", [1, 3])
def test_ten_restarts_by_activation_under_load(start, targets, count):
    first = listening(reuse_port=count > 1)
    port = first.getsockname()[1]
    held = [first, *(listening(port=port, reuse_port=True) for _ in range(count - 1))]
    sockets = activated(*(("", one) for one in held))
    settings = {"heartbeatport": port, "drain.grace": "10s"}
    with all_closed(held):
        proxy = start(settings, **sockets)
        with Load(proxy, NAME, *targets, ready=False) as load:  # one that ends says that it is not
            for number in range(ROUNDS):
                load.wait(50)
                assert proxy.stop() == 0
                proxy = start(settings | {"threads": WORKERS[number % len(WORKERS)]}, **sockets)
                assert proxy.listeners == [f"127.0.0.1:{port}"]
            load.wait(50)
        assert load.failures == []
        assert proxy.stop() == 0


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_sockets_and_workers_of_any_number(start, targets, count, threads):
    """A crowd that is in the queues before the first worker looks: nobody is forgotten, now or later."""
    first = listening(reuse_port=True)
    port = first.getsockname()[1]
    held = [first, *(listening(port=port, reuse_port=True) for _ in range(count - 1))]
    with all_closed(held), contextlib.ExitStack() as stack:

        class Place:
            pass

        Place.port = port
        crowd = [stack.enter_context(Client(Place)) for _ in range(200)]
        proxy = start({"heartbeatport": port, "threads": threads}, **activated(*(("", one) for one in held)))
        for client in crowd:
            client.ask(f"http://{NAME}:{targets[1]}/")
        for client in crowd:
            assert client.response("GET").status == 200
        for _ in range(50):
            assert fetch(proxy).status == 200


def test_activated_then_taken_over(start, targets):
    """The manager's socket goes on to the next process, and is still the manager's afterwards."""
    held = listening()
    port = held.getsockname()[1]
    settings = {"heartbeatport": port}
    with held:
        first = start(settings, **activated(("proxy", held)))
        with Load(first, NAME, *targets) as load:
            second = start(settings, args=TAKEOVER)
            assert_gone(first)
            third = start(settings, args=TAKEOVER, **activated(("proxy", held)))
            assert not [line for line in third.events() if "is closed" in line], "the same socket twice is one"
            assert_gone(second)
            load.wait(50)
        assert load.failures == []
        assert third.stop() == 0
        with connect(third) as waiting:
            fourth = start(settings, **activated(("proxy", held)))
            waiting.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_exactly(waiting, 12) == b"HTTP/1.1 200"
        assert fourth.stop() == 0


def test_an_agent_is_activated_too(start, targets, tmp_path):
    sensor = start()
    with listening() as held:
        port = held.getsockname()[1]
        for number in range(2):
            agent = Agent(tmp_path / f"agent-{number}", [sensor.url], {"heartbeatport": port}, **activated(("", held)))
            with agent:
                assert agent.port == port
                assert fetch(agent, f"http://{NAME}:{targets[1]}/").status == 200
                assert agent.stop() == 0
            agent.release_port()


def test_names_part_the_doors(start):
    with listening() as one, listening() as other:
        ports = [sock.getsockname()[1] for sock in (one, other)]
        settings = {"heartbeatport": "0", "passthrough.listen": "127.0.0.1:0"}
        proxy = start(settings, **activated(("passthrough", one), ("proxy", other)))
        assert proxy.listeners == [f"127.0.0.1:{ports[1]}", f"passthrough 127.0.0.1:{ports[0]}"]


def test_what_nobody_wants_is_closed(start):
    with listening() as ours, listening() as other:
        proxy = start({"heartbeatport": ours.getsockname()[1]}, **activated(("", ours), ("", other)))
        proxy.wait_event(rf"inherited socket of 127\.0\.0\.1:{other.getsockname()[1]} is closed: no key names")
        assert fetch(proxy).status == 200


def test_descriptors_that_are_no_listeners(start, place):
    """They are closed and told; what is configured is bound as ever."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.socket())
        plain.bind(("127.0.0.1", 0))
        udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(place / "other"))
        unix.listen()
        file = stack.enter_context(open("/dev/null", "rb"))
        both = stack.enter_context(socket.socket(socket.AF_INET6))
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        both.listen()
        server = stack.enter_context(listening())
        talking = stack.enter_context(connect_to(server.getsockname()[1]))
        proxy = start(**activated(*(("proxy", one) for one in (plain, udp, unix, file, both, talking))))
        told = [line for line in proxy.events() if "is not used: " in line]
        assert [line.rpartition("is not used: ")[2].split(";")[0] for line in told] == [
            "it does not listen",
            "it is no TCP socket",
            "it is no TCP socket",
            "it is no socket",
            "it takes IPv4 as well",
            "it does not listen",
        ]
        assert fetch(proxy).status == 200


def test_sockets_for_somebody_else(start):
    with listening() as held:
        proxy = start(LISTEN_PID="1", **activated(("proxy", held)))
        proxy.wait_event("LISTEN_FDS is for process 1, not for us")
        assert proxy.port != held.getsockname()[1]


@pytest.mark.parametrize("variable, value", [("LISTEN_FDS", "all"), ("LISTEN_FDS", "-1"), ("LISTEN_PID", "")])
def test_variables_that_make_no_sense(start, variable, value):
    with listening() as held, pytest.raises(NotReady) as caught:
        start(**{variable: value}, **activated(("proxy", held)))
    assert caught.value.status == 1
    assert any(variable in line for line in caught.value.events)


def test_more_promised_than_given(start):
    with listening() as held:
        proxy = start(LISTEN_FDS="3", **activated(("proxy", held)))
        proxy.wait_event("LISTEN_FDS tells of 3 descriptors, but 4 is not open")
        assert proxy.port == held.getsockname()[1]


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd here")
def test_with_systemds_own_activator(start):
    """It listens, and starts the program with the first connection."""
    port = unused_port()
    within = ("systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--fdname=proxy")
    ended = threading.Event()

    def knock():
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert read_exactly(sock, 12) == b"HTTP/1.1 200"
                ended.set()

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        proxy = start({"heartbeatport": port}, within=within)
        thread.join(PATIENCE)
        assert ended.is_set()
    finally:
        ended.set()
    assert not [line for line in proxy.events() if "is closed" in line or "not used" in line]
