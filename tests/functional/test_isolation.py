"""
What belongs to one client or one time must not reach another: connections that carry somebody's name, connections
from before a reload, halves of answers. Octets that find no memory: unit/session/test_tunnel.c, fuzz/fuzz_session.c.
"""

import contextlib
import threading

import pytest
from support.origins import echo, pages, read_request, reply
from support.raw_http import Client, assert_refused, ended_with, metric

NAME = "ca.enroll.test"


def follow(connection, answer):
    """Answers request after request until the other side ends."""
    with contextlib.suppress(OSError):
        while (asked := read_request(connection)) is not None:
            connection.send(answer(asked))


def test_origin_that_thinks_is_not_slow(certferry, enroll_settings, origin):
    """The time before the answer is timeout.response's; limit.body.rate looks at bodies."""

    def script(connection):
        connection.read_until()
        think.wait(1.5)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        think.wait(0.2)
        connection.send(b"0123456789")

    think = threading.Event()  # never set
    server = origin(script)
    proxy = certferry(enroll_settings | {"timeout.body": "500ms", "timeout.response": "20s", "limit.body.rate": "64"})
    with Client(proxy) as client:
        assert client.fetch(f"http://{NAME}:{server.port}/").body == b"0123456789"


def test_reload_closes_connections_under_way_for_others(certferry, enroll_settings, origin):
    """Dialled under the old allowed.networks, it serves the request it was dialled for and no other."""
    gate, asked = threading.Event(), threading.Event()

    def answer(seen):
        if seen.target == "/slow":
            asked.set()
            gate.wait()
        return reply(b"ok")

    server = origin(lambda connection: follow(connection, answer))
    url = f"http://{NAME}:{server.port}"
    proxy = certferry(enroll_settings | {"threads": "1"})
    with Client(proxy) as before, Client(proxy) as after:
        before.ask(f"{url}/slow")
        assert asked.wait(20)
        assert "in force" in proxy.reload({"allowed.networks": "192.0.2.0/24"})
        gate.set()
        assert before.response().body == b"ok"
        assert_refused(proxy, after.fetch(f"{url}/after"), "address-denied")
    assert len(server.connections()) == 1 and b"/after" not in server.connections()[0].received


def test_reload_denies_clients_that_are_there(certferry, enroll_settings, http_origin):
    url = f"http://{NAME}:{http_origin(pages({'/': b'ok'})).port}/"
    proxy = certferry(enroll_settings)
    with Client(proxy, source="127.0.0.9") as client:
        assert client.fetch(url).status == 200
        assert "in force" in proxy.reload({"clients.allow": "127.0.0.1"})
        assert_refused(proxy, client.fetch(url), "client-denied", client="127.0.0.9")


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate"])
def test_authenticated_connections_stay_with_their_client(certferry, enroll_settings, origin, scheme):
    """With NTLM (and RFC 4559) the connection is who one is: nobody else gets it, and its client gets it again."""

    def script(connection):
        name = []

        def answer(seen):
            name.extend((seen.header("Authorization") or "").split(" ")[1:])
            return reply(f"hello {name[0] if name else 'stranger'}".encode())

        follow(connection, answer)

    server = origin(script)
    url = f"http://{NAME}:{server.port}/"
    proxy = certferry(enroll_settings | {"threads": "1"})
    with Client(proxy) as alice, Client(proxy) as bob:
        assert alice.fetch(url, f"Authorization: {scheme} alice").body == b"hello alice"
        assert bob.fetch(url).body == b"hello stranger"
        assert alice.fetch(url).body == b"hello alice", "on her own connection again"
        assert bob.fetch(url).body == b"hello stranger"
    assert len(server.connections()) == 2


