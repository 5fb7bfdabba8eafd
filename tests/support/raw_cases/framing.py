"""
Where the body of a request ends, as its head says it: Content-Length, Transfer-Encoding and both (RFC 9112 section 6).
Behind most bodies stands a whole request: who ends the body elsewhere takes it for the next one, or for content.
"""

from support.raw_cases.model import NEXT, SMUGGLED, Case, Forwarded, Refused, Sent, get, post

LENGTH, CODING, BOTH = "Content-Length", "Transfer-Encoding", "both lengths"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"  # "hello" in chunks


def posted(body=b"hello", closes=None, **sent):
    """A POST with this body, and what stood behind it as a request of its own."""
    requests = (Sent("POST", body=body, **sent),)
    return Forwarded(requests if closes else (*requests, NEXT), closes)


ALONE = posted(closes=True)


def length(name, clause, *lines, body=b"hello", expect=Refused(400), also=()):
    return Case(name, LENGTH, clause, post(*lines, body=body + SMUGGLED), expect, also)


def coding(name, clause, *lines, body=HELLO, expect=Refused(400), also=(), group=CODING, version=b"1.1"):
    return Case(name, group, clause, post(*lines, body=body + SMUGGLED, version=version), expect, also)


SEMANTICS = "RFC 9110 section 8.6"
FRAMING = "RFC 9112 section 6.3"
# RFC 9110 section 8.6: a repeated field or a list of one valid number may be refused or made one; empty elements of
# lists do not count (section 5.6.1).
ONE_NUMBER = (posted(), ALONE)

