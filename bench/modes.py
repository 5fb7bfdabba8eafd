"""What is measured: the load's arguments for each mode, and the targets."""

import dataclasses

from proxies import FIRST_ORIGIN, GATEWAY, HTTP_ORIGIN, SERVICES, SNI, TLS

OPERATION = "operation"
GIGABYTE = "GB"
IDLE_TUNNEL = "idle tunnel"
EST = "/.well-known/est"


@dataclasses.dataclass(frozen=True)
class Mode:
    name: str
    title: str
    short: str  # as the README names it
    service: str
    arguments: tuple
    connections: int
    per: str = OPERATION
    quick: bool = True
    hello: bool = True  # the first octets are a ClientHello, so that the gate may stay on
    rival: float = 0.0  # target: certferry's cost, as a share of the best rival's
    ceilings: tuple = ()  # targets: (name, share of its cost)
    door: str = ""  # which listener is asked; "": the proxy port
    resume: bool = False  # TLS sessions, each by the newest ticket

    def http(self):
        return self.service == "http"

    def idles(self):
        return self.per == IDLE_TUNNEL

    def enrolls(self):
        return self.service == "est"

    def tunnel(self, proxy):
        """What is asked for with CONNECT; None: nothing."""
        connects = proxy.connects and self.door in ("", TLS)
        return f"127.0.0.1:{FIRST_ORIGIN + SERVICES.index(self.service)}" if connects else None

    def through(self, proxy):
        """Does this proxy take part?"""
        if self.door == SNI and proxy.name.startswith("certferry"):  # the port dialled is one for all of a process
            return proxy.name == ("certferry-down" if self.service == "source" else "certferry")
        if self.door:
            return self.door in proxy.doors
        if proxy.name == "certferry-down":
            return False
        if proxy.name == "certferry-raw":
            return self.name == "connect-raw"
        if proxy.name == "certferry" and self.name == "connect-raw":
            return False
        return not (self.http() and proxy.name == "relay-200")

    def command(self, proxy, hello, connections):
        """Arguments of bench_load, durations and pid aside."""
        to = proxy.address(self.service, self.door)
        words = ["--to", str(to), "--connections", str(connections), *self.arguments]
        if self.door in (TLS, GATEWAY):
            words.append("--resume" if self.resume else "--tls")
        if self.door == GATEWAY:
            return words + ["--prefix", EST, "--url", "https://est.bench.test"]
        if self.http():
            return words + ["--url", f"http://127.0.0.1:{HTTP_ORIGIN}"]
        if self.hello:
            words += ["--first", str(hello)]
        if self.tunnel(proxy):
            words += ["--tunnel", self.tunnel(proxy)]
        return words


def _stream(way, service, count, quick):
    title = {"down": "from the origin", "up": "to the origin", "both": "both ways"}[way]
    short = {"down": "down", "up": "up", "both": "both ways"}[way]
    return Mode(f"{way}{count}", f"{count} tunnels streaming {title}", f"{count} tunnels {short}", service,
                ("--mode", "stream", "--way", way), count, GIGABYTE, quick, rival=0.25, ceilings=(("haproxy", 0.35),))


_ECHO = ("--mode", "echo")
_HTTP = (("haproxy", 1.0),)

MODES = [
    Mode("connect", "new connection, CONNECT, one echo of a ClientHello, close", "CONNECT, ClientHello echoed",
         "echo", _ECHO, 32,
         rival=0.75, ceilings=(("relay-200", 1.1), ("relay", 1.1))),
    Mode("connect-raw", "the same with 64 octets and the SNI gate off", "CONNECT, 64 octets, SNI gate off",
         "echo", _ECHO, 32, hello=False,
         rival=0.75, ceilings=(("relay-200", 1.1), ("relay", 1.1))),
    _stream("down", "source", 8, True),
    _stream("up", "sink", 8, True),
    _stream("both", "both", 8, True),
    _stream("down", "source", 64, False),
    _stream("up", "sink", 64, False),
    _stream("both", "both", 64, False),
    Mode("get1k", "GET of 1 KiB, connections kept", "GET 1 KiB, kept connections", "http",
         ("--mode", "get", "--way", "1024"), 32,
         rival=0.6, ceilings=_HTTP),
    Mode("get100k", "GET of 100 KiB, connections kept", "GET 100 KiB, kept connections", "http",
         ("--mode", "get", "--way", "102400"), 32,
         rival=0.7, ceilings=_HTTP),
    Mode("getnew", "GET of 1 KiB, a new connection each", "GET 1 KiB, a connection each", "http",
         ("--mode", "getnew", "--way", "1024"), 32,
         rival=0.75, ceilings=_HTTP),
    Mode("post", "POST of 2 KiB as SCEP does, connections kept", "POST 2 KiB (SCEP)", "http",
         ("--mode", "post", "--body", "2048"), 32,
         rival=0.6, ceilings=_HTTP),
    Mode("enroll", "a whole EST enrollment through a tunnel, one after another", "whole EST enrollment", "est", (), 1),
]