def test_no_answer_inside_another(certferry, enroll_settings, origin):
    """Ours would be taken for a field of the 1xx response that is on its way: then a reset is better."""

    def script(connection):
        connection.read_until()
        early = b"HTTP/1.1 103 Early Hints\r\n" + b"".join(b"Link: <%b>\r\n" % (b"a" * 4000) for _ in range(90))
        with contextlib.suppress(OSError):
            for _ in range(30):
                connection.send(early + b"\r\n")
            connection.read_to_end()

    server = origin(script)
    proxy = certferry(enroll_settings | {"limit.head": "1MiB", "timeout.response": "1s"})
    with Client(proxy, receive_buffer=4096) as client:
        client.ask(f"http://{NAME}:{server.port}/")
        proxy.wait_log(lambda line: line["outcome"] == "response-timeout")
        data = b""
        with pytest.raises(ConnectionResetError):
            while more := client.recv():
                data += more
    assert b" 504 " not in data


def test_drain_does_not_end_a_response_quietly(certferry, enroll_settings, origin):
    """One that its origin's close should end: a FIN of ours would be taken for that."""

    def script(connection):
        connection.read_until()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\npart of it")
        connection.read_to_end()

    server = origin(script)
    proxy = certferry(enroll_settings | {"drain.grace": "200ms"})
    with Client(proxy) as client:
        client.ask(f"http://{NAME}:{server.port}/")
        assert client.head().status == 200
        assert client.recv() == b"part of it"
        assert proxy.stop() == 0
        with pytest.raises(ConnectionResetError):
            client.recv()
    proxy.wait_log(lambda line: line["outcome"] == "drain-ended")


def test_octets_of_failed_exchanges_count(certferry, enroll_settings, origin):
    def script(connection):
        connection.read_until()
        connection.read_exactly(5)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    server = origin(script)
    proxy = certferry(enroll_settings)
    with Client(proxy) as client:
        client.ask(f"http://{NAME}:{server.port}/", method="POST", body=b"12345")
        with contextlib.suppress(ConnectionResetError):
            while client.recv():
                pass
    line = proxy.wait_log(lambda line: line["outcome"] == "response-incomplete")
    assert line["bytes_up"] > 5 and line["bytes_down"] > len(b"only this")
    assert metric(proxy, "relayed_up_bytes_total") == line["bytes_up"]
    assert metric(proxy, "relayed_down_bytes_total") == line["bytes_down"]


def test_interim_responses_buy_no_time(certferry, enroll_settings, origin):
    """timeout.response counts from the end of the request, whatever 1xx come (RFC 9110 section 15.2)."""

    def script(connection):
        connection.read_until()
        with contextlib.suppress(OSError):
            for _ in range(30):
                connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
                pause.wait(0.3)

    pause = threading.Event()  # never set
    server = origin(script)
    proxy = certferry(enroll_settings | {"timeout.response": "1s"})
    with Client(proxy) as client:
        client.ask(f"http://{NAME}:{server.port}/")
        line = proxy.wait_log(lambda line: line["outcome"] == "response-timeout")
    assert line["total_ms"] < 5000


def test_users_file_too_large(certferry, enroll_settings, tmp_path):
    """Nothing of it is used: a cut file would lock out whoever stands behind the cut."""
    users = tmp_path / "users"
    users.write_text("# filler\n" * (17 * 1024 * 1024 // 9))
    users.chmod(0o600)
    proxy = certferry(enroll_settings | {"service.user": "root"})
    assert "refused" in proxy.reload({"auth.file": str(users)})
    proxy.wait_event("larger than 16 MiB")
    assert ended_with(proxy, "auth-required") == 0


def test_question_to_http_1_0_closes(certferry, enroll_settings, tmp_path, origin):
    """Nobody told it that the connection stays open, so it waits for the end."""
    server = origin(echo)
    users = tmp_path / "users"
    users.write_text("u:$2y$05$abcdefghijklmnopqrstuuEFXH5pXWY0hwYHX3yTqDTfXxbzlOTzi\n")
    users.chmod(0o600)
    proxy = certferry(enroll_settings | {"auth.file": str(users), "service.user": "root"})
    with Client(proxy) as client:
        client.ask(f"{NAME}:{server.port}", "Proxy-Connection: keep-alive", method="CONNECT", version="1.0")
        answer = client.response()
        assert answer.status == 407 and client.ended()
