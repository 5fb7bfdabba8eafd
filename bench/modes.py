"""What is measured: the load's arguments for each mode, and the targets."""

import dataclasses

from proxies import FIRST_ORIGIN, HTTP_ORIGIN, SERVICES

OPERATION = "operation"
GIGABYTE = "GB"


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

    def http(self):
        return self.service == "http"

    def enrolls(self):
        return self.service == "est"

    def tunnel(self, proxy):
        """What is asked for with CONNECT; None: nothing."""
        return f"127.0.0.1:{FIRST_ORIGIN + SERVICES.index(self.service)}" if proxy.connects else None

    def through(self, proxy):
        """Does this proxy take part?"""
        if proxy.name == "certferry-raw":
            return self.name == "connect-raw"
        if proxy.name == "certferry" and self.name == "connect-raw":
            return False
        return not (self.http() and proxy.name == "relay-200")

    def command(self, proxy, hello, connections):
        """Arguments of bench_load, durations and pid aside."""
        words = ["--to", str(proxy.address(self.service)), "--connections", str(connections), *self.arguments]
        if self.http():
            return words + ["--url", f"http://127.0.0.1:{HTTP_ORIGIN}"]
        if self.hello:
            words += ["--first", str(hello)]
        if proxy.connects:
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

IDLE = Mode("idle", "idle tunnels held: KiB each", "idle tunnel", "echo", _ECHO, 1, "idle tunnel")
IDLE_RIVAL_KIB = 1.5
THROUGHPUT = 1.3
GROWTH = 1.1  # the last figure as a share of the first: tunnels, entries, and the cost with more processors
LATENCY = 2.0  # p99 at half load, as a share of what it is without a proxy
EVEN = 1.1  # the busiest worker, as a share of the mean of all
