"""
Limits by their keys: what the client is told, the outcome in log and metrics, Retry-After where it may come again, and
that a good request is served afterwards. Head, request line and fields: test_http_faults.py; per.host and queue:
test_queue.py; auth.*: test_auth.py; 10,000 slow heads: test_slow_heads.py; tunnel buffers: test_tunnel_load.py.
"""

import contextlib
import select
import threading
import time

import pytest
from support.certferry import PATIENCE
from support.origins import echo, pages, read_request, reply
from support.raw_http import Client, assert_refused, ended_with, metric, request

NAME = "ca.enroll.test"


@pytest.fixture
def start(certferry, enroll_settings, http_origin):
    good = http_origin(pages({"/good": b"good"}))
    started = []

    def make(changes):
        started.append(certferry(enroll_settings | changes))
        return started[-1]

    yield make
    for proxy in started:
        with Client(proxy) as client:
            assert client.fetch(f"http://good.enroll.test:{good.port}/good").body == b"good", "and goes on serving"


@pytest.fixture
def web(http_origin):
    return f"http://{NAME}:{http_origin(pages({'/': b'ok'})).port}/"


def assert_retry(answer):
    """Spread, so that those who were refused together do not come back together."""
    assert 10 <= int(answer.header("Retry-After")) <= 30


def trickle(client, pieces, pause, stop):
    """Sends one piece now and then until told, or until the other side has had enough."""
    with contextlib.suppress(OSError):
        for piece in pieces:
            if stop.wait(pause):
                return
            client.send(piece)


@contextlib.contextmanager
def trickling(client, pieces, pause):
    stop = threading.Event()
    thread = threading.Thread(target=trickle, args=(client, pieces, pause, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)


def test_slow_head(start):
    """timeout.head counts from the first octet, however many follow (slowloris)."""
    proxy = start({"timeout.head": "500ms"})
    with Client(proxy) as client, trickling(client, [b"GET http"] + [b"x"] * 1000, 0.02):
        assert_refused(proxy, client.response(), "head-timeout")
    assert ended_with(proxy, "head-timeout") == 1


def test_silent_client_is_no_event(start):
    proxy = start({"timeout.head": "200ms"})
    with Client(proxy) as client:
        assert client.ended()
    assert proxy.log() == []


def test_slow_request_body(start, web):
    """Never idle for timeout.body, and yet too slow: limit.body.rate."""
    proxy = start({"timeout.body": "400ms", "limit.body.rate": "1000"})
    with Client(proxy) as client:
        client.send(request(web, "Content-Length: 100000", method="POST"))
        with trickling(client, [b"x"] * 3000, 0.02):
            assert_refused(proxy, client.response(), "body-too-slow")
    assert ended_with(proxy, "body-too-slow") == 1


def test_slow_response_body(start, origin):
    def script(connection):
        read_request(connection)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(3000):
            connection.send(b"x")
            time.sleep(0.02)

    proxy = start({"timeout.body": "400ms", "limit.body.rate": "1000"})
    with Client(proxy) as client:
        answer = client.fetch(f"http://{NAME}:{origin(script).port}/")
    assert answer.status == 200 and not answer.complete, "cut, and seen to be cut"
    proxy.wait_log(lambda line: line["outcome"] == "response-too-slow" and line["status"] == 200)
    assert ended_with(proxy, "response-too-slow") == 1


def test_slow_reader(start, origin):
    """A client that takes an octet now and then holds nothing for ever."""
    body = b"x" * (16 << 20)

    def script(connection):
        read_request(connection)
        connection.send(reply(body))

    proxy = start({"timeout.body": "400ms", "limit.body.rate": "1000000"})
    with Client(proxy, receive_buffer=4096) as client:
        client.ask(f"http://{NAME}:{origin(script).port}/")
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while data := client.sock.recv(512):
                taken += len(data)
                time.sleep(0.01)
        assert taken < len(body)
    proxy.wait_log(lambda line: line["outcome"] in ("response-too-slow", "response-stalled"))


def test_body_above_the_rate_passes(start, web):
    """Longer than several windows, with pauses shorter than timeout.body."""
    proxy = start({"timeout.body": "300ms", "limit.body.rate": "100"})
    with Client(proxy) as client:
        client.send(request(web, "Content-Length: 20000", method="POST"))
        with trickling(client, [b"y" * 1000] * 20, 0.06):
            answer = client.response()
    assert answer.status == 200 and answer.body == b"y" * 20000


def test_rate_does_not_count_the_wait_for_an_answer(start, origin):
    """A CA may think about a request as long as timeout.response says."""

    def script(connection):
        read_request(connection)
        time.sleep(1.2)
        connection.send(reply(b"thought"))

    proxy = start({"timeout.body": "300ms", "limit.body.rate": "100000"})
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}:{origin(script).port}/").body == b"thought"


