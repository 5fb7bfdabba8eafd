"""
Where a message begins and ends, and what is in it: certferry's parsers against h11, an independent strict reader, over
thousands of random messages (support/framing_grammar.py).

Whatever we accept h11 must accept too, and read the same. Where we refuse more than h11 is counted by reason. h11 may
refuse more than we do only for what STRICTER_H11 names, each with the clause that allows us to accept it.

    FRAMING_CASES=200000 FRAMING_SEED=7 ...    a longer run with other messages; per test and for the whole
"""

import collections
import dataclasses
import json
import os
import pathlib
import re
import subprocess

import h11
import pytest
from support.framing_grammar import Case, Grammar, Message

SEED = int(os.environ.get("FRAMING_SEED", "20261121"))
CASES = int(os.environ.get("FRAMING_CASES", "3000"))
READER = pathlib.Path(os.environ.get("CERTFERRY_TEST_TOOLS", "build/asan/tests")).resolve() / "framing_reader"
TIMEOUT = 60 + CASES // 50

# (what h11 says; of which octets, from the message on; has it accepted the head?; the clause by which we may accept it)
FRAMING_FIELDS = r"Content-Length|Transfer-Encoding"
STRICTER_H11 = (
    ("no request line", rb"\A\r\n", False, "RFC 9112 2.2: a server ignores an empty line before a request line"),
    (FRAMING_FIELDS, rb"\AHTTP/1.. 1", False, "RFC 9112 6.3: a 1xx ends with its head, whatever fields it has"),
    (r"chunk header: bytearray\(b['\"][0-9A-Fa-f]{21}", rb"", True, "RFC 9112 7.1: any number of zeros before a size"),
    (FRAMING_FIELDS, rb"", True, "RFC 9110 6.5.1: trailers may be dropped; those of framing always are"),
)


@dataclasses.dataclass
class Reading(Message):
    """What a reader found."""

    state: str = "more"  # or "complete" or "refused"
    head: bool = False  # it has accepted one
    why: str = ""


# ---- the two readers


def pairs(fields):
    return [(bytes.fromhex(name).lower(), bytes.fromhex(value)) for name, value in fields]


def our_message(told):
    trailers = [line.split(b": ", 1) for line in bytes.fromhex(told["trailers"]).split(b"\r\n")[:-1]]
    return Reading(
        bytes.fromhex(told["method"]), bytes.fromhex(told["target"]), told["status"], pairs(told["fields"]),
        bytes.fromhex(told["body"]), [(name.lower(), value) for name, value in trailers], told["end"],
        "complete" if told["complete"] else "more", True,
    )  # fmt: skip


def read_ours(cases):
    """[([Reading], how it ended, why)]"""
    asked = bytearray()
    for case in cases:
        numbers = " ".join(map(str, (int(case.closed), len(case.octets), *case.cuts)))
        asked += f"{case.kind} {case.method.decode()} {numbers}\n".encode() + case.octets
    done = subprocess.run([READER], input=bytes(asked), capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode(errors="replace")
    lines = done.stdout.splitlines()
    assert len(lines) == len(cases)
    told = [json.loads(line) for line in lines]
    return [([our_message(m) for m in one["messages"]], one["end"], one["why"]) for one in told]


def connection(case):
    """An h11 that awaits the first message."""
    if case.kind == "Q":
        return h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=case.method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    return client


def take_event(found, event):
    """Notes what an event of h11 tells. True: the message is complete."""
    if isinstance(event, h11.Data):
        found.body += bytes(event.data)
    elif isinstance(event, h11.EndOfMessage):
        found.trailers = list(event.headers)
        return True
    else:
        found.head = True
        found.fields = list(event.headers)
        found.method, found.target = getattr(event, "method", b""), getattr(event, "target", b"")
        found.status = getattr(event, "status_code", 0)
    return isinstance(event, h11.InformationalResponse)


def read_h11(case, at):
    """The one message that begins at `at`."""
    found = Reading()
    peer = connection(case)
    try:
        if case.octets[at:]:
            peer.receive_data(case.octets[at:])
        if case.closed:
            peer.receive_data(b"")
        while True:
            event = peer.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return found
            if take_event(found, event):
                found.state, found.end = "complete", len(case.octets) - len(peer.trailing_data[0])
                return found
    except h11.RemoteProtocolError as refusal:
        found.state, found.why = "refused", str(refusal)
        return found


# ---- the comparison


def may_accept(theirs, octets):
    """The clause by which we may accept what h11 refuses, or None."""
    for why, what, head, clause in STRICTER_H11:
        if re.search(why, theirs.why) and re.search(what, octets) and theirs.head == head:
            return clause
    return None


def comparable(message):
    """h11 writes codings in lower case, and a 1xx's length, which means nothing, as it thinks best."""
    fields = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in message.fields]
    interim = 100 <= message.status < 200
    return [(name, value) for name, value in fields if not (interim and name == b"content-length")]


def head_fault(ours, theirs):
    for part in ("method", "target", "status"):
        if getattr(ours, part) != getattr(theirs, part):
            return f"{part}: we read {getattr(ours, part)!r}, h11 {getattr(theirs, part)!r}"
    if comparable(ours) != comparable(theirs):
        return f"fields: we read {ours.fields!r}, h11 {theirs.fields!r}"
    return None


def trailer_fault(ours, theirs):
    """We pass on some of the trailers (RFC 9110 section 6.5.1), in their order, and add none."""
    rest = iter(theirs.trailers)
    if all(field in rest for field in ours.trailers):
        return None
    return f"trailers: we read {ours.trailers!r}, h11 {theirs.trailers!r}"


