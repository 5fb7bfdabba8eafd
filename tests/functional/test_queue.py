"""
The pacing queue: limit.upstream.per.host bounds the connections in use to one origin, further requests wait their turn,
round robin over client addresses; those who leave are forgotten at once.
"""

import signal
import threading

import pytest
from support.certferry import PATIENCE
from support.origins import reply
from support.raw_http import Client, assert_refused, ended_with, metric, request

NAME = "ca.enroll.test"


class Gate:
    """An origin's script that tells who came, by the path or the first octets, and answers when it is let to."""

    def __init__(self):
        self.order = []
        self._changed = threading.Condition()
        self._let = 0

    def pass_one(self, who):
        """Called by the origin: notes the visitor and holds it until there is a permit."""
        with self._changed:
            self.order.append(who)
            turn = len(self.order)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._let >= turn, PATIENCE)

    def let(self, count):
        with self._changed:
            self._let += count
            self._changed.notify_all()

    def wait(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.order) >= count, PATIENCE), self.order
            return list(self.order)


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.let(10**6)


@pytest.fixture
def web(gate, http_origin):
    """A plain-HTTP origin behind the gate; its URL."""

    def answer(asked):
        gate.pass_one(asked.target)
        return reply(asked.target.encode())

    return f"http://{NAME}:{http_origin(answer).port}"


@pytest.fixture
def raw(gate, origin):
    """A tunnel's origin behind the gate: reads a line, echoes it when let; its port."""

    def script(connection):
        line = connection.read_until(b"\n")
        gate.pass_one(line.decode().strip())
        connection.send(line)
        connection.read_to_end()

    return origin(script).port


@pytest.fixture
def start(certferry, enroll_settings):
    def make(**changes):
        settings = {"limit.upstream.per.host": "1", "tunnel.sni": "off", "queue.timeout": "14s"}
        return certferry(enroll_settings | settings | {key.replace("_", "."): value for key, value in changes.items()})

    return make


def waits_in_queue(proxy, count):
    """Until so many requests have had to wait."""
    proxy_queue = lambda: metric(proxy, "queue_entered_total")  # noqa: E731
    for _ in range(2000):
        if proxy_queue() >= count:
            return
    raise AssertionError(f"only {proxy_queue()} of {count} requests wait")


def ask(proxy, url, source="127.0.0.1"):
    client = Client(proxy, source=source)
    client.ask(url)
    return client


def test_fairness(start, gate, web):
    """Sixty requests of one client, then one of each of ten others: none of these waits for the sixty."""
    proxy = start(queue_max="200")
    clients = [ask(proxy, f"{web}/greedy-0")]
    gate.wait(1)
    clients += [ask(proxy, f"{web}/greedy-{i}") for i in range(1, 60)]
    waits_in_queue(proxy, 59)
    clients += [ask(proxy, f"{web}/modest-{i}", f"127.0.1.{i + 1}") for i in range(10)]
    waits_in_queue(proxy, 69)
    assert metric(proxy, "queue") == 69
    gate.let(70)
    order = gate.wait(70)
    modest = [at for at, who in enumerate(order) if "modest" in who]
    assert len(modest) == 10
    # One round: the greedy one that was inside, then one of each client.
    assert max(modest) <= 12, order
    # Connections of one client are not in order of arrival here: two workers accept them.
    for client in clients:
        answer = client.response()
        assert answer.status == 200
        client.close()
    assert metric(proxy, "queue") == 0
    assert metric(proxy, "queue_left_total") == 69
    assert metric(proxy, "queue_waited_milliseconds_total") > 0


def test_tunnels_wait_too(start, gate, raw):
    proxy = start()

    def tunnel(word):
        client = Client(proxy)
        client.send(request(f"{NAME}:{raw}", method="CONNECT") + word + b"\n")
        return client

    first = tunnel(b"first")
    gate.wait(1)
    second = tunnel(b"second")
    waits_in_queue(proxy, 1)
    gate.let(2)
    assert first.head().status == 200
    assert first.recv() == b"first\n"
    assert gate.wait(1) == ["first"], "the second waits as long as the first tunnel is there"
    first.close()
    assert second.head().status == 200
    assert second.recv() == b"second\n"
    second.close()


def test_timeout(start, gate, web):
    proxy = start(queue_timeout="300ms")
    inside = ask(proxy, f"{web}/inside")
    gate.wait(1)
    with ask(proxy, f"{web}/late") as late:
        answer = late.response()
        assert_refused(proxy, answer, "queue-timeout", host=NAME)
        assert 10 <= int(answer.header("Retry-After")) <= 30
    assert ended_with(proxy, "queue-timeout") == 1
    gate.let(1)
    assert inside.response().status == 200
    inside.close()
    assert gate.order == ["/inside"]


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_full(start, gate, web, raw, method):
    proxy = start(queue_max="1")
    inside = ask(proxy, f"{web}/inside")
    gate.wait(1)
    waiting = ask(proxy, f"{web}/waiting")
    waits_in_queue(proxy, 1)
    with Client(proxy) as client:
        port = web.rsplit(":", 1)[1]
        client.ask(f"{web}/more" if method == "GET" else f"{NAME}:{port}", method=method)
        answer = client.response()
        assert_refused(proxy, answer, "queue-full", method=method)
        assert answer.header("Retry-After")
    # Another origin is another queue, but queue.max is for all together and nobody holds a place there.
    with Client(proxy) as client:
        client.send(request(f"{NAME}:{raw}", method="CONNECT") + b"other\n")
        assert client.head().status == 200
    gate.let(10)
    for client in (inside, waiting):
        assert client.response().status == 200
        client.close()