def test_idle_body(start, web):
    proxy = start({"timeout.body": "300ms"})
    with Client(proxy) as client:
        client.send(request(web, "Content-Length: 10", method="POST") + b"half")
        assert_refused(proxy, client.response(), "body-timeout")


def test_exchanges_per_connection(start, web):
    proxy = start({"limit.exchanges.per.connection": "3"})
    with Client(proxy) as client:
        said = [client.fetch(web).closes() for _ in range(3)]
        assert said == [False, False, True], "the last one says so"
        assert client.ended()
    with Client(proxy) as client:  # our own pages count like any exchange
        said = [client.fetch("/healthz", "Host: a").closes() for _ in range(3)]
        assert said == [False, False, True]
        assert client.ended()


def test_connections_in_all(start, web):
    proxy = start({"limit.connections": "3", "limit.connections.per.client": "0"})
    inside = [Client(proxy) for _ in range(3)]
    for client in inside:
        assert client.fetch(web).status == 200
    with Client(proxy) as client:
        client.ask(web)
        answer = client.response()
        assert_refused(proxy, answer, "connections-limit")
        assert_retry(answer)
    for client in inside:
        client.close()
    wait_for(lambda: _served(proxy, web))
    assert ended_with(proxy, "connections-limit") >= 1


def test_silent_strangers_take_no_places(start, web):
    """Not in clients.allow, and never saying a word: whoever may come in has all places."""
    proxy = start(
        {"limit.connections": "40", "limit.refusals": "3", "clients.allow": "127.0.0.1", "timeout.linger": "1m"}
    )
    strangers = [Client(proxy, source=f"127.0.0.{9 + i}") for i in range(60)]
    wait_for(lambda: metric(proxy, "refusals_dropped_total") == 57)
    readable, _, _ = select.select([client.sock for client in strangers], [], [], 0)
    assert len(readable) == 57, "more than limit.refusals hear nothing"
    waiting = [client for client in strangers if client.sock not in readable]
    wait_for(lambda: metric(proxy, "admitted_connections") == 1)  # who asks
    inside = [Client(proxy) for _ in range(4)]
    for client in inside:
        assert client.fetch(web).status == 200
    waiting[0].ask(web)
    assert_refused(proxy, waiting[0].response(), "client-denied")
    for client in inside + strangers:
        client.close()
    wait_for(lambda: metric(proxy, "client_connections") == 1)


def test_silent_connections_over_the_clients_limit(start, web):
    """One address with more connections than it may have keeps them for timeout.linger only, and at nobody's cost."""
    proxy = start({"limit.connections": "12", "limit.connections.per.client": "4", "timeout.linger": "300ms"})
    greedy = [Client(proxy, source="127.0.0.5") for _ in range(4)]
    for client in greedy:
        assert client.fetch(web).status == 200
    silent = [Client(proxy, source="127.0.0.5") for _ in range(40)]
    others = [Client(proxy, source="127.0.0.6") for _ in range(4)]
    for client in others:
        assert client.fetch(web).status == 200
    for client in silent:
        assert client.ended()
    for client in greedy:
        assert client.fetch(web).status == 200
    for client in greedy + silent + others:
        client.close()
    wait_for(lambda: metric(proxy, "client_connections") == 1)


