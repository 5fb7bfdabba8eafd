"""A client that writes HTTP byte for byte and reads answers strictly; and the table of outcomes, as tests see it."""

import contextlib
import pathlib
import re
import socket
from dataclasses import dataclass, field

from support.certferry import PATIENCE

OUTCOME_H = pathlib.Path(__file__).resolve().parents[2] / "proxy/base/outcome.h"


@dataclass
class Response:
    status: int
    reason: str
    version: str
    fields: list  # (name, value) in order, names as sent
    head: bytes  # with the empty line
    body: bytes = b""
    framing: str = "none"  # none, length, chunked, close
    trailers: list = field(default_factory=list)
    interim: list = field(default_factory=list)  # 1xx responses before it
    complete: bool = True  # False: the connection ended before its framing said so
    first_segment: bytes = b""  # what the first receive brought

    def header(self, name):
        """The value, several of them joined, None if there is none."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def closes(self):
        return "close" in (self.header("Connection") or "").lower()


class Client:
    """One connection to the proxy. `source`: the client's own address, anything in 127.0.0.0/8."""

    def __init__(self, proxy, receive_buffer=None, send_buffer=None, source=None):
        self.sock = socket.socket()
        if source:
            self.sock.bind((source, 0))
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", proxy.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.sock.getsockname()[1]
        self._ahead = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, target, *fields, method="GET", version="1.1", body=None):
        """Sends a whole request; with `body` also its Content-Length."""
        self.send(request(target, *fields, method=method, version=version, body=body))

    def fetch(self, target, *fields, method="GET", **more):
        self.ask(target, *fields, method=method, **more)
        return self.response(method)

    def recv(self, maximum=65536):
        if self._ahead:
            data, self._ahead = self._ahead[:maximum], self._ahead[maximum:]
            return data
        return self.sock.recv(maximum)

    def ended(self):
        """Whether the proxy closes, or resets, without a further byte."""
        with contextlib.suppress(ConnectionResetError):
            return self.recv() == b""
        return True

    def _until(self, mark):
        data = b""
        while mark not in data:
            more = self.recv()
            if not more:
                raise EOFError(f"the proxy closed after {data[:200]!r}")
            data += more
        end = data.index(mark) + len(mark)
        self._ahead = data[end:] + self._ahead
        return data[:end]

    def _exactly(self, count):
        parts = []
        while count > 0:
            data = self.recv(min(count, 1 << 20))
            if not data:
                raise EOFError("the proxy closed in a body")
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def head(self):
        """The next head, 1xx or final."""
        first = self.recv()
        self._ahead = first + self._ahead
        head = self._until(b"\r\n\r\n")
        line, *lines = head[:-4].decode("latin-1").split("\r\n")
        found = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) (.*)", line)
        assert found, f"no status line: {line!r}"
        fields = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        return Response(int(found[2]), found[3], found[1], fields, head, first_segment=first)

    def response(self, method="GET"):
        """The next final response with its body; a body cut short has complete == False."""
        answer, interim = self.head(), []
        while answer.status < 200:
            interim.append(answer)
            answer = self.head()
        answer.interim = interim
        try:
            self._body(answer, method)
        except (EOFError, ConnectionResetError):
            answer.complete = False
        return answer

    def _body(self, answer, method):
        if method == "HEAD" or answer.status in (204, 304):
            return
        coding, length = answer.header("Transfer-Encoding"), answer.header("Content-Length")
        assert not (coding and length), "two framings at once"
        if coding:
            assert coding.lower() == "chunked", coding
            answer.framing = "chunked"
            self._chunks(answer)
        elif length is not None:
            answer.framing = "length"
            answer.body = self._exactly(int(length))
        else:
            answer.framing = "close"
            while data := self.recv():
                answer.body += data

    def _chunks(self, answer):
        parts = []
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            parts.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n"
        answer.body = b"".join(parts)
        while (line := self._until(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").strip().partition(":")
            answer.trailers.append((name, value.strip()))


def request(target, *fields, method="GET", version="1.1", body=None):
    """The octets of a request. Host comes from the target unless given; `fields` are whole lines without CRLF."""
    lines = [f"{method} {target} HTTP/{version}", *fields]
    if version != "1.0" and not any(line.lower().startswith("host:") for line in fields):
        lines.insert(1, "Host: " + authority_of(target))
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n" + (body or b"")


def authority_of(target):
    found = re.match(r"(?i:https?)://([^/?#]*)", target)
    return found[1] if found else target


def chunked(*parts, trailers=()):
    """The chunked form of these parts."""
    text = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return text + b"0\r\n" + b"".join(line.encode() + b"\r\n" for line in trailers) + b"\r\n"


@dataclass(frozen=True)
class Outcome:
    """A row of proxy/base/outcome.h."""

    token: str
    status: int
    proxy_status: str  # "" for none
    phrase: str


def read_outcomes():
    text = re.sub(r"/\*.*?\*/", "", OUTCOME_H.read_text(), flags=re.DOTALL).replace("\\\n", " ")
    string = r'("(?:[^"\\]|\\.)*"|NULL)'
    row = re.compile(rf"X\((\w+),\s*{string},\s*(\d+),\s*{string},\s*{string}")
    rows = [Outcome(unquote(m[2]), int(m[3]), unquote(m[4]), unquote(m[5])) for m in row.finditer(text)]
    return {outcome.token: outcome for outcome in rows}


def unquote(literal):
    return "" if literal == "NULL" else literal[1:-1]


OUTCOMES = read_outcomes()


def metric(proxy, metric_name, /, **labels):
    """A value of /metrics; with labels, of that row; 0 when there is none."""
    with Client(proxy) as client:
        text = client.fetch("/metrics", "Host: a").body.decode()
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    row = f"certferry_{metric_name}" + (f"{{{wanted}}}" if wanted else "")
    found = re.search(rf"^{re.escape(row)} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def ended_with(proxy, token):
    """How many exchanges ended with this outcome, by the metrics, whatever their class."""
    with Client(proxy) as client:
        text = client.fetch("/metrics", "Host: a").body.decode()
    return sum(int(n) for n in re.findall(rf'^certferry_exchanges_total{{.*outcome="{token}"}} (\d+)$', text, re.MULTILINE))


def assert_refused(proxy, response, token, **line):
    """Answer, reason phrase, Proxy-Status and access log agree on one outcome of the table; the log line."""
    wanted = OUTCOMES[token]
    assert response.status == wanted.status, (response.head, response.body)
    assert response.reason == wanted.phrase
    assert f"error={wanted.proxy_status}" in (response.header("Proxy-Status") or ""), response.head
    assert response.header("Content-Type").startswith("text/plain"), response.head
    assert response.closes(), response.head
    assert response.complete
    expected = {"outcome": token, "status": wanted.status, **line}
    return proxy.wait_log(lambda seen: all(seen.get(key) == value for key, value in expected.items()))
