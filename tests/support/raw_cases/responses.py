"""
What a hostile origin answers: framing and heads as bad as those of requests, 1xx and 101 that nobody asked for, an end
too early, octets behind the message. Whatever it does, the client behind gets its own response, and so do the next two.
"""

from support.raw_cases.model import Broken, OriginCase, Refused, Relayed, post

FRAMING, HEADS, BODIES, INTERIM, ENDS, UNASKED, FIELDS = (
    "lengths in responses",
    "heads of responses",
    "chunks in responses",
    "interim responses",
    "early ends",
    "octets nobody asked for",
    "fields of responses",
)
BAD = Refused(502)
OK = b"HTTP/1.1 200 OK\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
WHOLE = Relayed(body=b"hello")
CUT = Broken()


def answer(*fields, body=b"hello", status=OK):
    return status + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def response(name, group, clause, octets, expect=BAD, also=(), **more):
    return OriginCase(name, group, clause, octets, expect, also, **more)


def framed(name, clause, *fields, body=b"hello", expect=BAD, also=(), **more):
    return response(name, FRAMING, clause, answer(*fields, body=body), expect, also, **more)


LENGTH = "RFC 9112 section 6.3"
CODING = "RFC 9112 section 6.1"
HEAD = b"HEAD http://$HOST/first HTTP/1.1\r\nHost: $HOST\r\n\r\n"
OLD = b"GET http://$HOST/first HTTP/1.0\r\nHost: $HOST\r\n\r\n"
# Section 6.3: of a length and a coding the coding counts, and the length is not forwarded.
OVERRIDDEN = (Relayed(body=b"hello", lacks=("Content-Length",)),)
# A coding that does not end the body leaves that to the end of the connection; without the coding it may go on.
UNTIL_CLOSE = (WHOLE,)
FRAMING_CASES = [
    framed("a length", LENGTH, b"Content-Length: 5", expect=WHOLE),
    framed("chunked", LENGTH, b"Transfer-Encoding: chunked", body=HELLO, expect=WHOLE),
    framed(
        "chunked for a client of HTTP/1.0",
        CODING,
        b"Transfer-Encoding: chunked",
        body=HELLO,
        request=OLD,
        expect=Relayed(body=b"hello", lacks=("Transfer-Encoding",)),
    ),
    framed("until close", LENGTH, then="close", expect=WHOLE),
    framed(
        "to HEAD, a length without content",
        "RFC 9110 section 9.3.2",
        b"Content-Length: 5",
        body=b"",
        request=HEAD,
        expect=Relayed(has={"Content-Length": "5"}),
    ),
    response("204", FRAMING, LENGTH, b"HTTP/1.1 204 No Content\r\n\r\n", Relayed(204)),
    response(
        "304 with a length",
        FRAMING,
        "RFC 9110 section 8.6",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        Relayed(304),
    ),
    framed(
        "a length twice, the same", "RFC 9110 section 8.6", b"Content-Length: 5", b"Content-Length: 5", also=(WHOLE,)
    ),
    framed(
        "a length twice, different", f"{LENGTH}, CVE-2019-16792 (waitress)", b"Content-Length: 5", b"Content-Length: 0"
    ),
    framed("a list of equal lengths", "RFC 9110 section 8.6", b"Content-Length: 5, 5", also=(WHOLE,)),
    framed("a list of different lengths", LENGTH, b"Content-Length: 5, 2"),
    framed("an empty length", LENGTH, b"Content-Length:"),
    framed("a length with a plus sign", f"{LENGTH}, CVE-2020-15049 (Squid)", b"Content-Length: +5"),
    framed("a negative length", LENGTH, b"Content-Length: -5"),
    framed("a hexadecimal length", LENGTH, b"Content-Length: 0x5"),
    framed("a length with a space inside", LENGTH, b"Content-Length: 5 5"),
    framed("a length of 2^64 and 5", LENGTH, b"Content-Length: 18446744073709551621"),
    framed("a length of words", LENGTH, b"Content-Length: five"),
    framed(
        "a length and chunked",
        f"{LENGTH}, CVE-2023-46846 (Squid)",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        body=HELLO,
        also=OVERRIDDEN,
    ),
    framed(
        "chunked and a length",
        LENGTH,
        b"Transfer-Encoding: chunked",
        b"Content-Length: 15",
        body=HELLO,
        also=OVERRIDDEN,
    ),
    framed("gzip as the coding", CODING, b"Transfer-Encoding: gzip", then="close", also=UNTIL_CLOSE),
    framed("chunked, then gzip", LENGTH, b"Transfer-Encoding: chunked, gzip", then="close", also=UNTIL_CLOSE),
    framed("chunked twice", CODING, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=HELLO),
    framed(
        "an unknown coding and a length",
        LENGTH,
        b"Transfer-Encoding: xchunked",
        b"Content-Length: 5",
        then="close",
        also=UNTIL_CLOSE,
    ),
    framed(
        "identity",
        f"{CODING}, CVE-2022-1705 (Go)",
        b"Transfer-Encoding: identity",
        b"Content-Length: 5",
        then="close",
        also=UNTIL_CLOSE,
    ),
    response(
        "chunked in HTTP/1.0",
        FRAMING,
        CODING,
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO,
        then="close",
    ),
    framed(
        "vertical tab before chunked",
        "RFC 9110 section 5.5, CVE-2019-18277 (HAProxy)",
        b"Transfer-Encoding: \x0bchunked",
        body=HELLO,
    ),
    response(
        "204 with a length",
        FRAMING,
        "RFC 9110 section 8.6",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        BAD,
        (Relayed(204, lacks=("Content-Length",)),),
    ),
    response(
        "204 with chunks",
        FRAMING,
        CODING,
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO,
        BAD,
        (Relayed(204, lacks=("Transfer-Encoding",)),),
    ),
]