def complete_fault(ours, theirs):
    if theirs.state == "refused":
        return f"we accept what h11 refuses: {theirs.why}"
    if theirs.state != "complete":
        return "we see an end where h11 waits for more"
    if ours.end != theirs.end:
        return f"end: we see it at {ours.end}, h11 at {theirs.end}"
    if ours.body != theirs.body:
        return f"body: we read {ours.body!r}, h11 {theirs.body!r}"
    return trailer_fault(ours, theirs)


def partial_fault(ours, theirs, ended):
    """The head has been accepted and perhaps some of the body: as much of it as both have is the same."""
    if ended == "more" and theirs.state == "complete":
        return "we wait for more where h11 sees an end"
    common = min(len(ours.body), len(theirs.body))
    if ours.body[:common] != theirs.body[:common]:
        return f"body: we read {ours.body!r}, h11 {theirs.body!r}"
    return None


def message_fault(ours, theirs, ended):
    if not theirs.head:
        return f"we accept a head that h11 does not: {theirs.why}"
    return head_fault(ours, theirs) or (
        complete_fault(ours, theirs) if ours.state == "complete" else partial_fault(ours, theirs, ended)
    )


@dataclasses.dataclass
class Score:
    accepted: int = 0  # messages that both read, and read the same
    refused: int = 0  # that both refuse
    stricter: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # that only we refuse
    allowed: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # that only h11 refuses


def compare(case, reading, score):
    """What is wrong with our reading of the case, or None."""
    messages, ended, why = reading
    at = 0
    for ours in messages:
        theirs = read_h11(case, at)
        fault = message_fault(ours, theirs, ended)
        clause = fault and theirs.state == "refused" and may_accept(theirs, case.octets[at:])
        if fault and not clause:
            return fault
        if clause:
            score.allowed[clause] += 1
        elif ours.state == "complete":
            score.accepted += 1
        elif ended == "refused":
            note_refusal(score, theirs, why)
        at = ours.end
    if messages and messages[-1].state != "complete":
        return None
    theirs = read_h11(case, at)
    if ended == "more" and theirs.head:
        return "we wait for more where h11 has a head"
    if ended == "refused":
        note_refusal(score, theirs, why)
    return None


def note_refusal(score, theirs, why):
    if theirs.state == "complete":
        score.stricter[why] += 1
    elif theirs.state == "refused":
        score.refused += 1


def expected_fault(case, messages, ended):
    """What is wrong with our reading of a right case, by the grammar that made it."""
    if ended != "end" or any(m.state != "complete" for m in messages):
        return f"a right case is not read to its end: {ended}"
    found = [Message(m.method, m.target, m.status, m.fields, m.body, m.trailers, m.end) for m in messages]
    if found != case.messages:
        return f"we read {found!r}, the grammar wrote {case.messages!r}"
    return None


def told(case, number, fault):
    return (
        f"{fault}\nFRAMING_SEED={SEED} FRAMING_CASES={CASES}, case {number} {case.spoiled}\n"
        f"{case.kind} to {case.method!r}, cut at {case.cuts}:\n{case.octets!r}"
    )


# ---- the tests


@pytest.mark.timeout(TIMEOUT * 5)
@pytest.mark.parametrize("kind", ["Q", "R"], ids=["requests", "responses"])
def test_right_messages_are_read_by_both(kind):
    grammar = Grammar(f"{SEED} right {kind}")
    cases = [grammar.case(kind) for _ in range(CASES)]
    score = Score()
    for number, (case, reading) in enumerate(zip(cases, read_ours(cases))):
        fault = expected_fault(case, *reading[:2]) or compare(case, reading, score)
        assert fault is None, told(case, number, fault)
    assert score.accepted == sum(len(case.messages) for case in cases)
    assert not score.stricter and not score.allowed


@pytest.mark.timeout(TIMEOUT * 5)
@pytest.mark.parametrize("kind", ["Q", "R"], ids=["requests", "responses"])
def test_spoiled_messages_are_never_read_differently(kind, record_property):
    grammar = Grammar(f"{SEED} spoiled {kind}")
    cases = [grammar.spoiled(kind) for _ in range(CASES)]
    score = Score()
    for number, (case, reading) in enumerate(zip(cases, read_ours(cases))):
        fault = compare(case, reading, score)
        assert fault is None, told(case, number, fault)
    for reason, count in score.stricter.most_common():
        print(f"{count:6}  only we refuse: {reason}")
    for clause, count in score.allowed.most_common():
        print(f"{count:6}  only h11 refuses: {clause}")
    record_property("framing", f"{score.accepted} accepted, {score.refused} refused by both, {score.stricter}")
    # The comparison has something to compare.
    assert min(score.accepted, score.refused, sum(score.stricter.values())) > CASES / 20


def test_a_difference_is_seen():
    """Each kind of difference, made by hand, is told: the comparison itself can fail."""
    octets = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    case = Case("Q", b"-", False, octets, None)
    (right,) = read_ours([case])
    assert compare(case, right, Score()) is None

    def changed(**parts):
        return [dataclasses.replace(right[0][0], **parts)], "end", ""

    for wrong, fault in (
        (changed(method=b"PUT"), "method"),
        (changed(target=b"/x"), "target"),
        (changed(fields=[]), "fields"),
        (changed(body=b"abd"), "body"),
        (changed(end=len(octets) - 1), "end"),
        (changed(trailers=[(b"x", b"y")]), "trailers"),
        (([], "more", ""), "has a head"),
    ):
        assert fault in compare(case, wrong, Score())
    lax = Case("Q", b"-", False, octets.replace(b": 3", b": +3"), None)
    assert "does not" in compare(lax, right, Score())
    cut = Case("Q", b"-", False, octets[:-1], None)
    assert "waits for more" in compare(cut, right, Score())
