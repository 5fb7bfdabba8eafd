"""
Runs raw cases against a proxy, batch by batch: the cases of a batch beside each other, each with an origin of its own,
then a good request by another client, and only then the verdicts, so that nothing which came late is missed.
"""

import concurrent.futures
from dataclasses import dataclass

from support.raw_cases import judge, model, wire
from support.raw_cases.sockets import EchoingOrigin, HostileOrigin, Sockets, StrictOrigin

PLAIN = ("127.0.0.1",)
LOOPBACK = ("127.0.0.1", "127.0.0.2", "::1")  # what a proxy reaches that is led astray
GOOD = ("127.77.0.1",)
GOOD_HOST = b"good.enroll.test:$PORT"
WORKERS = 6


def settings(resolver, guarded):
    """certferry's, for its part: one thread, so that all share its idle connections."""
    return {
        "allowed.domains": "enroll.test",
        "allowed.connect.ports": "1-65535",
        "allowed.http.ports": "1-65535",
        "allowed.networks": "127.77.0.0/16" if guarded else "127.0.0.0/8",
        "resolver.servers": resolver,
        "threads": "1",
        "via.name": model.PSEUDONYM,
    }


def certferry(port, patience):
    """The subject, once it runs with these settings."""
    return Subject("certferry", port, f"1.1 {model.PSEUDONYM}".encode(), True, patience)


@dataclass(frozen=True)
class Subject:
    """
    A proxy under test. `via`: the element it adds to Via. `exact`: it is held to the very status and to the
    outcome in `expect`; others need only refuse.
    """

    name: str
    port: int
    via: bytes
    exact: bool
    patience: float


@dataclass
class Record:
    """What happened in one case."""

    case: object
    subject: Subject
    sockets: Sockets
    origin: object
    client: object  # the first client's connection; None: the proxy had died
    other: object = None  # another one's
    hung: bool = False  # the proxy neither answered nor closed
    probed: bool = False  # /last was sent, for the connection was open behind the answer

    def until(self, done):
        if not self.sockets.until(done, self.subject.patience):
            self.hung = True
        return not self.hung

    def fill(self, octets):
        return model.fill(octets, self.sockets.port, self.subject.via)

    def responses(self, methods=(), link=None):
        """(complete or cut responses, octets left, fault) that this client got."""
        link = link or self.client
        return wire.parse_responses(bytes(link.received), methods, link.ended)

    def answered(self, count, methods=(), link=None):
        """Whether there are so many responses, or there will be no more."""
        link = link or self.client
        if link.ended:
            return True
        responses, _, fault = self.responses(methods, link)
        return len(responses) >= count or fault is not None

    def last_answered(self, methods):
        return any(response.values("X-Answer") == ["GET /last"] for response in self.responses(methods)[0])


def asking(name, host=b"$HOST"):
    return model.get(target=b"http://%b/%b" % (host, name), host=host)


def methods_of(case):
    """Of the case's first request, as far as there is one."""
    octets = getattr(case, "request", case.octets)
    return (octets.lstrip(b"\r\n").split(b" ", 1)[0].decode("latin-1"),)


def run_request(record):
    """One connection's octets; if it stays open, /last on it: its answer comes behind all others, or never."""
    record.client.send(record.fill(record.case.octets))
    methods = methods_of(record.case)
    if not record.until(lambda: record.answered(1, methods)) or record.client.ended:
        return
    record.probed = True
    record.client.send(record.fill(asking(b"last", GOOD_HOST if record.case is GOOD_CASE else b"$HOST")))
    most = 1 + max(judge.answers(expect) for expect in (record.case.expect, *record.case.also))
    record.until(lambda: record.answered(most, methods) or record.last_answered(methods))


def run_hostile_origin(record):
    record.client.send(record.fill(record.case.request))
    methods = methods_of(record.case)
    record.until(lambda: record.answered(1, methods))
    if record.case.then == "later":
        record.origin.send_later()
    if record.case.early and not record.hung:
        record.client.send(record.fill(model.SMUGGLED))
        record.until(lambda: record.client.ended)
    elif not record.client.ended and not record.hung:
        record.probed = True
        record.client.send(record.fill(asking(b"second")))
        record.until(lambda: record.answered(2, methods))
    record.other = record.sockets.connect(record.subject.port)
    if record.other is None:
        record.client = None
        return
    record.other.send(record.fill(asking(b"third")))
    record.until(lambda: record.answered(1, (), record.other))


def run_tunnel(record):
    client, case = record.client, record.case
    client.send(record.fill(case.octets))
    if not record.until(lambda: client.ended or b"\r\n\r\n" in client.received):
        return
    head, mark, _ = bytes(client.received).partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        record.until(lambda: client.ended or (not record.subject.exact and record.answered(1)))
        return
    for piece in case.inside:
        if piece:
            client.send(piece)
        else:
            client.half_close()
    due = len(head + mark) + len(judge.sent_inside(record))
    record.until(lambda: client.ended or len(client.received) >= due)
    client.half_close()
    record.until(lambda: client.ended)


def run_case(subject, case):
    if isinstance(case, model.OriginCase):
        origin = HostileOrigin(case.octets, case.then, case.early)
        flow = run_hostile_origin
    elif isinstance(case, model.TunnelCase):
        origin, flow = EchoingOrigin(), run_tunnel
    else:
        origin, flow = StrictOrigin(), run_request
    addresses = LOOPBACK if case.guarded else GOOD if case is GOOD_CASE else PLAIN
    sockets = Sockets(addresses, origin.on_data)
    if isinstance(origin, HostileOrigin):
        origin.fill(sockets.port)
    record = Record(case, subject, sockets, origin, sockets.connect(subject.port))
    if record.client:
        flow(record)
    return record


GOOD_CASE = model.Case(
    "a good request",
    "good",
    "RFC 9112 section 3.2.2",
    asking(b"good", GOOD_HOST),
    model.Forwarded((model.Sent(target="/good", host=GOOD_HOST.decode()),)),
)


def run_batch(subject, cases):
    """[Verdict], one for each case, and one more for the good request behind them."""
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        records = list(pool.map(lambda case: run_case(subject, case), cases))
    records.append(run_case(subject, GOOD_CASE))
    try:
        for record in records:
            record.sockets.sweep()
        return [judge.verdict(record) for record in records]
    finally:
        for record in records:
            record.sockets.close()
