"""
Random HTTP/1.1 messages from a seeded grammar (RFC 9112): right ones with what they must be read as, and the same ones
spoiled in the ways in which readers are known to disagree.
"""

import dataclasses
import random
import re

CRLF = b"\r\n"
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VCHAR = bytes(range(0x21, 0x7F))
OBS_TEXT = bytes(range(0x80, 0x100))
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"PATCH", b"TRACE")
PIECES_MAX = 6


@dataclasses.dataclass
class Message:
    """What a reader must find. `fields` with names in lower case; `trailers` the ones that may be passed on."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    fields: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    trailers: list = dataclasses.field(default_factory=list)
    end: int = 0


@dataclasses.dataclass
class Case:
    """Octets on a connection. `messages` is what they are by the grammar, None when they were spoiled."""

    kind: str  # "Q": requests, "R": responses
    method: bytes  # of the request that is answered
    closed: bool  # then the sender closes
    octets: bytes
    messages: list | None
    cuts: tuple = ()
    spoiled: str = ""


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)

    # -- parts

    def one(self, *choices):
        return self.random.choice(choices)

    def octets(self, alphabet, least, most):
        return bytes(self.random.choices(alphabet, k=self.random.randint(least, most)))

    def token(self, most=12):
        return self.octets(TOKEN, 1, most)

    def value(self):
        """A field value without whitespace at its ends."""
        kind = self.random.randrange(6)
        if kind == 0:
            return b""
        alphabet = VCHAR + (OBS_TEXT if kind == 1 else b"")
        words = [self.octets(alphabet, 1, 12) for _ in range(self.random.randint(1, 3))]
        return self.one(b" ", b"\t", b"  ", b", ").join(words)

    def field(self):
        """A field of no meaning to a reader of framing."""
        return b"X-" + self.token(), self.value()

    def line(self, name, value):
        return name + b":" + self.one(b" ", b"", b"\t", b"  ") + value + self.one(b"", b"", b" ", b"\t ") + CRLF

    def lines(self, fields):
        return b"".join(self.line(name, value) for name, value in fields)

    def other_case(self, name):
        return self.one(name, name.lower(), name.upper())

    def path(self):
        return b"/" + self.octets(b"abcXYZ019-._~!$&'()*+,;=:@/%", 0, 20) + self.one(b"", b"?q=1", b"?")

    # -- bodies

    def content(self):
        size = self.one(0, 1, 2, 15, 16, 255, 256, self.random.randrange(2000))
        if self.random.randrange(3):
            return self.random.randbytes(size)
        # What a reader that lost its place would take for something else.
        return (b"0\r\n\r\nGET / HTTP/1.1\r\nHost: evil\r\n\r\n" * 60)[:size]

    def chunk_extension(self):
        kind = self.random.randrange(8)
        if kind > 2:
            return b""
        value = self.one(b"", b"=" + self.token(), b'="' + self.octets(b"ab ;=,\t", 0, 8) + b'\\""')
        return b"".join(b";" + self.token() + value for _ in range(kind + 1))

    def chunk_size(self, size):
        digits = self.one(b"%x", b"%X") % size
        return b"0" * self.one(0, 0, 0, 1, 8, 12) + digits

    def chunked(self, content, trailers):
        out = b""
        while content:
            size = self.random.randint(1, len(content))
            out += self.chunk_size(size) + self.chunk_extension() + CRLF + content[:size] + CRLF
            content = content[size:]
        return out + self.chunk_size(0) + self.chunk_extension() + CRLF + self.lines(trailers) + CRLF

    def trailers(self):
        return [self.field() for _ in range(self.one(0, 0, 0, 1, 3))]

    # -- messages

    def finish(self, message, start, fields, body):
        """The octets of a message; what was written is noted in it."""
        self.random.shuffle(fields)
        message.fields = [(name.lower(), value) for name, value in fields]
        octets = start + CRLF + self.lines(fields) + CRLF + body
        message.end = len(octets)
        return octets, message

    def framed(self, message, fields):
        """Content with a length or in chunks: adds the field, returns the octets."""
        message.body = self.content()
        if self.random.randrange(2):
            fields.append((self.other_case(b"Content-Length"), b"%d" % len(message.body)))
            return message.body
        fields.append((self.other_case(b"Transfer-Encoding"), self.one(b"chunked", b"Chunked", b"CHUNKED")))
        trailers = self.trailers()
        message.trailers = [(name.lower(), value) for name, value in trailers]
        return self.chunked(message.body, trailers)

    def request(self):
        message = Message(method=self.one(*METHODS))
        message.target = self.one(self.path(), b"http://ca.example" + self.path(), b"http://ca.example:8080/")
        fields = [self.field() for _ in range(self.random.randrange(5))]
        minor = self.one(1, 1, 1, 0)
        if minor:
            fields.append((self.other_case(b"Host"), b"ca.example"))
        if self.random.randrange(6) == 0:
            fields.append((b"Connection", self.one(b"close", b"keep-alive", b"X-Hop, close")))
        body = b""
        if message.method in (b"POST", b"PUT", b"PATCH") and minor:
            body = self.framed(message, fields)
        elif message.method == b"POST":
            message.body = body = self.content()
            fields.append((b"Content-Length", b"%d" % len(body)))
        start = b"%s %s HTTP/1.%d" % (message.method, message.target, minor)
        return self.finish(message, start, fields, body)

    def interim(self):
        message = Message(status=self.one(100, 102, 103))
        start = b"HTTP/1.1 %d %s" % (message.status, self.one(b"", b"Continue"))
        return self.finish(message, start, [self.field()], b"")

    def response(self, method, last):
        """Only the last on a connection may end with it."""
        message = Message(status=self.one(200, 200, 200, 206, 204, 304, 404, 500, 599))
        fields = [self.field() for _ in range(self.random.randrange(5))]
        start = b"HTTP/1.1 %d %s" % (message.status, self.one(b"OK", b"", b"Not \t so \xe9"))
        body = b""
        if message.status in (204, 304) or method == b"HEAD":
            if message.status != 204 and self.random.randrange(2):
                fields.append((b"Content-Length", b"%d" % self.random.randrange(999)))
        elif last and self.random.randrange(3) == 0:
            message.body = body = self.content()
            start = start.replace(b"/1.1", self.one(b"/1.1", b"/1.0"))
        else:
            body = self.framed(message, fields)
        return self.finish(message, start, fields, body)

    # -- cases

    def cuts(self, octets):
        count = self.random.randrange(PIECES_MAX)
        return tuple(sorted(self.random.randrange(len(octets) + 1) for _ in range(count)))

    def joined(self, kind, method, closed, pairs):
        octets, messages = b"", []
        for more, message in pairs:
            message.end += len(octets)
            octets += more
            messages.append(message)
        return Case(kind, method, closed, octets, messages, self.cuts(octets))

    def requests(self):
        return self.joined("Q", b"-", False, [self.request() for _ in range(self.one(1, 1, 2, 3))])

    def responses(self):
        method = self.one(b"GET", b"GET", b"POST", b"HEAD")
        count = self.one(1, 1, 2)
        pairs = [self.interim() for _ in range(self.one(0, 0, 0, 1, 2))]
        pairs += [self.response(method, n == count - 1) for n in range(count)]
        return self.joined("R", method, True, pairs)

    def case(self, kind):
        return self.requests() if kind == "Q" else self.responses()

    def spoiled(self, kind):
        """A case with one to three faults, or what may be some."""
        case = self.case(kind)
        names = []
        for _ in range(self.one(1, 1, 1, 2, 3)):
            spoil = self.one(*SPOILERS)
            case.octets = spoil(self, case.octets)
            names.append(spoil.__name__)
        case.messages, case.spoiled, case.cuts = None, " ".join(names), self.cuts(case.octets)
        return case


# ---- what goes wrong

# Whole lines put into a head: RFC 9112 sections 5.1 (no space before the colon), 5.2 (no folding), 6.1 to 6.3 (lengths
# and codings), 3.2 (one Host), 2.2 (no bare CR), RFC 9110 section 5.5 (no control octets).
FIELD_LINES = (
    b"Content-Length: 0", b"Content-Length: 5", b"content-length:5", b"Content-Length: 05", b"Content-Length: 5, 5",
    b"Content-Length: 5,6", b"Content-Length: +5", b"Content-Length: -0", b"Content-Length: 0x5", b"Content-Length: 5 ",
    b"Content-Length: 5 5", b"Content-Length:", b"Content-Length: 5;", b"Content-Length: 5\x00",
    b"Content-Length: \x0b5",
    b"Content-Length: 1_0", b"Content-Length: 9999999999999999999999", b"Content-Length: 18446744073709551621",
    b"Content-Length: \xb2", b"Content_Length: 5", b"Content-Length : 5", b"Content-Length\t: 5", b" Content-Length: 5",
    b"\tContent-Length: 5", b"X: y\rContent-Length: 5", b"X: y\nContent-Length: 5", b"X:\r\n Content-Length: 5",
    b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding : chunked", b"Transfer\x00-Encoding: chunked",
    b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chun ked", b"Transfer-Encoding:", b"Transfer-Encoding",
    b"Host: other.example", b"host:", b"Host: a, b", b"X : y", b" folded", b"\tfolded", b": empty name", b"no colon",
    b"X: a\rb", b"X: a\x00b", b"X: a\x01b", b"X: a\x7fb", b"X: a\x0bb", b"X: a\x0cb", b"X\xe9: y", b"X(: y", b"X y: z",
    b"Trailer: X", b"Connection: close", b"Connection: Content-Length", b"Expect: 100-continue", b"Upgrade: h2c",
)  # fmt: skip
NASTY = b"\r\n\x00\t \x0b\x0c\x7f\x80\xff:;,+-x0\"\\/"
LINE_ENDS = (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n ", b"\r\n\t", b"\r \n", b" \r\n", b"\r\n\r\n", b"\r\x00\n", b"")
CHUNK_ENDS = (b"", b"\r", b"\n", b"x\n", b"\rx", b"xx", b"\n\n", b"\r\r", b"\n\r", b" \r\n", b"\r\n\r\n", b"\0\n")
SIZE_PREFIXES = (b"+", b"-", b"0x", b" ", b"\t", b"0" * 21, b"f" * 16, b"1" + b"0" * 16, b"\x00", b"_", b"\r\n", b"g")
SIZE_SUFFIXES = (
    b" ", b"\t", b";", b";;", b"; a=b", b";a =b", b";a= b", b";=b", b';a="', b';a="\\"', b";\x00", b";a\rb", b";a\nb",
    b"\x00", b"g", b".0", b"h", b"\n", b"\r", b";a=\xe9", b";" + b"a" * 300, b",1", b"L",
)  # fmt: skip
START_LINES = (
    (b"HTTP/1.1", b"HTTP/1.0"), (b"HTTP/1.1", b"HTTP/1.2"), (b"HTTP/1.1", b"HTTP/2.0"), (b"HTTP/1.1", b"http/1.1"),
    (b"HTTP/1.1", b"HTTP/01.1"), (b"HTTP/1.1", b"HTTP/1.1 "), (b"HTTP/1.1", b"HTTP/1,1"), (b"HTTP/1.1", b"HTTP/11"),
    (b"HTTP/1.1", b" HTTP/1.1"), (b"HTTP/1.1", b"\tHTTP/1.1"), (b"HTTP/1.1", b"HTTP/1.1\t"), (b"HTTP/1.1", b"HTTP/0.9"),
    (b" ", b"  "), (b" ", b"\t"), (b" ", b""), (b" ", b" \x0b"), (b" /", b" /\xe9"), (b" /", b" /\x7f"),
    (b" /", b" /\""),
    (b" 200 ", b" 200"), (b" 200 ", b" 2000 "), (b" 200 ", b" 20 "), (b" 200 ", b" 099 "), (b" 200 ", b" 600 "),
    (b" 200 ", b" 101 "), (b" 200 ", b" 100 "), (b" 200 ", b" 204 "), (b" 200 ", b" +20 "), (b" 200 ", b"  200 "),
    (b"GET", b"get"), (b"GET", b"G(T"), (b"POST", b"CONNECT"), (b"POST", b"TRACE"), (b"GET", b"CONNECT"),
)  # fmt: skip


def heads(octets):
    """Where heads begin and end, as far as that can be seen."""
    begins = [found.start() for found in re.finditer(rb"[A-Z]+ \S+ HTTP/|HTTP/1", octets)]
    ends = [octets.find(b"\r\n\r\n", begin) for begin in begins]
    return [pair for pair in zip(begins, ends) if pair[1] > pair[0]] or [(0, len(octets))]


def field_line(grammar, octets):
    """Puts a line into a head, behind its first line or another."""
    begin, end = grammar.one(*heads(octets))
    places = [found.start() for found in re.finditer(CRLF, octets[begin : end + 2])] or [0]
    at = begin + grammar.one(*places)
    return octets[:at] + CRLF + grammar.one(*FIELD_LINES) + octets[at:]


def start_line(grammar, octets):
    begin, _ = grammar.one(*heads(octets))
    return octets[:begin] + octets[begin:].replace(*grammar.one(*START_LINES), 1)


def line_end(grammar, octets):
    places = [found.start() for found in re.finditer(CRLF, octets)] or [0]
    at = grammar.one(*places)
    return octets[:at] + grammar.one(*LINE_ENDS) + octets[at + 2 :]


def chunk_line(grammar, octets):
    """Something before or behind a chunk's size, or another size."""
    places = list(re.finditer(rb"(?<=\r\n)[0-9A-Fa-f]+(?=[;\r])", octets))
    if not places:
        return field_line(grammar, octets)
    found = grammar.one(*places)
    size = grammar.one(
        grammar.one(*SIZE_PREFIXES) + found[0],
        found[0] + grammar.one(*SIZE_SUFFIXES),
        b"%x" % max(0, int(found[0], 16) + grammar.one(-1, 1, 2, 16)),
    )
    return octets[: found.start()] + size + octets[found.end() :]


