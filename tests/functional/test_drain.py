"""
Leaving: first the roster and /readyz, then the listeners, last what is open; by a signal or by `certferry drain`. The
socket through which that command speaks: whose it is, and what becomes of its file.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import pytest
from support import programs
from support.certferry import BINARY, PATIENCE, SANITIZER_STATUS, NotReady
from support.daemons import unused_port
from support.origins import echo, pages
from support.raw_http import Client
from support.tunnels import connect, open_tunnel, read_exactly

NAME = "ca.enroll.test"
LONG = {"drain.notice": "10m", "drain.grace": "1h"}


@pytest.fixture
def place():
    """A directory in which the service user may make its socket."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="certferry-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def peer():
    """The address of a peer of whom nothing is known but that it is in the roster."""
    return {"peers": f"http://127.0.0.1:{unused_port()}"}


@pytest.fixture
def start(certferry, enroll_settings, place):
    """Factory: start(changed settings) -> running certferry with a control socket."""

    def make(changes=None, **how):
        settings = {"tunnel.sni": "off", "control.socket": place / "sock"}
        return certferry(enroll_settings | settings | (changes or {}), **how)

    return make


def command(proxy, *args):
    """`certferry drain`, running."""
    return subprocess.Popen(
        [BINARY, "drain", "--conf", proxy.directory / "conf", *args],
        env=programs.environment(proxy.directory, **programs.sanitizer_options(SANITIZER_STATUS)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """(exit status, standard output, standard error)"""
    said, complained = process.communicate(timeout=PATIENCE)
    return process.returncode, said, complained


def fetch(proxy, target):
    with Client(proxy) as client:
        return client.fetch(target, "Host: a")


def wait_deaf(proxy):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            connect(proxy).close()
        except ConnectionError:
            return
    raise AssertionError("it still listens")


def assert_served(sock):
    sock.sendall(b"x")
    assert read_exactly(sock, 1) == b"x"


def end(proxy):
    """The second signal ends everything."""
    proxy.terminate()
    assert proxy.wait() == 0


# The steps.


def test_new_clients_are_served_during_the_notice(start, peer, http_origin, origin, home):
    proxy = start(peer | LONG)
    web, secure = http_origin(pages({"/": b"ok"})), origin(echo)
    assert fetch(proxy, "/readyz").status == 200
    with open_tunnel(proxy, NAME, secure.port) as before, Client(proxy) as kept:
        assert kept.fetch(f"http://{NAME}:{web.port}/").status == 200
        proxy.terminate()
        proxy.wait_event("not ready any more")
        for _ in range(8):  # whichever worker answers
            answer = fetch(proxy, "/readyz")
            assert answer.status == 503 and b"shutting down" in answer.body
        assert fetch(proxy, "/healthz").status == 200
        url = f"http://{NAME}:{web.port}/"
        done = programs.run(home, "curl", "-sS", "--proxy", f"http://127.0.0.1:{proxy.port}", url)
        assert done.stdout == b"ok", programs.told(done)
        with open_tunnel(proxy, NAME, secure.port) as after:
            assert_served(after)
        assert kept.fetch(url).status == 200, "a connection that was there goes on, too"
        assert_served(before)
        end(proxy)
    assert not [line for line in proxy.events() if "no new connections" in line]


def test_then_the_listeners_close_and_tunnels_go_on(start, peer, origin):
    proxy = start(peer | {"drain.notice": "300ms", "drain.grace": "1h"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as tunnel, connect(proxy) as idle:
        proxy.terminate()
        proxy.wait_event("not ready any more")
        proxy.wait_event("no new connections")
        wait_deaf(proxy)
        assert idle.recv(1) == b""
        assert_served(tunnel)
        assert proxy.process.poll() is None
    assert proxy.wait() == 0


def test_gauge(start, peer):
    proxy = start(peer | LONG)
    assert re.search(rb"^certferry_ready 1$", fetch(proxy, "/metrics").body, re.MULTILINE)
    proxy.terminate()
    proxy.wait_event("not ready any more")
    assert re.search(rb"^certferry_ready 0$", fetch(proxy, "/metrics").body, re.MULTILINE)
    end(proxy)


def test_own_documents_say_it(start, peer):
    proxy = start(peer | LONG)
    assert b'"draining"' not in fetch(proxy, "/.well-known/pvd").body
    proxy.terminate()
    proxy.wait_event("not ready any more")
    deadline = time.monotonic() + PATIENCE  # each worker takes the new roster in its own time
    while b'"draining"' not in fetch(proxy, "/.well-known/pvd").body:
        assert time.monotonic() < deadline, fetch(proxy, "/.well-known/pvd").body
    end(proxy)


def test_alone_in_the_roster_nothing_is_waited_for(start):
    proxy = start(LONG)
    assert proxy.stop() == 0
    assert not [line for line in proxy.events() if "not ready any more" in line]


def test_a_load_balancer_is_somebody(start):
    """It looks at /readyz and sends new connections elsewhere, though the roster names nobody."""
    proxy = start(LONG | {"proxy.protocol.from": "192.0.2.1"})
    proxy.terminate()
    proxy.wait_event("not ready any more")
    assert fetch(proxy, "/readyz").status == 503
    end(proxy)


def test_second_signal_ends_the_notice(start, peer, origin):
    proxy = start(peer | LONG)
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as tunnel:
        proxy.process.send_signal(signal.SIGINT)
        proxy.wait_event("not ready any more")
        assert_served(tunnel)
        end(proxy)
    assert [line["outcome"] for line in proxy.log()] == ["drain-ended"]


def test_reload_during_the_notice(start, peer, http_origin):
    proxy = start(peer | LONG)
    web = http_origin(pages({"/": b"ok"}))
    proxy.terminate()
    proxy.wait_event("not ready any more")
    assert "in force" in proxy.reload({"allowed.domains": "enroll.test,other.test"})
    assert fetch(proxy, f"http://{NAME}:{web.port}/").status == 200
    assert fetch(proxy, "/readyz").status == 503
    end(proxy)


# The command.


def test_command_waits_for_the_end(start, peer, origin):
    proxy = start(peer | {"drain.notice": "300ms", "drain.grace": "1h"})
    server = origin(echo)
    with open_tunnel(proxy, NAME, server.port) as tunnel:
        process = command(proxy)
        proxy.wait_event("no new connections")
        wait_deaf(proxy)
        assert_served(tunnel)
        assert process.poll() is None and proxy.process.poll() is None
    status, said, complained = finish(process)
    assert (status, complained) == (0, "")
    steps = ["begins to drain", "not ready any more", "no new connections", "have ended"]
    assert [bool(re.search(step, line)) for step, line in zip(steps, said.splitlines(), strict=True)] == [True] * 4
    # Whoever sees it end may start the next one at once.
    assert proxy.process.wait(PATIENCE) == 0
    assert proxy.stop() == 0


def test_command_without_waiting(start, peer):
    proxy = start(peer | LONG)
    status, said, complained = finish(command(proxy, "--no-wait"))
    assert (status, complained) == (0, "") and "begins to drain" in said
    proxy.wait_event("not ready any more")
    assert proxy.process.poll() is None
    end(proxy)


def test_commands_one_after_the_other(start, peer):
    """The later ones only look on; none of them is a second signal."""
    proxy = start(peer | LONG)
    first = command(proxy)
    proxy.wait_event("not ready any more")
    second = command(proxy)
    assert "is draining already" in second.stdout.readline()
    assert fetch(proxy, "/healthz").status == 200
    end(proxy)
    assert finish(first)[0] == 0 and finish(second)[0] == 0


def test_command_that_is_stopped_stops_nothing(start, peer):
    proxy = start(peer | LONG)
    process = command(proxy)
    proxy.wait_event("not ready any more")
    process.kill()
    finish(process)
    assert fetch(proxy, "/healthz").status == 200
    end(proxy)


def test_killed_while_it_drains(start, peer):
    proxy = start(peer | LONG)
    process = command(proxy)
    proxy.wait_event("not ready any more")
    proxy.kill()
    status, _, complained = finish(process)
    assert status == 1 and "broke off" in complained


def test_nobody_there(start):
    proxy = start()
    assert proxy.stop() == 0
    status, said, complained = finish(command(proxy))
    assert (status, said) == (1, "") and "no certferry to talk to" in complained


def test_no_socket_configured(start):
    proxy = start({"control.socket": ""})
    status, _, complained = finish(command(proxy))
    assert status == 1 and "control.socket" in complained and "SIGTERM" in complained


def test_somebody_else_there(start, place):
    """Whatever listens at the path: its words are not taken for an answer."""
    proxy = start()
    assert proxy.stop() == 0
    for word in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"o", b"\x1b[2J\n", b"ok\n\x1b[2J\xff\x07begins to drain\n"):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place / "sock"))
            listener.listen()
            process = command(proxy)
            with listener.accept()[0] as other:
                other.settimeout(PATIENCE)
                assert other.recv(100) == b"drain\n"
                other.sendall(word)
            status, said, complained = finish(process)
            assert status == 1 and str(place / "sock") in complained
            assert (said + complained).replace("\n", "").isprintable()
        (place / "sock").unlink()


def test_wrong_usage(home):
    for args in (["drain", "now"], ["drain", "--no-wait=yes"], ["serve", "--no-wait"], ["drain", "--force"]):
        done = programs.run(home, BINARY, *args)
        assert done.returncode == 2, programs.told(done)


# The socket's file.


def test_file_is_the_service_users_alone_and_goes_with_it(start, place):
    proxy = start()
    found = (place / "sock").stat()
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == pathlib.Path(f"/proc/{proxy.process.pid}").stat().st_uid or os.geteuid() == 0
    assert proxy.stop() == 0
    assert not (place / "sock").exists()


def test_file_of_one_that_was_killed(start, place):
    proxy = start()
    proxy.kill()
    assert (place / "sock").exists()
    proxy = start()
    assert finish(command(proxy))[0] == 0
    assert proxy.wait() == 0


def test_file_in_use(start, place):
    proxy = start()
    with pytest.raises(NotReady) as caught:
        start()
    assert caught.value.status == 1
    assert any("control.socket" in line and "another certferry" in line for line in caught.value.events)
    assert finish(command(proxy, "--no-wait"))[0] == 0
    assert proxy.wait() == 0


@pytest.mark.parametrize("path, told", [("sock", "full path"), ("/" + 200 * "x", "longer than 107")])
def test_path_that_cannot_be(start, path, told):
    with pytest.raises(NotReady) as caught:
        start({"control.socket": path})
    assert any("control.socket" in line and told in line for line in caught.value.events)


def test_directory_that_is_not_there(start, place):
    with pytest.raises(NotReady) as caught:
        start({"control.socket": place / "none/sock"})
    assert any("control.socket" in line and "no such file" in line for line in caught.value.events)


def test_silent_visitors_hold_up_nothing(start, place, peer):
    """More of them than there are places, and one that says too much."""
    proxy = start(peer | LONG)
    visitors = [socket.socket(socket.AF_UNIX) for _ in range(12)]
    for visitor in visitors:
        visitor.connect(str(place / "sock"))  # waits while the queue is full
        visitor.settimeout(PATIENCE)
    visitors[0].sendall(b"x" * 300)
    assert visitors[0].recv(100).startswith(b"error: too long a request")
    process = command(proxy)
    assert "begins to drain" in process.stdout.readline(), "the silent ones were closed in time"
    assert fetch(proxy, "/healthz").status == 200
    end(proxy)
    assert finish(process)[0] == 0
    for visitor in visitors:
        visitor.close()


def test_drained_under_load(start, peer, http_origin):
    """Everybody who comes during the notice is served; after it everybody is refused, and nobody is left hanging."""
    proxy = start(peer | {"drain.notice": "500ms", "drain.grace": "1h"})
    web = http_origin(pages({"/": b"ok"}))
    failures = []  # when, what

    def client():
        while True:
            try:
                with Client(proxy) as one:
                    assert one.fetch(f"http://{NAME}:{web.port}/").body == b"ok"
            except ConnectionRefusedError:
                return
            except (OSError, AssertionError, EOFError) as error:
                # Accepted by the kernel while the listener was closing: it ends, and that is after the notice.
                failures.append((time.monotonic(), error))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    process = command(proxy)
    asked = time.monotonic()
    proxy.wait_event("not ready any more")
    assert fetch(proxy, f"http://{NAME}:{web.port}/").status == 200
    proxy.wait_event("no new connections")
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert finish(process)[0] == 0
    early = [(when, error) for when, error in failures if when < asked + 0.5]
    assert not early, early