CONTENT_LENGTH = [
    length("one plain number", SEMANTICS, b"Content-Length: 5", expect=posted(has={"Content-Length": "5"})),
    length("zero", SEMANTICS, b"Content-Length: 0", body=b"", expect=posted(b"", has={"Content-Length": "0"})),
    length(
        "leading zeros",
        SEMANTICS,
        b"Content-Length: 0005",
        expect=posted(has={"Content-Length": "5"}),
        also=(posted(), Refused()),
    ),
    length(
        "whitespace around it", "RFC 9112 section 5.1", b"Content-Length: \t 5 \t", expect=posted(), also=(Refused(),)
    ),
    length(
        "repeated, the same", f"{SEMANTICS}, {FRAMING}", b"Content-Length: 5", b"Content-Length: 5", also=ONE_NUMBER
    ),
    length(
        "repeated, the first smaller",
        f"{FRAMING}, CVE-2017-7658 (Jetty), CVE-2019-16792 (waitress)",
        b"Content-Length: 5",
        b"Content-Length: 60",
    ),
    length(
        "repeated, the first greater", f"{FRAMING}, CVE-2015-5740 (Go)", b"Content-Length: 60", b"Content-Length: 5"
    ),
    length("repeated with other fields between", FRAMING, b"Content-Length: 5", b"X-Between: a", b"content-length: 6"),
    length(
        "repeated, one of them empty",
        f"{FRAMING}, CVE-2023-40225 (HAProxy)",
        b"Content-Length: 5",
        b"Content-Length:",
        also=ONE_NUMBER,
    ),
    length("a list of equal numbers", f"{SEMANTICS}, {FRAMING}", b"Content-Length: 5, 5", also=ONE_NUMBER),
    length("a list of different numbers", FRAMING, b"Content-Length: 5, 60"),
    length("a list with an empty element", FRAMING, b"Content-Length: 5,", also=ONE_NUMBER),
    length("a list of nothing", FRAMING, b"Content-Length: ,"),
    length("empty", f"{SEMANTICS}, CVE-2023-40225 (HAProxy)", b"Content-Length:"),
    length("only spaces", SEMANTICS, b"Content-Length:   "),
    length(
        "plus sign",
        f"{SEMANTICS}, CVE-2020-15049 (Squid), CVE-2021-32715 (hyper), CVE-2023-40167 (Jetty)",
        b"Content-Length: +5",
    ),
    length("minus sign", f"{SEMANTICS}, CVE-2020-15049 (Squid)", b"Content-Length: -5"),
    length("minus zero", SEMANTICS, b"Content-Length: -0", body=b""),
    length("space inside", f"{SEMANTICS}, CVE-2018-7159 (Node.js)", b"Content-Length: 5 0"),
    length("tab inside", SEMANTICS, b"Content-Length: 5\t0"),
    length("vertical tab before it", f"{SEMANTICS}, CVE-2020-15049 (Squid)", b"Content-Length: \x0b5"),
    length("form feed behind it", SEMANTICS, b"Content-Length: 5\x0c"),
    length("no-break space before it", SEMANTICS, b"Content-Length: \xa05"),
    length("fullwidth digit", SEMANTICS, b"Content-Length: \xef\xbc\x95"),
    length("hexadecimal", f"{SEMANTICS}, CVE-2023-38697 (protocol-http1)", b"Content-Length: 0x5"),
    length("hexadecimal digits", SEMANTICS, b"Content-Length: a"),
    length("a fraction", SEMANTICS, b"Content-Length: 5.0"),
    length("an exponent", SEMANTICS, b"Content-Length: 5e0"),
    length("underscore between digits", SEMANTICS, b"Content-Length: 0_5"),
    length("in quotes", SEMANTICS, b'Content-Length: "5"'),
    length("with a unit", SEMANTICS, b"Content-Length: 5 bytes"),
    length("with a parameter", SEMANTICS, b"Content-Length: 5;q=1"),
    length("2^63", f"{SEMANTICS}, CVE-2014-0099 (Tomcat)", b"Content-Length: 9223372036854775808"),
    length("2^64 and 5", f"{SEMANTICS}, CVE-2014-0099 (Tomcat)", b"Content-Length: 18446744073709551621"),
    length("2^32 and 5 as a list", SEMANTICS, b"Content-Length: 4294967301, 5"),
    length("a hundred digits", SEMANTICS, b"Content-Length: " + b"9" * 100),
    Case(
        "in a GET, with content",
        LENGTH,
        "RFC 9110 section 9.3.1",
        get(b"Content-Length: 5", body=b"hello" + SMUGGLED),
        Forwarded((Sent(body=b"hello"), NEXT)),
        (Refused((400, 413)),),
    ),
    length("NUL behind it", "RFC 9110 section 5.5", b"Content-Length: 5\0"),
    length(
        "its name with an underscore",
        "RFC 9110 section 5.1",
        b"Content-Length: 5",
        b"Content_Length: 60",
        expect=posted(),
        also=(Refused(),),
    ),
    length(
        "its name with a space before the colon",
        "RFC 9112 section 5.1, CVE-2019-18678 (Squid)",
        b"Content-Length: 5",
        b"Content-Length : 60",
    ),
    length(
        "its name with a space before it",
        "RFC 9112 section 2.2, CVE-2024-27982 (Node.js), CVE-2020-15810 (Squid)",
        b" Content-Length: 60",
        b"Content-Length: 5",
        also=(posted(), ALONE),
    ),
    length(
        "its name cut by NUL",
        "RFC 9110 section 5.1, CVE-2024-52530 (libsoup)",
        b"Content-Length: 5",
        b"Content-Length\0: 60",
    ),
    length(
        "its name with 250 octets more",
        "RFC 9110 section 5.1, CVE-2021-40346 (HAProxy)",
        b"Content-Length: 5",
        b"Content-Length0" + b"a" * 255 + b":",
        expect=posted(),
        also=(Refused((400, 431)),),
    ),
]
CODINGS = "RFC 9112 section 6.1"
REFUSED = Refused((400, 501))
TRANSFER_ENCODING = [
    coding(
        "chunked", CODINGS, b"Transfer-Encoding: chunked", expect=posted(lacks=("Content-Length",)), also=(posted(),)
    ),
    coding("chunked in capitals", "RFC 9112 section 7", b"TRANSFER-ENCODING: CHUNKED", expect=posted()),
    coding(
        "repeated, chunked both times",
        f"{CODINGS}, CVE-2020-8287 (Node.js)",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked",
    ),
    coding(
        "repeated, the second another",
        f"{CODINGS}, CVE-2020-8287 (Node.js)",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: eee",
    ),
    coding(
        "repeated, the first identity",
        f"{CODINGS}, CVE-2022-1705 (Go), CVE-2021-33037 (Tomcat)",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked",
    ),
    coding("chunked twice in a list", CODINGS, b"Transfer-Encoding: chunked, chunked"),
    coding("chunked not last", f"{FRAMING}, CVE-2021-33037 (Tomcat)", b"Transfer-Encoding: chunked, gzip"),
    coding("gzip, then chunked", CODINGS, b"Transfer-Encoding: gzip, chunked", expect=REFUSED),
    coding("only gzip", FRAMING, b"Transfer-Encoding: gzip", expect=REFUSED),
    coding("identity", f"{CODINGS}, CVE-2021-33037 (Tomcat)", b"Transfer-Encoding: identity", body=b"", expect=REFUSED),
    coding("identity, chunked", f"{CODINGS}, CVE-2020-15811 (Squid)", b"Transfer-Encoding: identity, chunked"),
    coding("empty", CODINGS, b"Transfer-Encoding:"),
    coding(
        "a list with an empty element",
        f"{CODINGS}, CVE-2022-32213 (Node.js)",
        b"Transfer-Encoding: , chunked",
        also=(posted(), ALONE),
    ),
    coding("chunked with a comma behind it", CODINGS, b"Transfer-Encoding: chunked,", also=(posted(), ALONE)),
    coding(
        "vertical tab before it", "RFC 9110 section 5.5, CVE-2019-18277 (HAProxy)", b"Transfer-Encoding: \x0bchunked"
    ),
    coding("form feed behind it", "RFC 9110 section 5.5", b"Transfer-Encoding: chunked\x0c"),
    coding("NUL before it", "RFC 9110 section 5.5", b"Transfer-Encoding: \0chunked"),
    coding("no-break space before it", CODINGS, b"Transfer-Encoding: \xa0chunked"),
    coding("xchunked", f"{CODINGS}, CVE-2022-32213 (Node.js)", b"Transfer-Encoding: xchunked", expect=REFUSED),
    coding("chunkedx", f"{CODINGS}, CVE-2022-1705 (Go)", b"Transfer-Encoding: chunkedx", expect=REFUSED),
    coding("chunk", f"{CODINGS}, CVE-2024-1135 (gunicorn)", b"Transfer-Encoding: chunk", expect=REFUSED),
    coding("in quotes", CODINGS, b'Transfer-Encoding: "chunked"', expect=REFUSED),
    coding("in single quotes", CODINGS, b"Transfer-Encoding: 'chunked'", expect=REFUSED),
    coding("with a parameter", "RFC 9112 section 7", b"Transfer-Encoding: chunked;q=1", expect=REFUSED),
    coding(
        "two words", f"{CODINGS}, CVE-2019-16786 (waitress)", b"Transfer-Encoding: chunked identity", expect=REFUSED
    ),
    coding(
        "folded",
        "RFC 9112 section 5.2, CVE-2022-32215 (Node.js)",
        b"Transfer-Encoding:\r\n chunked",
        also=(posted(), ALONE),
    ),
    coding(
        "folded in the middle of its list",
        "RFC 9112 section 5.2, CVE-2022-32215 (Node.js)",
        b"Transfer-Encoding: chunked\r\n , identity",
    ),
    coding(
        "space before the colon",
        "RFC 9112 section 5.1, CVE-2019-16869 (Netty), CVE-2021-22959 (llhttp)",
        b"Transfer-Encoding : chunked",
        b"Content-Length: 5",
    ),
    coding(
        "tab before the colon",
        "RFC 9112 section 5.1, CVE-2019-16276 (Go)",
        b"Transfer-Encoding\t: chunked",
        b"Content-Length: 5",
    ),
    coding(
        "a space before its name",
        "RFC 9112 section 2.2, CVE-2020-7238 (Netty)",
        b" Transfer-Encoding: chunked",
        b"Content-Length: 5",
        body=b"hello",
        also=(posted(), ALONE),
    ),
    coding(
        "its name with an underscore",
        "RFC 9110 section 5.1",
        b"Transfer_Encoding: chunked",
        b"Content-Length: 5",
        body=b"hello",
        expect=posted(),
        also=(Refused(),),
    ),
    coding(
        "behind a bare CR in another field",
        "RFC 9112 section 2.2, CVE-2023-30589 (llhttp)",
        b"X: a\rTransfer-Encoding: chunked",
        b"Content-Length: 5",
        body=b"hello",
        also=(posted(has={"X": "a Transfer-Encoding: chunked"}),),
    ),
    coding(
        "behind a bare LF in another field",
        "RFC 9112 section 2.2, CVE-2022-32214 (llhttp)",
        b"X: a\nTransfer-Encoding: chunked",
        also=(posted(has={"X": "a"}), ALONE),
    ),
    coding(
        "without a colon",
        "RFC 9112 section 5, CVE-2019-20444 (Netty)",
        b"Transfer-Encoding",
        b"Content-Length: 5",
        body=b"hello",
    ),
    coding("in HTTP/1.0", CODINGS, b"Transfer-Encoding: chunked", version=b"1.0", also=(ALONE,)),
    coding(
        "in HTTP/1.0 that says keep-alive",
        f"{CODINGS}, CVE-2021-33037 (Tomcat)",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        version=b"1.0",
        also=(ALONE,),
    ),
    Case(
        "in a TRACE",
        CODING,
        "RFC 9110 section 9.3.8",
        get(b"Transfer-Encoding: chunked", method=b"TRACE", body=HELLO + SMUGGLED),
        Refused(400),
    ),
]


