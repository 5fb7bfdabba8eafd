"""
The chunked coding of request bodies (RFC 9112 section 7.1): sizes, extensions, the ends of lines, trailers. The head is
good and may have gone on when the fault is seen; what the origin has then must never look like a whole request.
"""

from support.raw_cases.framing import posted
from support.raw_cases.model import SMUGGLED, Case, Refused, post

SIZES, EXTENSIONS, ENDS, TRAILERS = "chunk sizes", "chunk extensions", "ends of chunks", "trailers"
CHUNKED = b"Transfer-Encoding: chunked"
MALFORMED = Refused(400, in_body=True)


def chunks(name, group, clause, body, expect=MALFORMED, also=(), *lines):
    return Case(name, group, clause, post(CHUNKED, *lines, body=body + SMUGGLED), expect, also)


CHUNK = "RFC 9112 section 7.1"


def size(name, clause, text, expect=MALFORMED, also=()):
    """`text` where the size of a chunk of five octets is due."""
    return chunks(name, SIZES, clause, text + b"\r\nhello\r\n0\r\n\r\n", expect, also)


SIZE_CASES = [
    size("5", CHUNK, b"5", posted()),
    size("with leading zeros", CHUNK, b"0005", posted(), (MALFORMED,)),
    chunks(
        "letters in both cases",
        SIZES,
        CHUNK,
        b"A\r\n0123456789\r\nb\r\n0123456789+\r\n0\r\n\r\n",
        posted(b"01234567890123456789+"),
    ),
    size("plus sign", f"{CHUNK}, CVE-2022-24801 (Twisted), CVE-2022-24761 (waitress)", b"+5"),
    size("minus sign", CHUNK, b"-5"),
    size("minus zero", CHUNK, b"-0"),
    size("0x", f"{CHUNK}, CVE-2022-24801 (Twisted), CVE-2022-24761 (waitress)", b"0x5"),
    size("0X", CHUNK, b"0X5"),
    size("empty", CHUNK, b""),
    size("only spaces", CHUNK, b"  "),
    size("space before it", f"{CHUNK}, CVE-2023-46846 (Squid)", b" 5"),
    size("tab before it", CHUNK, b"\t5"),
    size("space behind it", f"{CHUNK}, CVE-2023-46846 (Squid)", b"5 ", also=(posted(),)),
    size("tab behind it", CHUNK, b"5\t", also=(posted(),)),
    size("vertical tab behind it", CHUNK, b"5\x0b"),
    size("NUL behind it", CHUNK, b"5\0"),
    size("letters behind it", CHUNK, b"5g"),
    size("a decimal point", CHUNK, b"5.0"),
    size("underscore inside", CHUNK, b"0_5"),
    size("h behind it", CHUNK, b"5h"),
    size("a list", CHUNK, b"5,5"),
    size("2^64 and 5", f"{CHUNK}, CVE-2013-2028 (nginx), CVE-2021-32714 (hyper)", b"10000000000000005"),
    size("2^63", f"{CHUNK}, CVE-2014-0075 (Tomcat)", b"8000000000000000"),
    size("17 digits", f"{CHUNK}, CVE-2017-7657 (Jetty)", b"f0000000000000005"),
    # Good grammar, but a line like that has a limit.
    size("a thousand zeros before it", f"{CHUNK}, CVE-2015-3183 (Apache httpd)", b"0" * 1000 + b"5", also=(posted(),)),
]

EXTENSION = "RFC 9112 section 7.1.1"


def extension(name, clause, text, expect=MALFORMED, also=()):
    return chunks(name, EXTENSIONS, clause, b"5" + text + b"\r\nhello\r\n0\r\n\r\n", expect, also)


# RFC 9112 section 7.1.1 has bad whitespace around ";" and "=", which a recipient may read over.
LENIENT = (posted(),)
EXTENSION_CASES = [
    extension("a name", EXTENSION, b";a", posted()),
    extension("name and value", EXTENSION, b";a=b;c=d", posted()),
    extension("a quoted value", EXTENSION, b';a="b\\"; c"', posted()),
    extension("no name", EXTENSION, b";", also=LENIENT),
    extension("no name, but a value", EXTENSION, b";=b"),
    extension("spaces around ;", EXTENSION, b" ; a=b", also=LENIENT),
    extension("a space behind =", EXTENSION, b";a= b", also=LENIENT),
    extension("a bare LF in it", f"{CHUNK}, CVE-2025-58056 (Netty), CVE-2021-22960 (llhttp)", b";a\nb"),
    extension("a bare CR in it", EXTENSION, b";a\rb"),
    extension("NUL in it", EXTENSION, b";a\0b"),
    extension("a control octet in quotes", EXTENSION, b';a="\x01"'),
    extension("CRLF in quotes", EXTENSION, b';a="\r\nhello\r\n0\r\n\r\n"'),
    extension("quotes that do not end", EXTENSION, b';a="b'),
    extension("10,000 octets", f"{EXTENSION}, CVE-2024-22019 (Node.js)", b";" + b"a" * 10000, also=LENIENT),
    extension(
        "without end", f"{EXTENSION}, CVE-2024-22019 (Node.js), CVE-2023-39326 (Go)", b";" + b"a" * 300000, also=LENIENT
    ),
]


def end(name, clause, body, expect=MALFORMED, also=()):
    return chunks(name, ENDS, clause, body, expect, also)


