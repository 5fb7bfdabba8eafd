"""A small DNS server over UDP, so that only the proxy under test knows the names that tests use."""

import collections
import ipaddress
import socket
import struct
import threading

TYPES = {1: "A", 28: "AAAA", 33: "SRV"}
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


class DnsServer:
    """
    names: {"ca.enroll.test": ["127.0.0.1", "::1"]}; a key "*.enroll.test" answers for all below it. Everything else
    does not exist. `services`: SRV records, {"_x._tcp.enroll.test": [(priority, weight, port, target)]}. `mode` for
    all names, or modes[name] for one: "answer", "silence", "servfail"; `delay` in seconds.
    """

    def __init__(self, names=None, ttl=60):
        self.names = dict(names or {})
        self.services = {}
        self.ttl = ttl
        self.mode = "answer"
        self.modes = {}
        self.delay = 0
        self.queries = collections.Counter()  # (name, "A" | "AAAA" | number) -> how often
        self.asked = threading.Condition()  # notified at each query
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._timers = []
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def count(self, name, kind=None):
        """How often a name was asked for, one type or all."""
        with self.asked:
            return sum(n for (asked, what), n in self.queries.items() if asked == name and kind in (None, what))

    def wait_asked(self, name, timeout=20):
        with self.asked:
            found = self.asked.wait_for(lambda: any(asked == name for asked, _ in self.queries), timeout)
        assert found, f"nobody asked for {name}: {dict(self.queries)}"

    def _serve(self):
        while not self._closed:
            packet, peer = self._socket.recvfrom(4096)
            if len(packet) > 12:
                self._take(packet, peer)

    def _take(self, packet, peer):
        name, end = read_name(packet)
        number = struct.unpack_from("!H", packet, end)[0]
        kind = TYPES.get(number, number)
        with self.asked:
            self.queries[name, kind] += 1
            self.asked.notify_all()
        mode = self.modes.get(name, self.mode)
        if mode == "silence":
            return
        answer = self._answer(packet, name, kind, end + 4, mode)
        if not self.delay:
            self._send(answer, peer)
            return
        timer = threading.Timer(self.delay, self._send, (answer, peer))
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _send(self, answer, peer):
        if not self._closed:
            self._socket.sendto(answer, peer)

    def _find(self, name):
        if name in self.names:
            return self.names[name]
        return next((self.names[key] for key in self.names if key.startswith("*.") and name.endswith(key[1:])), None)

    def _answer(self, packet, name, kind, end, mode):
        addresses = self._find(name)
        code, records = NOERROR, []
        if mode == "servfail":
            code = SERVFAIL
        elif name in self.services:
            records = [(33, service_data(*record)) for record in self.services[name] if kind == "SRV"]
        elif addresses is None:
            code = NXDOMAIN
        else:
            parsed = [ipaddress.ip_address(text) for text in addresses]
            wanted = {"A": 4, "AAAA": 6}.get(kind)
            number = {4: 1, 6: 28}.get(wanted)
            records = [(number, address.packed) for address in parsed if address.version == wanted]
        flags = 0x8180 | code  # a recursive answer
        head = packet[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        # 0xc00c points at the name in the question, which is repeated as it came (its case may be a cookie).
        lines = b""
        for number, data in records:
            lines += struct.pack("!HHHIH", 0xC00C, number, 1, self.ttl, len(data)) + data
        return head + packet[12:end] + lines

    def close(self):
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(20)
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def service_data(priority, weight, port, target):
    """RFC 2782; "." is the root."""
    labels = [label for label in target.split(".") if label]
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return struct.pack("!HHH", priority, weight, port) + name + b"\0"


def read_name(packet):
    """The question's name in lower case and the index behind it; questions hold no compression."""
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode("ascii", errors="replace").lower())
        at += 1 + packet[at]
    return ".".join(labels), at + 1