def chunk_end(grammar, octets):
    """What stands behind a chunk's data instead of CRLF (RFC 9112 section 7.1)."""
    places = list(re.finditer(rb"(?<=\r\n)0*([1-9A-Fa-f][0-9A-Fa-f]*)(;[^\r\n]*)?\r\n", octets))
    if not places:
        return chunk_line(grammar, octets)
    found = grammar.one(*places)
    at = found.end() + int(found[1], 16)
    return octets[:at] + grammar.one(*CHUNK_ENDS) + octets[at + 2 :]


def trailer(grammar, octets):
    """A line in a trailer section: forbidden fields (RFC 9110 section 6.5.1) and malformed ones."""
    at = octets.rfind(b"0\r\n\r\n")
    if at < 0:
        return field_line(grammar, octets)
    return octets[: at + 3] + grammar.one(*FIELD_LINES) + octets[at + 1 :]


def length(grammar, octets):
    found = re.search(rb"(?i)content-length:[ \t]*(\d+)", octets)
    if not found:
        return octet(grammar, octets)
    number = b"%d" % max(0, int(found[1]) + grammar.one(-2, -1, 1, 2, 5))
    return octets[: found.start(1)] + number + octets[found.end(1) :]


def octet(grammar, octets):
    """Deletes, doubles, changes or adds one octet, more often in a head than elsewhere."""
    begin, end = grammar.one(*heads(octets), (0, len(octets)))
    at = grammar.random.randrange(begin, max(begin + 1, end))
    change = grammar.one(
        b"",
        octets[at : at + 1] * 2,
        bytes([octets[at] ^ 1 << grammar.random.randrange(8)]) if octets else b"",
        bytes([grammar.one(*NASTY)]),
        octets[at : at + 1] + bytes([grammar.one(*NASTY)]),
    )
    return octets[:at] + change + octets[at + 1 :]


def cut_off(grammar, octets):
    return octets[: grammar.random.randrange(1, len(octets) + 1)] or b"G"


def empty_lines(grammar, octets):
    """Before a message (RFC 9112 section 2.2)."""
    begin, _ = grammar.one(*heads(octets))
    return octets[:begin] + CRLF * grammar.one(1, 1, 2) + octets[begin:]


SPOILERS = (
    field_line, field_line, start_line, line_end, chunk_line, chunk_end, trailer, length, octet, octet, cut_off,
    empty_lines,
)  # fmt: skip