IDLE = Mode("idle", "idle tunnels held: KiB each", "idle tunnel", "echo", _ECHO, 1, IDLE_TUNNEL)

# The front doors, beside what others have of the kind: `bench/run --doors`.
_GET = ("--mode", "get", "--way", "2048")
_DOWN, _UP = ("--mode", "stream", "--way", "down"), ("--mode", "stream", "--way", "up")

DOORS = [
    Mode("tls-idle", "idle tunnels within TLS held: KiB each", "https-connect: idle tunnel",
         "echo", _ECHO, 1, IDLE_TUNNEL, door=TLS),
    Mode("gw-idle", "idle connections held, each after one GET: KiB each", "EST gateway: idle connection",
         "https", _GET, 1, IDLE_TUNNEL, door=GATEWAY),
    Mode("sni-idle", "idle tunnels by SNI held: KiB each", "SNI pass-through: idle tunnel",
         "echo", _ECHO, 1, IDLE_TUNNEL, door=SNI),
    Mode("tls-connect", "TLS handshake with the proxy, CONNECT, one echo of a ClientHello, close",
         "https-connect: handshake, CONNECT, ClientHello echoed", "echo", _ECHO, 32, door=TLS),
    Mode("tls-resumed", "the same, the TLS session resumed", "the same, session resumed",
         "echo", _ECHO, 32, door=TLS, resume=True),
    Mode("tls-down8", "8 tunnels within TLS streaming from the origin", "https-connect: 8 tunnels down",
         "source", _DOWN, 8, GIGABYTE, door=TLS),
    Mode("tls-up8", "8 tunnels within TLS streaming to the origin", "https-connect: 8 tunnels up",
         "sink", _UP, 8, GIGABYTE, door=TLS),
    Mode("gw-get", "GET of 2 KiB (cacerts) through the EST gateway, TLS on both sides, connections kept",
         "EST gateway: GET 2 KiB, kept connections", "https", _GET, 32, door=GATEWAY),
    Mode("gw-getnew", "the same, a new connection and handshake each", "EST gateway: GET 2 KiB, a handshake each",
         "https", ("--mode", "getnew", "--way", "2048"), 32, door=GATEWAY),
    Mode("gw-getresumed", "the same, the TLS session resumed", "EST gateway: GET 2 KiB, session resumed each",
         "https", ("--mode", "getnew", "--way", "2048"), 32, door=GATEWAY, resume=True),
    Mode("gw-post", "POST of 1 KiB (simpleenroll) answered with 2 KiB, connections kept",
         "EST gateway: POST 1 KiB, kept connections", "https", ("--mode", "post", "--body", "1024"), 32, door=GATEWAY),
    Mode("gw-postnew", "the same, a new connection and handshake each", "EST gateway: POST 1 KiB, a handshake each",
         "https", ("--mode", "postnew", "--body", "1024"), 32, door=GATEWAY),
    Mode("sni-connect", "new connection, one echo of a ClientHello, close", "SNI pass-through: ClientHello echoed",
         "echo", _ECHO, 32, door=SNI),
    Mode("sni-down8", "8 tunnels by SNI streaming from the origin", "SNI pass-through: 8 tunnels down",
         "source", _DOWN, 8, GIGABYTE, door=SNI),
]
IDLE_RIVAL_KIB = 1.5
THROUGHPUT = 1.3
GROWTH = 1.1  # the last figure as a share of the first: tunnels, entries, and the cost with more processors
LATENCY = 2.0  # p99 at half load, as a share of what it is without a proxy
EVEN = 1.1  # the busiest worker, as a share of the mean of all