def _served(proxy, url):
    with Client(proxy) as client:
        return client.fetch(url).status == 200


def wait_for(what):
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_connections_of_one_client(start, web):
    proxy = start({"limit.connections.per.client": "2"})
    inside = [Client(proxy, source="127.0.0.5") for _ in range(2)]
    for client in inside:
        assert client.fetch(web).status == 200
    with Client(proxy, source="127.0.0.5") as client:
        client.ask(web)
        answer = client.response()
        assert_refused(proxy, answer, "client-limit", client="127.0.0.5")
        assert_retry(answer)
    with Client(proxy, source="127.0.0.6") as client:
        assert client.fetch(web).status == 200, "others are not meant"
    for client in inside:
        client.close()
    assert ended_with(proxy, "client-limit") == 1


def test_tunnel_lifetime(start, origin):
    """A busy tunnel ends all the same."""
    server = origin(echo)
    proxy = start({"tunnel.sni": "off", "timeout.tunnel.lifetime": "700ms", "timeout.tunnel.idle": "10m"})
    with Client(proxy) as client:
        client.ask(f"{NAME}:{server.port}", method="CONNECT")
        assert client.head().status == 200
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while True:
                client.send(b"busy")
                if not client.recv():
                    break
    line = proxy.wait_log(lambda line: line["outcome"] == "tunnel-lifetime" and line["status"] == 200)
    assert 699 <= line["total_ms"] < 10000, "timers count whole milliseconds"
    assert ended_with(proxy, "tunnel-lifetime") == 1


def test_tunnel_idle(start, origin):
    server = origin(echo)
    proxy = start({"tunnel.sni": "off", "timeout.tunnel.idle": "300ms"})
    with Client(proxy) as client:
        client.ask(f"{NAME}:{server.port}", method="CONNECT")
        assert client.head().status == 200
        assert client.ended()
    assert ended_with(proxy, "tunnel-idle") == 1


def test_memory_in_all(start, origin):
    """Buffers at limit.memory: who comes is told, who is there goes on, and when they are free all is well again."""

    def stuck(connection):
        read_request(connection)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.send(b"z" * 65536)

    server = origin(stuck)
    proxy = start({"limit.memory": "16MiB", "limit.tunnel.buffer": "4MiB"})
    hogs = []
    deadline = time.monotonic() + PATIENCE
    refused = None
    while refused is None and time.monotonic() < deadline:
        hog = Client(proxy, receive_buffer=2048)
        hog.ask(f"http://{NAME}:{server.port}/")
        hogs.append(hog)
        time.sleep(0.05)
        with Client(proxy) as client:
            client.ask("/healthz", "Host: a")
            answer = client.response()
            if answer.status == 503:
                refused = answer
    assert refused is not None, f"{len(hogs)} clients did not fill the buffers"
    assert_refused(proxy, refused, "memory-limit")
    assert_retry(refused)
    for hog in hogs:
        hog.reset()
    wait_for(lambda: _healthy(proxy))
    wait_for(lambda: metric(proxy, "buffer_bytes") < 1 << 20)
    assert ended_with(proxy, "memory-limit") >= 1


def _healthy(proxy):
    with Client(proxy) as client:
        return client.fetch("/healthz", "Host: a").status == 200


def test_limits_are_told(start):
    proxy = start({"limit.connections": "77", "limit.upstream.per.host": "5", "queue.max": "9"})
    for name, value in {"limit.connections": 77, "limit.upstream.per.host": 5, "queue.max": 9, "limit.head": 65536}.items():
        assert metric(proxy, "limit", name=name) == value
    wait_for(lambda: metric(proxy, "admitted_connections") == 1)  # who asks now; those before have left
