"""
The raw cases (tests/support/raw_cases): octets as attackers and broken programs send them, each naming its RFC clause
or advisory, judged by what the client got and what the origin saw. Every batch ends with a good request by another
client.
"""

import contextlib
import os
import re
import signal
import socket
import threading

import pytest
from support.certferry import PATIENCE
from support.dns_server import DnsServer
from support.origins import reply
from support.raw_cases import judge, run, tables
from support.raw_http import Client

GROUPS = tables.by_group()
# At most so many at once: each holds an origin, clients and a selector open until the verdicts.
BATCH = 40
CLAUSE = re.compile(r"RFC \d+\b")


@pytest.fixture
def subject(certferry):
    """Factory: subject(guarded) -> the proxy under test."""
    with DnsServer(tables.names()) as dns:
        yield lambda guarded: run.certferry(certferry(run.settings(dns.address, guarded)).port, PATIENCE)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.replace(" ", "-"))
def test_group(subject, group):
    cases = GROUPS[group]
    proxy = subject(guarded=cases[0].guarded)
    verdicts = []
    for at in range(0, len(cases), BATCH):
        verdicts += run.run_batch(proxy, cases[at : at + BATCH])
    assert len(verdicts) == len(cases) + -(-len(cases) // BATCH), "each case and a good request after each batch"
    wrong = [str(verdict) for verdict in verdicts if not verdict.passed]
    assert not wrong, f"{len(wrong)} of {len(verdicts)}:\n" + "\n".join(wrong)


def test_the_tables():
    cases = [case for group in GROUPS.values() for case in group]
    assert len(cases) >= 220
    names = [(case.group, case.name) for case in cases]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    assert not [case.name for case in cases if not CLAUSE.search(case.clause)], "each names its clause"
    assert not [group for group, cases in GROUPS.items() if len({case.guarded for case in cases}) > 1]


@pytest.mark.parametrize("request_first", [True, False], ids=["request first", "octets first"])
def test_a_response_that_was_there_before_its_request(certferry, enroll_settings, origin, request_first):
    """
    RFC 9112 section 9.2: in one and the same turn the proxy learns of a request and of octets on the idle connection
    that it would use for it.
    """
    due, sent = threading.Event(), threading.Event()

    def script(connection):
        connection.read_until()
        connection.send(reply(b"own"))
        if connection.number == 1:
            due.wait(PATIENCE)
            connection.send(reply(b"stolen"))
            sent.set()
        connection.read_to_end()

    server = origin(script)
    proxy = certferry(enroll_settings | {"threads": "1"})
    url = f"http://ca.enroll.test:{server.port}/"
    with Client(proxy) as client:
        assert client.fetch(url).body == b"own"
        proxy.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, proxy.process.pid, os.WSTOPPED | os.WNOWAIT)
        if request_first:
            client.ask(url)
        due.set()
        assert sent.wait(PATIENCE)
        if not request_first:
            client.ask(url)
        proxy.process.send_signal(signal.SIGCONT)
        assert client.response().body == b"own"
    server.wait_connection(2)


# That the battery can fail: a proxy that makes the mistakes it is about.


def pipe(client):
    """What no proxy may be: octets to the origin as they came, answers back; only Via is put on top."""
    head = client.recv()
    port = re.search(rb":(\d{4,5})", head)
    if not port:
        return
    with socket.create_connection((run.GOOD[0] if b"//good." in head else "127.0.0.1", int(port[1]))) as origin:
        head = re.sub(rb"http://[^/ ]*/", b"/", head, count=1)
        origin.sendall(head.replace(b"\r\n", b"\r\nVia: 1.1 raw-proxy\r\n", 1))
        back = threading.Thread(target=relay, args=(origin, client.sock))
        back.start()
        relay(client.sock, origin)
        back.join()


def relay(source, to):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("group", ["Content-Length", "field names", "hop-by-hop fields"])
def test_the_battery_can_fail(group, origin):
    subject = run.Subject("a pipe", origin(pipe).port, b"1.1 raw-proxy", False, 1)
    *verdicts, _ = run.run_batch(subject, GROUPS[group][:BATCH])
    wrong = [verdict for verdict in verdicts if not verdict.passed]
    assert len(wrong) > len(verdicts) / 2, "\n".join(map(str, verdicts))
    assert {verdict.kind for verdict in wrong} & set(judge.HARMFUL)