END_CASES = [
    end("bare LF behind the size", f"{CHUNK}, CVE-2025-22871 (Go), CVE-2023-46846 (Squid)", b"5\nhello\r\n0\r\n\r\n"),
    end("bare LF behind the last size", f"{CHUNK}, CVE-2025-22871 (Go)", b"5\r\nhello\r\n0\n\r\n"),
    end("bare CR behind the size", f"{CHUNK}, CVE-2024-53868 (Traffic Server)", b"5\rhello\r\n0\r\n\r\n"),
    end("CR CR LF behind the size", CHUNK, b"5\r\r\nhello\r\n0\r\n\r\n"),
    end("bare LF behind the data", f"{CHUNK}, CVE-2022-24801 (Twisted)", b"5\r\nhello\n0\r\n\r\n"),
    end("bare CR behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhello\r0\r\n\r\n"),
    end("CR and another octet behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhello\rX0\r\n\r\n"),
    end("another octet and LF behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhelloX\n0\r\n\r\n"),
    end("nothing behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhello0\r\n\r\n"),
    end("two other octets behind the data", f"{CHUNK}, CVE-2025-43859 (h11)", b"5\r\nhelloXX0\r\n\r\n"),
    end("data longer than its size", CHUNK, b"5\r\nhello!\r\n0\r\n\r\n"),
    end("data shorter than its size", CHUNK, b"6\r\nhello\r\n0\r\n\r\n"),
    end("an empty line between chunks", CHUNK, b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    end("an empty line before the first", CHUNK, b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    end(
        "bare LF at the end of the trailers",
        f"{CHUNK}, RFC 9112 section 2.2",
        b"5\r\nhello\r\n0\r\n\n",
        also=(posted(),),
    ),
    end("bare CR at the end of the trailers", CHUNK, b"5\r\nhello\r\n0\r\n\rX"),
    end("no chunk at all", f"{CHUNK}, CVE-2022-22720 (Apache httpd)", b"G"),
]

TRAILER = "RFC 9112 section 7.1.2"
FORBIDDEN = "RFC 9110 section 6.5.1"


def trailer(name, clause, *lines, expect=MALFORMED, also=()):
    body = b"5\r\nhello\r\n0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return chunks(name, TRAILERS, clause, body, expect, also)


def dropped(name, line, clause=FORBIDDEN):
    """A field that no sender may put there: certferry drops it. To pass it on where it stood is not forbidden."""
    field = line.split(b":")[0].decode()
    kept = posted(has={"X-Kept": "1"}, untrailed=(field,))
    return trailer(name, clause, line, b"X-Kept: 1", expect=kept, also=(posted(), MALFORMED))


TRAILER_CASES = [
    trailer(
        "one that is harmless", TRAILER, b"X-Checksum: abc", expect=posted(has={"X-Checksum": "abc"}), also=(posted(),)
    ),
    dropped("Content-Length", b"Content-Length: 500"),
    dropped("Transfer-Encoding", b"Transfer-Encoding: chunked"),
    dropped("Trailer", b"Trailer: X-More"),
    dropped("Connection", b"Connection: close"),
    dropped("Authorization", b"Authorization: Basic YWRtaW46YWRtaW4="),
    dropped("Cookie", b"Cookie: admin=1"),
    dropped("X-Forwarded-For", b"X-Forwarded-For: 127.0.0.1"),
    dropped("Expect", b"Expect: 100-continue"),
    dropped("Content-Type", b"Content-Type: text/html"),
    dropped("Cache-Control", b"Cache-Control: no-cache"),
    dropped("Proxy-Authorization", b"Proxy-Authorization: Basic eDp5", "RFC 9110 sections 6.5.1 and 11.7.1"),
    # If it came through, its value would stand beside that of the head.
    trailer(
        "Host",
        FORBIDDEN,
        b"Host: evil.test",
        b"X-Kept: 1",
        expect=posted(has={"X-Kept": "1", "Host": "$HOST"}),
        also=(posted(), MALFORMED),
    ),
    trailer(
        "space before the colon",
        "RFC 9112 section 5.1, CVE-2023-45648 (Tomcat)",
        b"X-Checksum : abc",
        also=(posted(lacks=("X-Checksum",)),),
    ),
    trailer(
        "folded",
        "RFC 9112 section 5.2, CVE-2023-45648 (Tomcat)",
        b"X-Checksum: a",
        b" b",
        also=(posted(), posted(has={"X-Checksum": "a b"})),
    ),
    trailer("no colon", "RFC 9112 section 5, CVE-2024-35161 (Traffic Server)", b"X-Checksum", also=(posted(),)),
    trailer("no name", "RFC 9110 section 5.1", b": abc", also=(posted(),)),
    trailer(
        "bare LF behind it",
        "RFC 9112 section 2.2",
        b"X-Checksum: a\nX-More: b",
        also=(posted(), posted(has={"X-Checksum": "a"})),
    ),
    trailer("bare CR in it", "RFC 9112 section 2.2", b"X-Checksum: a\rX-More: b", also=(posted(lacks=("X-More",)),)),
    trailer("NUL in it", "RFC 9110 section 5.5", b"X-Checksum: a\0b", also=(posted(lacks=("X-Checksum",)),)),
    trailer("a request as a trailer", TRAILER, b"GET http://$HOST/smuggled HTTP/1.1", also=(posted(),)),
    trailer(
        "100,000 octets of them", f"{TRAILER}, CVE-2023-46589 (Tomcat)", *[b"X: " + b"a" * 1000] * 100, also=(posted(),)
    ),
    trailer("one without end", TRAILER, b"X: " + b"a" * 300000, also=(posted(),)),
]

CASES = SIZE_CASES + EXTENSION_CASES + END_CASES + TRAILER_CASES
