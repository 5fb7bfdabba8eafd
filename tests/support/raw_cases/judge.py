"""
What is held against what: the record of a case and what the case expects. The first expectation is certferry's; others
may also fulfil one of `also`.
"""

from dataclasses import dataclass

from support.raw_cases import model, wire

# Belongs to one connection (RFC 9110 section 7.6.1): from no proxy may it reach an origin.
HOP_BY_HOP = ("Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "TE", "Upgrade")

SMUGGLED = "smuggled"  # the origin got a request that the proxy did not write
UNCLEAN = "unclean"  # what the origin got can not be read strictly
LET_THROUGH = "let through"  # it was written by the proxy, but should have been refused
ALTERED = "altered"  # forwarded, but not as it should have been
LEAKED = "leaked"  # a field came through that should not
CROSSED = "crossed"  # a client got what was not its own response
PASSED_ON = "passed on"  # the client got a response that should have been refused, or cannot be read strictly
BROKEN = "broken off"  # a good request did not reach its end
HELD = "held"  # neither answered nor closed
REFUSED = "refused"  # a good request or response was refused
DIED = "died"
OTHER = "other"
# In these something went through the proxy that should not have.
HARMFUL = (SMUGGLED, UNCLEAN, LET_THROUGH, LEAKED, CROSSED, PASSED_ON)


class Wrong(Exception):
    """One expectation is not met. `kind`: one of the above."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Verdict:
    case: object
    passed: bool
    kind: str = ""
    reason: str = ""

    def __str__(self):
        told = "passed" if self.passed else f"{self.kind}: {self.reason}"
        return f"{self.case.group}: {self.case.name} ({self.case.clause}): {told}"


def verdict(record):
    expectations = (record.case.expect,) if record.subject.exact else (record.case.expect, *record.case.also)
    first = None
    if record.client is None:
        return Verdict(record.case, False, DIED, "nobody listens any more")
    for expect in expectations:
        try:
            CHECKS[type(expect)](record, expect)
        except Wrong as wrong:
            first = first or wrong
        else:
            return Verdict(record.case, True)
    return Verdict(record.case, False, first.kind, f"{first}\n{transcript(record)}")


def transcript(record):
    lines = [f"  client got ({record.client.ended or 'open'}): {bytes(record.client.received)[:700]!r}"]
    if record.other:
        lines.append(f"  another got ({record.other.ended or 'open'}): {bytes(record.other.received)[:400]!r}")
    lines += [f"  origin got: {bytes(link.received)[:900]!r}" for link in record.sockets.links]
    return "\n".join(lines + [f"  origin's fault: {fault}" for fault in record.origin.faults])


def answers(expect):
    """How many answers this expectation is about."""
    return len(expect.requests) if isinstance(expect, model.Forwarded) else 1


# What the origin saw.


def seen(record):
    """The requests without /last, which is ours; whatever is not the proxy's own clean writing is wrong."""
    if record.origin.faults:
        raise Wrong(UNCLEAN, f"a strict origin does not take it: {record.origin.faults[0]}")
    requests = [request for _, request in record.origin.requests]
    for request in requests:
        # A proxy names itself in each request it writes: one without the name came in the body of another.
        if pseudonym(record) not in ",".join(request.values("Via")):
            raise Wrong(SMUGGLED, f"a request that the proxy did not write: {request.method} {request.target}")
    if record.probed and requests and requests[-1].target == "/last":
        requests.pop()
    return requests


def pseudonym(record):
    return record.subject.via.decode().split(" ")[1]


def check_nothing_left(record):
    for left in [link.unread for link in record.sockets.links if link.unread]:
        # A head of the proxy's own and a body that did not come to its end do no harm: the origin waits in vain.
        broken_off = pseudonym(record).encode() in left.partition(b"\r\n\r\n")[0]
        raise Wrong(
            BROKEN if broken_off else UNCLEAN, f"octets at the origin that make no whole request: {left[:80]!r}"
        )


def check_request(record, request, sent):
    def filled(text):
        return record.fill(text.encode("latin-1")).decode("latin-1")

    got = (request.method, request.target, *request.values("Host"))
    if got != (sent.method, filled(sent.target), filled(sent.host)):
        raise Wrong(ALTERED, f"the origin got {got}")
    if request.body != sent.body:
        raise Wrong(ALTERED, f"the origin got the body {request.body[:80]!r}")
    trailers = [name.lower() for name, _ in request.trailers]
    for name in (*HOP_BY_HOP, *sent.lacks, *sent.untrailed):
        if (name not in sent.untrailed and request.values(name)) or name.lower() in trailers:
            raise Wrong(LEAKED, f"the origin got {name}: {request.values(name)}, trailers {trailers}")
    for name, value in sent.has.items():
        got = request.values(name) + [value for key, value in request.trailers if key.lower() == name.lower()]
        if ", ".join(got) != filled(value):
            raise Wrong(ALTERED, f"the origin got {name}: {got}")


# What the client got.


def answer_name(response):
    return ", ".join(response.values("X-Answer"))


def client_responses(record, methods, link=None):
    responses, rest, fault = record.responses(methods, link)
    if fault:
        raise Wrong(PASSED_ON, f"a strict client does not take it: {fault}")
    return responses, rest


def check_refused_answer(record, expect):
    """The client's side of a refusal."""
    responses, rest = client_responses(record, ())
    exact = record.subject.exact
    if record.hung and not responses:
        raise Wrong(HELD, "neither answered nor closed")
    if not exact and record.client.ended and not responses:
        return
    if not responses:
        raise Wrong(OTHER, f"no answer, but {rest[:80]!r}")
    answer = responses[0]
    if answer_name(answer) or (answer.status < 400 and answer.status not in expect.statuses()):
        raise Wrong(LET_THROUGH, f"the client got {answer.status} {answer_name(answer)}")
    if exact and answer.status not in expect.statuses():
        raise Wrong(OTHER, f"the client got {answer.status}")
    if expect.close and exact and (not record.client.ended or len(responses) > 1):
        raise Wrong(OTHER, "the connection went on")
    if not expect.close and exact and [answer_name(r) for r in responses[1:]] != ["GET /last"]:
        raise Wrong(OTHER, "the connection did not go on")


# The expectations.


def check_refused(record, expect):
    requests = seen(record)
    if requests:
        got = ", ".join(f"{request.method} {request.target}" for request in requests)
        raise Wrong(LET_THROUGH, f"the origin got {got}")
    if record.subject.exact and not expect.in_body:
        early = [link for link in record.sockets.links if link.received]
        if early and expect.close:
            raise Wrong(LET_THROUGH, f"the origin got octets: {bytes(early[0].received)[:80]!r}")
    check_refused_answer(record, expect)


def check_forwarded(record, expect):
    requests = seen(record)
    check_nothing_left(record)
    wanted = expect.requests
    if not record.subject.exact and record.client.ended and requests:
        wanted = wanted[: len(requests)]  # a proxy may end the connection behind any answer (RFC 9112 section 9.3.2)
    if len(requests) != len(wanted):
        kind = HELD if record.hung else LET_THROUGH if len(requests) > len(expect.requests) else REFUSED
        raise Wrong(kind, f"the origin got {len(requests)} requests instead of {len(wanted)}")
    for request, sent in zip(requests, wanted):
        check_request(record, request, sent)
    if record.hung:
        raise Wrong(HELD, "an answer is missing")
    responses, _ = client_responses(record, [sent.method for sent in expect.requests])
    names = [answer_name(response) for response in responses if response.complete]
    own = [f"{request.method} {request.target}" for request in requests]
    if names[: len(own)] != own:
        raise Wrong(CROSSED, f"the client got the answers {names}")
    went_on = "GET /last" in names[len(own) :]
    if expect.closes is not None and expect.closes == went_on:
        raise Wrong(OTHER, "the connection " + ("went on" if went_on else "ended"))
    if not went_on and not record.client.ended:
        raise Wrong(HELD, "the connection stayed open without an answer")


def check_harmless(record, _):
    for request in seen(record):
        check_request(record, request, model.Sent(request.method, request.target, ", ".join(request.values("Host"))))


def check_foreign(record, _):
    targets = [request.target for _, request in record.origin.requests if request.target != "/last"]
    if targets:
        raise Wrong(LET_THROUGH, f"the origin got {targets}")


def check_own_responses(record):
    """Whatever the first request got: the second and the third have their own answers."""
    rewritten = record.subject.exact or record.case.rewritten
    if rewritten:
        seen(record)
    if record.subject.exact and record.case.spent:
        check_spent(record)
    if "/smuggled" in [request.target for _, request in record.origin.requests]:
        raise Wrong(SMUGGLED, "what was due as a body became a request")
    responses, _ = client_responses(record, methods_first(record))
    for response in responses[1:]:
        name = answer_name(response)
        if name != "GET /second" and (rewritten or not name.endswith("/second")):
            raise Wrong(CROSSED, f"/second got the answer {response.status} {answer_name(response)!r}")
    if record.probed and len(responses) < 2 and not record.client.ended:
        raise Wrong(HELD, "/second got no answer")
    others, _ = client_responses(record, (), record.other)
    if [answer_name(response) for response in others] != ["GET /third"]:
        told = [(response.status, answer_name(response)) for response in others]
        raise Wrong(CROSSED if others else HELD, f"/third got {told}")
    return responses


def check_spent(record):
    first = {number for number, request in record.origin.requests if request.target == "/first"}
    for number, request in record.origin.requests:
        if number in first and request.target != "/first":
            raise Wrong(CROSSED, f"{request.target} was sent on the connection of /first")


def methods_first(record):
    return (record.case.request.split(b" ", 1)[0].decode(),)


def check_relayed(record, expect):
    responses = check_own_responses(record)
    if not responses:
        raise Wrong(HELD if record.hung else REFUSED, "the client got no response")
    got = responses[0]
    if got.status != expect.status:
        raise Wrong(REFUSED if got.status in (502, 504) else ALTERED, f"the client got {got.status}")
    if not got.complete:
        raise Wrong(OTHER, "the response is cut short")
    if record.case.early and record.subject.exact and not record.client.ended:
        raise Wrong(OTHER, "the connection goes on although the request is not complete")
    if got.body != expect.body:
        raise Wrong(ALTERED, f"the client got the body {got.body[:80]!r}")
    if expect.interim is not None and got.interim != expect.interim:
        raise Wrong(ALTERED, f"the client got the interim responses {got.interim}")
    for name in expect.lacks:
        if got.values(name) or name.lower() in [key.lower() for key, _ in got.trailers]:
            raise Wrong(LEAKED, f"the client got {name}: {got.values(name)}")
    for name, value in expect.has.items():
        if ", ".join(got.values(name)) != record.fill(value.encode()).decode():
            raise Wrong(ALTERED, f"the client got {name}: {got.values(name)}")


def check_broken(record, _):
    responses = check_own_responses(record)
    if record.hung and not responses:
        raise Wrong(HELD, "neither answered nor closed")
    if responses and responses[0].complete and responses[0].status < 500:
        raise Wrong(PASSED_ON, f"a response that is cut short looks whole: {responses[0].body[:80]!r}")
    if not record.client.ended and (not responses or not responses[0].complete):
        raise Wrong(HELD, "the response is cut short, and the connection goes on")


def check_response_refused(record, expect):
    responses = check_own_responses(record)
    if record.hung and not responses:
        raise Wrong(HELD, "neither answered nor closed")
    if not record.subject.exact and record.client.ended and not any(got.complete for got in responses):
        return
    if not responses:
        raise Wrong(OTHER, "the client got no response")
    if responses[0].status not in expect.statuses() and (record.subject.exact or responses[0].status < 500):
        raise Wrong(PASSED_ON, f"the client got {responses[0].status}, complete: {responses[0].complete}")


def sent_inside(record):
    """What the client sends behind its head."""
    _, _, early = record.fill(record.case.octets).partition(b"\r\n\r\n")
    return early + b"".join(record.case.inside)


def tunnel_head(record):
    head, mark, rest = bytes(record.client.received).partition(b"\r\n\r\n")
    if not mark or head[9:12] != b"200":
        raise Wrong(HELD if record.hung else REFUSED, f"the client got {head[:80]!r}")
    try:
        parsed = wire.parse_response_head(head)
    except wire.Fault as fault:
        raise Wrong(PASSED_ON, str(fault)) from None
    # RFC 9110 section 9.3.6: neither in a 2xx to CONNECT.
    if parsed.values("Content-Length") or parsed.values("Transfer-Encoding"):
        raise Wrong(PASSED_ON, "a length in the answer to CONNECT")
    return rest


def check_tunnelled(record, _):
    rest, sent = tunnel_head(record), sent_inside(record)
    got = [bytes(link.received) for link in record.sockets.links]
    if got != [sent]:
        raise Wrong(ALTERED, f"the origin got {[octets[:80] for octets in got]}")
    if rest != sent:
        raise Wrong(ALTERED, f"the client got {rest[:80]!r}")


def check_gated(record, _):
    tunnel_head(record)
    got = [bytes(link.received) for link in record.sockets.links if link.received]
    if got:
        raise Wrong(LET_THROUGH, f"the origin got {got[0][:80]!r}")
    if not record.client.ended:
        raise Wrong(HELD, "the tunnel stayed open")


def check_tunnel_refused(record, expect):
    got = [bytes(link.received) for link in record.sockets.links if link.received]
    if got:
        raise Wrong(LET_THROUGH, f"the origin got {got[0][:80]!r}")
    if not record.client.ended and (record.subject.exact or not record.answered(1)):
        raise Wrong(HELD, "neither refused nor closed")
    head = bytes(record.client.received)
    status = int(head[9:12]) if head[9:12].isdigit() else 0
    if status in range(200, 300) or (record.subject.exact and status not in expect.statuses()):
        raise Wrong(LET_THROUGH, f"the client got {head[:80]!r}")


def check_any_refused(record, expect):
    if isinstance(record.case, model.OriginCase):
        check_response_refused(record, expect)
    elif isinstance(record.case, model.TunnelCase):
        check_tunnel_refused(record, expect)
    else:
        check_refused(record, expect)


def check_any_harmless(record, expect):
    if isinstance(record.case, model.OriginCase):
        check_own_responses(record)
    elif not isinstance(record.case, model.TunnelCase):
        check_harmless(record, expect)


CHECKS = {
    model.Refused: check_any_refused,
    model.Forwarded: check_forwarded,
    model.Harmless: check_any_harmless,
    model.Foreign: check_foreign,
    model.Relayed: check_relayed,
    model.Broken: check_broken,
    model.Tunnelled: check_tunnelled,
    model.Gated: check_gated,
}