def both(name, clause, *lines, also=(), **more):
    return coding(name, clause, *lines, group=BOTH, also=also, **more)


# RFC 9112 section 6.3: the coding overrides the length, which is not forwarded; behind the answer the connection ends.
OVERRIDDEN = (posted(closes=True, lacks=("Content-Length",)),)
BOTH_LENGTHS = [
    both(
        "a length, then chunked",
        f"{FRAMING}, CVE-2005-2088 (Apache httpd)",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        also=OVERRIDDEN,
    ),
    both(
        "chunked, then a length",
        f"{FRAMING}, CVE-2019-20445 (Netty)",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        also=OVERRIDDEN,
    ),
    both(
        "a length of zero, then chunked", FRAMING, b"Content-Length: 0", b"Transfer-Encoding: chunked", also=OVERRIDDEN
    ),
    both(
        "a length that spans the next request",
        FRAMING,
        b"Transfer-Encoding: chunked",
        b"Content-Length: 90",
        body=b"0\r\n\r\n",
        also=(posted(b"", closes=True, lacks=("Content-Length",)),),
    ),
    both(
        "a length that is none, and chunked",
        FRAMING,
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
        also=OVERRIDDEN,
    ),
    both(
        "chunked in HTTP/1.0 and a length",
        "RFC 9112 section 6.1",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        body=b"hello",
        version=b"1.0",
    ),
    both(
        "an unknown coding and a length",
        f"{FRAMING}, CVE-2022-32213 (Node.js)",
        b"Transfer-Encoding: xchunked",
        b"Content-Length: 5",
        body=b"hello",
        expect=REFUSED,
    ),
    both(
        "identity and a length",
        f"{FRAMING}, CVE-2020-15811 (Squid)",
        b"Transfer-Encoding: identity",
        b"Content-Length: 5",
        body=b"hello",
        expect=REFUSED,
    ),
    both("an empty coding and a length", FRAMING, b"Transfer-Encoding:", b"Content-Length: 5", body=b"hello"),
    both(
        "a length named in Connection, and chunked",
        "RFC 9110 section 7.6.1",
        b"Connection: Content-Length",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        also=OVERRIDDEN,
    ),
]

CASES = CONTENT_LENGTH + TRANSFER_ENCODING + BOTH_LENGTHS