def test_no_queue(start, gate, web):
    proxy = start(queue_max="0")
    inside = ask(proxy, f"{web}/inside")
    gate.wait(1)
    with ask(proxy, f"{web}/more") as client:
        assert_refused(proxy, client.response(), "upstream-limit")
    gate.let(1)
    assert inside.response().status == 200
    inside.close()


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_departed_tunnels_are_dropped(start, gate, raw, leave):
    """Nobody comes to the origin for a client that has left, whichever way."""
    proxy = start(tunnel_sni="match")
    proxy.reload({"tunnel.raw.ports": str(raw)})
    inside = Client(proxy)
    inside.send(request(f"{NAME}:{raw}", method="CONNECT") + b"inside\n")
    gate.wait(1)
    proxy.reload({"tunnel.raw.ports": None})
    for number in range(3):
        gone = Client(proxy)
        gone.send(request(f"{NAME}:{raw}", method="CONNECT"))
        gone.sock.settimeout(PATIENCE)
        waits_in_queue(proxy, 1)
        getattr(gone, leave)()
        while ended_with(proxy, "client-left") + ended_with(proxy, "client-reset") <= number:
            pass
    last = Client(proxy)
    last.send(request(f"{NAME}:{raw}", method="CONNECT"))
    gate.let(5)
    inside.close()
    assert last.head().status == 200
    assert gate.order == ["inside"], "nobody but the last came since, and it has said nothing"
    last.close()


def test_departed_request_is_dropped(start, gate, web):
    """A reset is a departure for plain HTTP; a FIN is none, the client may only have said all."""
    proxy = start()
    inside = ask(proxy, f"{web}/inside")
    gate.wait(1)
    gone = ask(proxy, f"{web}/gone")
    silent = ask(proxy, f"{web}/silent")
    waits_in_queue(proxy, 2)
    gone.reset()
    silent.half_close()
    proxy.wait_log(lambda line: line["outcome"] == "client-reset")
    gate.let(10)
    assert inside.response().status == 200
    assert silent.response().body == b"/silent"
    assert gate.order == ["/inside", "/silent"]
    inside.close()
    silent.close()


def test_place_is_given_back(start, certferry, enroll_settings, gate, web, origin):
    """After a refused dial, a reset client, a pooled connection: the one place is free again each time."""
    gate.let(10**6)
    proxy = start()
    with Client(proxy) as client:
        for _ in range(5):
            assert client.fetch(f"{web}/kept").status == 200
    with ask(proxy, f"http://{NAME}:1/closed-port") as client:
        assert_refused(proxy, client.response(), "connect-refused")
    with ask(proxy, f"http://{NAME}:1/closed-port") as client:
        assert_refused(proxy, client.response(), "connect-refused")
    proxy.reload({"timeout.response": "300ms"})
    mute = origin(lambda connection: connection.read_to_end()).port
    for _ in range(3):
        with ask(proxy, f"http://{NAME}:{mute}/") as client:
            assert_refused(proxy, client.response(), "response-timeout")
    gone = ask(proxy, f"http://{NAME}:{mute}/")
    gone.reset()
    with ask(proxy, f"{web}/after") as client:
        assert client.response().status == 200
    assert metric(proxy, "queue") == 0


def test_reload_lets_the_waiting_go(start, gate, web):
    proxy = start()
    clients = [ask(proxy, f"{web}/{i}") for i in range(5)]
    gate.wait(1)
    waits_in_queue(proxy, 4)
    proxy.reload({"limit.upstream.per.host": "3"})
    gate.wait(3)
    proxy.reload({"limit.upstream.per.host": "0"})
    gate.wait(5)
    gate.let(5)
    for client in clients:
        assert client.response().status == 200
        client.close()


def test_drain_serves_the_waiting(start, gate, web):
    proxy = start(drain_grace="20s")
    clients = [ask(proxy, f"{web}/{i}") for i in range(4)]
    gate.wait(1)
    waits_in_queue(proxy, 3)
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_event("draining")
    gate.let(4)
    for client in clients:
        answer = client.response()
        assert answer.status == 200
        assert client.ended(), "said with the answer, unless that was on its way already"
    assert proxy.wait() == 0


def test_drain_grace_ends_the_waiting(start, gate, web):
    proxy = start(drain_grace="300ms")
    clients = [ask(proxy, f"{web}/{i}") for i in range(3)]
    gate.wait(1)
    waits_in_queue(proxy, 2)
    assert proxy.stop() == 0
    assert len([line for line in proxy.log() if line["outcome"] == "drain-ended"]) == 3
    gate.let(3)
    for client in clients:
        client.close()
