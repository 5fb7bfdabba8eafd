"""
What a raw case is. A table says what goes in, octet for octet, and what must come out on both sides; it knows neither
sockets nor a certain proxy, so that certferry and others can be held to the same.

In octets $PORT stands for the port of the case's own origin, $HOST for ca.enroll.test:$PORT and $VIA for the
element that the proxy under test itself adds to Via.
"""

from dataclasses import dataclass, field

NAME = b"ca.enroll.test"
PSEUDONYM = "raw-proxy"  # by which every proxy under test calls itself in Via

# The only names there are. Allowed: enroll.test and what is below it. Those that must not be reached do exist, all of
# them, so that a proxy that is fooled reaches the origin of the case, which then tells.
NAMES = {
    "enroll.test": ["127.0.0.1"],
    "ca.enroll.test": ["127.0.0.1"],
    "xn--bcher-kva.enroll.test": ["127.0.0.1"],
    "xn--a.enroll.test": ["127.0.0.1"],
    "evil.test": ["127.0.0.1"],
    "ca.evil.test": ["127.0.0.1"],
    "xenroll.test": ["127.0.0.1"],
    "enroll.test.evil.test": ["127.0.0.1"],
    "ca.enroll.test.evil.test": ["127.0.0.1"],
    "enroll.tes": ["127.0.0.1"],
    "enroll.testx": ["127.0.0.1"],
    # The good request after each batch goes there: 127.77.0.0/16 may be reached also by a guarded proxy.
    "good.enroll.test": ["127.77.0.1"],
}


@dataclass(frozen=True)
class Refused:
    """
    The proxy answers by itself and ends the connection; the origin gets nothing. `in_body`: the fault is behind a good
    head, so the origin may have that, but never a complete request. `close`: False where the connection goes on.
    """

    status: int | tuple = 400
    in_body: bool = False
    close: bool = True

    def statuses(self):
        return self.status if isinstance(self.status, tuple) else (self.status,)


@dataclass(frozen=True)
class Sent:
    """
    A request as the origin must get it. `has`: fields with exactly this value, several lines joined; `lacks`: fields
    that must not be there, `untrailed`: not as trailers.
    """

    method: str = "GET"
    target: str = "/"
    host: str = "$HOST"
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    untrailed: tuple = ()
    body: bytes = b""


@dataclass(frozen=True)
class Forwarded:
    """
    The origin gets exactly these requests, in order, and the client the origin's answer to each. `closes`: whether the
    connection must end behind the last answer (True), must go on (False), or may do either (None).
    """

    requests: tuple = (Sent(),)
    closes: bool | None = None


@dataclass(frozen=True)
class Harmless:
    """
    Any answer will do, as long as what the origin saw, if anything, was written by the proxy and can be read strictly.
    """


@dataclass(frozen=True)
class Foreign:
    """The origin may get another protocol than HTTP, which is not judged here, but no request."""


@dataclass(frozen=True)
class Relayed:
    """The client gets the origin's response."""

    status: int = 200
    body: bytes = b""
    lacks: tuple = ()  # fields that must not come through
    has: dict = field(default_factory=dict)
    interim: tuple | None = None  # statuses of the 1xx before it; None: any


@dataclass(frozen=True)
class Broken:
    """
    The origin's body is bad or ends too early, perhaps when its head has gone on: the client gets what it can see to be
    cut short, or 502, or the end of the connection without a response; never what looks whole.
    """


@dataclass(frozen=True)
class Tunnelled:
    """All octets inside the tunnel reach the origin unaltered and come back: it echoes."""


@dataclass(frozen=True)
class Gated:
    """The tunnel is opened, then ended by the proxy: the origin gets not one octet."""


@dataclass(frozen=True)
class Case:
    """
    What a client sends, to an origin that is as strict as RFC 9112 and answers each request with its own name.
    `expect`: what certferry must do; `also`: what another proxy may do as well, because the RFC leaves the choice or it
    is only certferry's own promise. `clause`: the RFC sections and advisories this is about.
    """

    name: str
    group: str
    clause: str
    octets: bytes
    expect: object
    also: tuple = ()
    names: dict = field(default_factory=dict)  # further names -> addresses
    guarded: bool = False  # for a proxy that may not reach loopback and other special-purpose addresses


@dataclass(frozen=True)
class OriginCase:
    """
    `octets` is what a hostile origin sends once it has a complete request for /first (`early`: once it has its head,
    and the client then sends a request where the rest of its body is due).
    Then /second is asked for, on the same connection if it is still open, and /third by another client: each must get
    its own response. `then`: what the origin does behind these octets: "keep", "close", "reset", or "later": it sends
    what is before the first ~, and the rest when the client has its response. `rewritten`: that /second is written by
    the proxy as /first was is what this case is about; of others it is not asked elsewhere.
    """

    name: str
    group: str
    clause: str
    octets: bytes
    expect: object
    also: tuple = ()
    then: str = "keep"
    early: bool = False
    rewritten: bool = False
    spent: bool = False  # certferry does not use the origin's connection again
    request: bytes = b"GET http://$HOST/first HTTP/1.1\r\nHost: $HOST\r\n\r\n"
    names = {}
    guarded = False


@dataclass(frozen=True)
class TunnelCase:
    """`inside`: the pieces the client sends once the tunnel is open; b"" as a piece is its FIN."""

    name: str
    group: str
    clause: str
    octets: bytes
    expect: object
    inside: tuple = ()
    also: tuple = ()
    names = {}
    guarded = False


def fill(octets, port, via=b"1.1 raw-proxy"):
    """The octets with their marks replaced."""
    host = NAME + b":$PORT"
    return octets.replace(b"$HOST", host).replace(b"$PORT", b"%d" % port).replace(b"$VIA", via)


def get(*fields, target=b"http://$HOST/", version=b"1.1", method=b"GET", host=b"$HOST", body=b""):
    """A request of these lines; `host` None leaves the field out."""
    lines = [method + b" " + target + b" HTTP/" + version]
    if host is not None:
        lines.append(b"Host: " + host)
    return b"".join(line + b"\r\n" for line in (*lines, *fields)) + b"\r\n" + body


def post(*fields, body=b"", **more):
    return get(*fields, method=b"POST", body=body, **more)


# A whole request behind the case's own: whoever ends a body too early takes it for the next one.
SMUGGLED = b"GET http://$HOST/smuggled HTTP/1.1\r\nHost: $HOST\r\n\r\n"
# The same as the next request of its own, for a proxy that may end the body there.
NEXT = Sent(target="/smuggled")
