"""
Disorder: many clients and an origin that do everything wrong at once, chosen by a fixed seed. What comes out of each exchange
is other tests' business; here nothing may crash, leak, spin or keep an orderly client from being served.
"""

import os
import random
import signal
import socket
import struct
import threading
import time

SECONDS = 8
CLIENTS = 24
NAME = "ca.enroll.test"

RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nclose delimited",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40,
    b"garbage\r\n\r\n",
    b"",
]


def requests_to(authority):
    target = b"http://" + authority + b"/"
    post = b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n"
    return [
        b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + target + b" HTTP/1.0\r\n\r\n",
        b"HEAD " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        post + b"Content-Length: 10\r\n\r\n0123456789",
        post + b"Content-Length: 1000000\r\n\r\n" + b"z" * 5000,
        post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT " + authority + b" HTTP/1.1\r\nHost: x\r\n\r\nEARLY",
        b"CONNECT " + authority + b" HTTP/1.0\r\n\r\n",
        b"CONNECT " + NAME.encode() + b":1 HTTP/1.0\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.0\r\n\r\n",
        b"GET http://" + NAME.encode() + b":1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + target + b" HT",
        b"\x16\x03\x01",
    ]


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer(connection, dice):
    """One connection of the origin."""
    connection.settimeout(3)
    try:
        for _ in range(dice.randint(1, 5)):
            if not connection.recv(70000):
                break
            response = dice.choice(RESPONSES)
            if dice.random() < 0.3:
                for octet in response:
                    connection.send(bytes([octet]))
            else:
                connection.sendall(response)
            if dice.random() < 0.1:
                reset(connection)
                return
            if dice.random() < 0.1:
                connection.sendall(os.urandom(200000))
            if dice.random() < 0.3:
                break
    except OSError:
        pass
    connection.close()


def serve(listener, dice):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection, random.Random(dice.random())), daemon=True).start()


def send_somehow(connection, data, dice):
    how = dice.random()
    if how < 0.2:
        for octet in data[:300]:
            connection.send(bytes([octet]))
    elif how < 0.4:
        cut = dice.randint(0, len(data))
        connection.sendall(data[:cut])
        connection.sendall(data[cut:])
    else:
        connection.sendall(data)


def misbehave(port, requests, dice, until):
    """One client, again and again."""
    while time.monotonic() < until:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.settimeout(dice.choice([0.05, 0.2, 0.6]))
            data = b"".join(dice.choice(requests) for _ in range(dice.choice([1, 1, 1, 2, 4])))
            send_somehow(connection, data, dice)
            end = dice.random()
            if end < 0.15:
                reset(connection)
                continue
            if end < 0.3:
                connection.shutdown(socket.SHUT_WR)
            elif end < 0.4:
                connection.sendall(os.urandom(100000))
            for _ in range(dice.randint(0, 6)):
                if not connection.recv(5000):
                    break
            if dice.random() < 0.3:
                reset(connection)
            else:
                connection.close()
        except OSError:
            pass


def test_nothing_breaks(certferry, enroll_settings):
    short = ["head", "response", "body", "keepalive", "connect", "tunnel.idle"]
    proxy = certferry(
        {
            **enroll_settings,
            **{f"timeout.{name}": "500ms" for name in short},
            "timeout.linger": "200ms",
            "tunnel.sni": "off",
            "drain.grace": "2s",
        }
    )
    dice = random.Random(20261121)
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
        threading.Thread(target=serve, args=(listener, dice), daemon=True).start()
        requests = requests_to(f"{NAME}:{listener.getsockname()[1]}".encode())
        until = time.monotonic() + SECONDS
        clients = [
            threading.Thread(target=misbehave, args=(proxy.port, requests, random.Random(i), until))
            for i in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            proxy.process.send_signal(signal.SIGHUP)
            # An orderly client among them is served.
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as orderly:
                orderly.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert orderly.recv(100).startswith(b"HTTP/1.1 200 ")
            clients[0].join(0.3)
        for client in clients:
            client.join()
    outcomes = {line["outcome"] for line in proxy.log()}
    assert {"ok", "client-reset", "response-malformed", "bad-request", "host-denied"} <= outcomes
    assert proxy.stop() == 0