def headed(name, clause, octets, expect=BAD, also=(), **more):
    return response(name, HEADS, clause, octets, expect, also, **more)


def fielded(name, clause, field, also=(), expect=BAD):
    return headed(name, clause, answer(b"Content-Length: 5", field), expect, also)


STATUS = "RFC 9112 section 4"
LINE = "RFC 9112 section 2.2"
HEAD_CASES = [
    headed("no reason", STATUS, b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", WHOLE),
    headed("no space behind the status", STATUS, b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", WHOLE, (BAD,)),
    headed("no status line (HTTP/0.9)", STATUS, b"hello, this is no HTTP\r\n\r\n", then="close"),
    headed("only a body", STATUS, b"hello", then="close"),
    headed("HTTP/2.0", "RFC 9112 section 2.3", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", also=(WHOLE,)),
    headed(
        "HTTP/0.9 by its name",
        "RFC 9112 section 2.3",
        b"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        then="close",
    ),
    headed(
        "http in small letters",
        "RFC 9112 section 2.3",
        b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        then="close",
    ),
    headed("ICY", STATUS, b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", then="close"),
    headed("a status of two digits", STATUS, b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", then="close"),
    headed("a status of four digits", STATUS, b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", then="close"),
    headed("status 099", "RFC 9110 section 15", b"HTTP/1.1 099 No\r\nContent-Length: 5\r\n\r\nhello", then="close"),
    headed("status 600", "RFC 9110 section 15", b"HTTP/1.1 600 No\r\nContent-Length: 5\r\n\r\nhello", then="close"),
    headed(
        "two spaces before the status", STATUS, b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello", also=(WHOLE,)
    ),
    headed("a status with a sign", STATUS, b"HTTP/1.1 +200 OK\r\nContent-Length: 5\r\n\r\nhello", then="close"),
    headed("NUL in the reason", STATUS, b"HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello", also=(WHOLE,)),
    headed(
        "a bare CR in the reason",
        f"{LINE}, CVE-2023-27522 (Apache httpd)",
        b"HTTP/1.1 200 O\rX: y\r\nContent-Length: 5\r\n\r\nhello",
        also=(Relayed(body=b"hello", lacks=("X",)),),
    ),
    headed("an empty line before the status line", LINE, b"\r\n" + answer(b"Content-Length: 5")),
    headed("bare LF everywhere", LINE, b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", also=(WHOLE,)),
    fielded("bare LF behind a field", f"{LINE}, CVE-2022-32214 (llhttp)", b"X: a\nContent-Length: 0"),
    fielded("bare CR in a field", LINE, b"X: a\rContent-Length: 0", also=(WHOLE,)),
    fielded(
        "a folded field",
        "RFC 9112 section 5.2",
        b"X: a\r\n b",
        also=(Relayed(body=b"hello", has={"X": "a b"}), Relayed(body=b"hello", has={"X": "a  b"})),
    ),
    fielded("a length in a fold", "RFC 9112 section 5.2", b"X: a\r\n Content-Length: 0", also=(WHOLE,)),
    # RFC 9112 section 5.1 has a proxy take that space away.
    fielded(
        "a space before a colon", "RFC 9112 section 5.1", b"X : a", also=(Relayed(body=b"hello", has={"X": "a"}), WHOLE)
    ),
    fielded(
        "a second length with a space before its colon",
        "RFC 9112 section 5.1, CVE-2019-18678 (Squid)",
        b"Content-Length : 0",
    ),
    fielded("no name", "RFC 9110 section 5.1, CVE-2023-25725 (HAProxy)", b": a", also=(WHOLE,)),
    fielded("no colon", "RFC 9112 section 5", b"nothing", also=(WHOLE,)),
    fielded(
        "NUL in a value",
        "RFC 9110 section 5.5, CVE-2019-9900 (Envoy)",
        b"X: a\0b",
        also=(Relayed(body=b"hello", has={"X": "a b"}), WHOLE),
    ),
    fielded("a control octet in a value", "RFC 9110 section 5.5", b"X: a\x1bb", also=(WHOLE,)),
    fielded("a value of 70,000 octets", "RFC 9110 section 5.4", b"X: " + b"a" * 70000, also=(WHOLE,)),
    headed(
        "2000 fields",
        "RFC 9110 section 5.4",
        answer(b"Content-Length: 5", *[b"X-%d: a" % n for n in range(2000)]),
        also=(WHOLE,),
    ),
    headed("a head without end", "RFC 9110 section 5.4", OK + b"X: a\r\n" * 100000),
    headed("a status line without end", STATUS, b"HTTP/1.1 200 " + b"a" * 300000),
]


def chunked(name, clause, body, expect=CUT, also=(), **more):
    return response(name, BODIES, clause, answer(b"Transfer-Encoding: chunked", body=body), expect, also, **more)


CHUNK = "RFC 9112 section 7.1"
REFRAMED = (WHOLE,)
CHUNK_CASES = [
    chunked("an extension", "RFC 9112 section 7.1.1", b"5;a=b\r\nhello\r\n0\r\n\r\n", WHOLE),
    chunked("a trailer", "RFC 9112 section 7.1.2", b"5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n", WHOLE),
    chunked(
        "a length as a trailer",
        "RFC 9110 section 6.5.1",
        b"5\r\nhello\r\n0\r\nContent-Length: 99\r\n\r\n",
        Relayed(body=b"hello", lacks=("Content-Length",)),
        (WHOLE,),
    ),
    chunked(
        "Set-Cookie as a trailer",
        "RFC 9110 section 6.5.1",
        b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n",
        Relayed(body=b"hello", lacks=("Set-Cookie",)),
        (WHOLE,),
    ),
    chunked("a size with 0x", CHUNK, b"0x5\r\nhello\r\n0\r\n\r\n"),
    chunked("a negative size", CHUNK, b"-5\r\nhello\r\n0\r\n\r\n"),
    chunked("a size of 2^64 and 5", f"{CHUNK}, CVE-2013-2028 (nginx)", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    chunked("a size of letters", CHUNK, b"five\r\nhello\r\n0\r\n\r\n"),
    chunked("an empty size", CHUNK, b"\r\nhello\r\n0\r\n\r\n"),
    chunked("a space before the size", f"{CHUNK}, CVE-2023-46846 (Squid)", b" 5\r\nhello\r\n0\r\n\r\n", also=REFRAMED),
    chunked("bare LF behind the size", f"{CHUNK}, CVE-2025-22871 (Go)", b"5\nhello\r\n0\r\n\r\n", also=REFRAMED),
    chunked("no CR LF behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhelloXX0\r\n\r\n"),
    chunked("bare CR behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhello\r0\r\n\r\n"),
    chunked("an extension without end", "RFC 9112 section 7.1.1, CVE-2024-22019 (Node.js)", b"5;" + b"a" * 300000),
    chunked("trailers without end", "RFC 9112 section 7.1.2", b"0\r\n" + b"X: a\r\n" * 50000),
    chunked("a folded trailer", "RFC 9112 section 5.2", b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n", also=REFRAMED),
    chunked("no last chunk", CHUNK, b"5\r\nhello\r\n", then="close"),
    chunked("an end in the middle of a chunk", CHUNK, b"50\r\nhello", then="close"),
    chunked("an end behind the last chunk, before the empty line", CHUNK, b"5\r\nhello\r\n0\r\n", then="close"),
]


def interim(name, clause, octets, expect=WHOLE, also=(), **more):
    return response(name, INTERIM, clause, octets, expect, also, **more)


FIVE = answer(b"Content-Length: 5")
SECTION = "RFC 9110 section 15.2"
INTERIM_CASES = [
    interim("100, then the answer", f"{SECTION}.1", b"HTTP/1.1 100 Continue\r\n\r\n" + FIVE),
    interim(
        "103, then the answer",
        "RFC 8297 section 2",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + FIVE,
        Relayed(body=b"hello", interim=(103,)),
        (WHOLE,),
    ),
    interim("199, which is unknown", SECTION, b"HTTP/1.1 199 What\r\n\r\n" + FIVE),
    interim(
        "to a client of HTTP/1.0",
        SECTION,
        b"HTTP/1.1 100 Continue\r\n\r\n" + FIVE,
        Relayed(body=b"hello", interim=()),
        request=OLD,
    ),
    interim("ten of them", SECTION, b"HTTP/1.1 102 Processing\r\n\r\n" * 10 + FIVE, WHOLE, (BAD,)),
    interim("a flood of them", SECTION, b"HTTP/1.1 102 Processing\r\n\r\n" * 10000 + FIVE, BAD, (WHOLE,)),
    interim("a flood without an answer", SECTION, b"HTTP/1.1 100 Continue\r\n\r\n" * 10000, BAD, then="close"),
    interim("100 and the end", SECTION, b"HTTP/1.1 100 Continue\r\n\r\n", BAD, then="close"),
    interim(
        "100 with a length",
        f"{SECTION}, RFC 9110 section 8.6",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + FIVE,
        Relayed(body=b"hello"),
        (BAD,),
    ),
    interim(
        "101 unasked",
        f"{SECTION}.2",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        BAD,
    ),
    interim(
        "101 to a request with Upgrade",
        "RFC 9110 section 7.8",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nanything",
        BAD,
        request=b"GET http://$HOST/first HTTP/1.1\r\nHost: $HOST\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ),
    interim(
        "101 behind 100", f"{SECTION}.2", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n", BAD
    ),
]


def ending(name, clause, octets, expect=BAD, also=(), then="close", **more):
    return response(name, ENDS, clause, octets, expect, also, then=then, **more)


INCOMPLETE = "RFC 9112 section 8"
END_CASES = [
    ending("at once", INCOMPLETE, b""),
    ending("at once, by a reset", INCOMPLETE, b"", then="reset"),
    ending("in the status line", INCOMPLETE, b"HTTP/1.1 20"),
    ending("in a field", INCOMPLETE, b"HTTP/1.1 200 OK\r\nContent-Le"),
    ending("before the empty line", INCOMPLETE, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
    ending("in a body with a length", INCOMPLETE, answer(b"Content-Length: 50"), CUT),
    ending("in a body with a length, by a reset", INCOMPLETE, answer(b"Content-Length: 50"), CUT, then="reset"),
    ending("before the first octet of the body", INCOMPLETE, answer(b"Content-Length: 50", body=b""), CUT),
    ending("in a body until close, by a reset", INCOMPLETE, answer(), CUT, then="reset"),
    response(
        "before the request is complete, 413",
        ENDS,
        "RFC 9112 section 9.3, RFC 9110 section 10.1.1",
        answer(b"Content-Length: 5", status=b"HTTP/1.1 413 Too much\r\n"),
        Relayed(413, body=b"hello"),
        (BAD,),
        early=True,
        request=post(b"Content-Length: 100000", target=b"http://$HOST/first", body=b"x" * 10),
    ),
    response(
        "before the request is complete, 200",
        ENDS,
        "RFC 9112 section 9.3",
        FIVE,
        WHOLE,
        (BAD,),
        early=True,
        request=post(b"Content-Length: 100000", target=b"http://$HOST/first", body=b"x" * 10),
    ),
    response(
        "before the request is complete, 401 and close",
        ENDS,
        "RFC 9112 section 9.6",
        answer(b"Content-Length: 5", b"Connection: close", status=b"HTTP/1.1 401 No\r\n"),
        Relayed(401, body=b"hello"),
        (BAD,),
        then="close",
        early=True,
        request=post(b"Transfer-Encoding: chunked", target=b"http://$HOST/first", body=b"5\r\nhello\r\n"),
    ),
]


def unasked(name, clause, octets, expect=WHOLE, also=(), then="keep", **more):
    return response(name, UNASKED, clause, octets, expect, also, then=then, **({"spent": True} | more))


STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Answer: stolen\r\n\r\nstolen"
PERSISTENCE = "RFC 9112 section 9.2"
UNASKED_CASES = [
    unasked("an octet behind the body", PERSISTENCE, FIVE + b"X"),
    unasked("CR LF behind the body", PERSISTENCE, FIVE + b"\r\n"),
    unasked("a response behind the body", PERSISTENCE, FIVE + STOLEN),
    unasked(
        "a response behind the last chunk", PERSISTENCE, answer(b"Transfer-Encoding: chunked", body=HELLO) + STOLEN
    ),
    unasked(
        "a response behind 204",
        f"{PERSISTENCE}, RFC 9110 section 15.3.5",
        b"HTTP/1.1 204 No\r\n\r\n" + STOLEN,
        Relayed(204),
    ),
    unasked(
        "a response behind 304",
        f"{PERSISTENCE}, RFC 9110 section 15.4.5",
        b"HTTP/1.1 304 No\r\nContent-Length: 70\r\n\r\n" + STOLEN,
        Relayed(304),
    ),
    unasked(
        "a response as the body of an answer to HEAD",
        f"{PERSISTENCE}, RFC 9110 section 9.3.2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n" + STOLEN,
        Relayed(),
        request=HEAD,
    ),
    unasked("a body to HEAD", "RFC 9110 section 9.3.2", FIVE, Relayed(), request=HEAD),
    unasked(
        "a response behind close", "RFC 9112 section 9.6", answer(b"Content-Length: 5", b"Connection: close") + STOLEN
    ),
    unasked(
        "nothing, but close was said, and the connection stays open",
        "RFC 9112 section 9.6",
        answer(b"Content-Length: 5", b"Connection: close"),
    ),
    unasked(
        "nothing, but HTTP/1.0, and the connection stays open",
        "RFC 9112 section 9.3",
        answer(b"Content-Length: 5", status=b"HTTP/1.0 200 OK\r\n"),
    ),
    unasked("half a response behind the body", PERSISTENCE, FIVE + STOLEN[:30]),
    unasked("a response, later", f"{PERSISTENCE}, RFC 9112 section 9.3.1", FIVE + b"~" + STOLEN, then="later"),
    unasked(
        "a 408, later",
        "RFC 9110 section 15.5.9",
        FIVE + b"~HTTP/1.1 408 Too slow\r\nContent-Length: 0\r\n\r\n",
        then="later",
    ),
    unasked("an octet, later", PERSISTENCE, FIVE + b"~X", then="later"),
    unasked("half a response, later", PERSISTENCE, FIVE + b"~" + STOLEN[:30], then="later"),
    unasked("a 100, later", PERSISTENCE, FIVE + b"~HTTP/1.1 100 Continue\r\n\r\n", then="later"),
    unasked(
        "a response behind close, later",
        "RFC 9112 section 9.6",
        answer(b"Content-Length: 5", b"Connection: close") + b"~" + STOLEN,
        then="later",
    ),
    unasked(
        "a response of HTTP/1.0 that stays open, another later",
        "RFC 9112 section 9.3",
        answer(b"Content-Length: 5", status=b"HTTP/1.0 200 OK\r\n") + b"~" + STOLEN,
        then="later",
    ),
    unasked(
        "a request behind a chunked response, on the same connection",
        "RFC 9112 section 3.2.2, RFC 9110 section 7.6.1",
        answer(b"Transfer-Encoding: chunked", body=HELLO),
        rewritten=True,
        spent=False,
    ),
    unasked("the end, behind the body", PERSISTENCE, FIVE, then="close"),
    unasked("a reset, behind the body", PERSISTENCE, FIVE, then="reset", also=(CUT,)),
]


def passed(name, clause, field, expect, also=()):
    return response(name, FIELDS, clause, answer(b"Content-Length: 5", *field), expect, also)


def whole(**more):
    return Relayed(body=b"hello", **more)


CONNECTION = "RFC 9110 section 7.6.1"
FIELD_CASES = [
    passed("a field named in Connection", CONNECTION, (b"Connection: X-Mine", b"X-Mine: a"), whole(lacks=("X-Mine",))),
    passed(
        "Keep-Alive",
        "RFC 9112 appendix C.2.2",
        (b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
        whole(lacks=("Keep-Alive",)),
    ),
    passed("Upgrade", "RFC 9110 section 7.8", (b"Connection: Upgrade", b"Upgrade: h2c"), whole(lacks=("Upgrade",))),
    passed(
        "Proxy-Authenticate",
        "RFC 9110 section 11.7.1",
        (b'Proxy-Authenticate: Basic realm="x"',),
        whole(lacks=("Proxy-Authenticate",)),
    ),
    passed(
        "Proxy-Connection", "RFC 9112 appendix C.2.2", (b"Proxy-Connection: close",), whole(lacks=("Proxy-Connection",))
    ),
    passed(
        "Proxy-Status, which is for the client",
        "RFC 9209 section 2",
        (b"Proxy-Status: other; error=dns_error",),
        whole(has={"Proxy-Status": "other; error=dns_error"}),
    ),
    passed(
        "Set-Cookie named in Connection",
        f'{CONNECTION} ("hop-by-hop header abuse")',
        (b"Connection: Set-Cookie", b"Set-Cookie: a=b"),
        whole(has={"Set-Cookie": "a=b"}),
        (whole(),),
    ),
    passed(
        "Content-Length named in Connection",
        f'{CONNECTION} ("hop-by-hop header abuse")',
        (b"Connection: Content-Length",),
        whole(),
    ),
    passed(
        "Trailer without trailers", "RFC 9110 section 6.6.2", (b"Trailer: X",), whole(lacks=("Trailer",)), (whole(),)
    ),
    passed("Via", "RFC 9110 section 7.6.3", (b"Via: 1.1 fred",), whole(has={"Via": "1.1 fred, $VIA"})),
]

CASES = FRAMING_CASES + HEAD_CASES + CHUNK_CASES + INTERIM_CASES + END_CASES + UNASKED_CASES + FIELD_CASES
