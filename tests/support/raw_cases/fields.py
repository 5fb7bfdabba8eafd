"""
The lines of a request head (RFC 9112 sections 2.2 and 5): how they end, what a name and a value may hold, folding; how
many and how long they may be; and the fields of which there may be only one.
"""

from support.raw_cases.model import NEXT, SMUGGLED, Case, Forwarded, Refused, Sent, get

LINES, NAMES, VALUES, SIZES, HOST = "ends of lines", "field names", "field values", "sizes of heads", "Host"
LINE = "RFC 9112 section 2.2"


def forwarded(closes=None, **sent):
    return Forwarded((Sent(**sent),), closes)


def raw(name, clause, octets, expect=Refused(400), also=(), group=LINES):
    return Case(name, group, clause, octets, expect, also)


START = b"GET http://$HOST/ HTTP/1.1"
LINE_CASES = [
    # RFC 9112 section 2.2: a recipient may take a single LF for the end of a line; certferry does not.
    raw("bare LF everywhere", f"{LINE}, CVE-2019-16785 (waitress)", START + b"\nHost: $HOST\n\n", also=(forwarded(),)),
    raw("bare LF behind the request line", LINE, START + b"\nHost: $HOST\r\n\r\n", also=(forwarded(),)),
    raw(
        "bare LF behind a field",
        f"{LINE}, CVE-2022-32214 (llhttp)",
        START + b"\r\nHost: $HOST\nX: a\r\n\r\n",
        also=(forwarded(has={"X": "a"}),),
    ),
    raw("bare LF at the end of the head", LINE, START + b"\r\nHost: $HOST\r\n\n", also=(forwarded(),)),
    raw("LF CR instead of CR LF", LINE, START + b"\n\rHost: $HOST\n\r\n\r"),
    raw("bare CR behind the request line", f"{LINE}, CVE-2023-30589 (llhttp)", START + b"\rHost: $HOST\r\n\r\n"),
    raw("bare CR between fields", f"{LINE}, CVE-2022-35256 (llhttp)", START + b"\r\nHost: $HOST\rX: a\r\n\r\n"),
    raw("bare CR in a value", LINE, START + b"\r\nHost: $HOST\r\nX: a\rb\r\n\r\n", also=(forwarded(has={"X": "a b"}),)),
    raw(
        "bare CR at the end of the head",
        f"{LINE}, CVE-2025-23167 (llhttp)",
        START + b"\r\nHost: $HOST\r\n\rX" + SMUGGLED,
    ),
    raw(
        "CR CR LF behind a field", LINE, START + b"\r\nHost: $HOST\r\nX: a\r\r\n\r\n", also=(forwarded(has={"X": "a"}),)
    ),
    raw(
        "bare CR before CR LF at the end",
        f"{LINE}, CVE-2023-30589 (llhttp)",
        START + b"\r\nHost: $HOST\r\n\r\r\n" + SMUGGLED,
    ),
    raw("one empty line before the request", LINE, b"\r\n" + get(), forwarded(), (Refused(),)),
    # One is enough for the robustness that the RFC asks for.
    raw("two empty lines before the request", LINE, b"\r\n\r\n" + get(), Refused(400), (forwarded(),)),
    raw("a bare LF before the request", LINE, b"\n" + get(), Refused(400), (forwarded(),)),
    raw("spaces before the request", "RFC 9112 section 3", b"  " + get(), Refused(400)),
    raw("a NUL before the request", "RFC 9112 section 3", b"\0" + get(), Refused(400)),
    raw("vertical tab as the end of a line", LINE, START + b"\x0bHost: $HOST\r\n\r\n"),
    raw(
        "U+2028 as the end of a line",
        LINE,
        START + b"\r\nHost: $HOST\r\nX: a\xe2\x80\xa8Y: b\r\n\r\n",
        forwarded(lacks=("Y",)),
        (Refused(),),
    ),
    raw("no field at all", "RFC 9112 section 3.2", START + b"\r\n\r\n"),
    raw(
        "white space before the first field",
        f"{LINE}, CVE-2016-8743 (Apache httpd)",
        START + b"\r\n X: a\r\nHost: $HOST\r\n\r\n",
        also=(forwarded(lacks=("X",)),),
    ),
    raw("a space before Host as the first field", LINE, START + b"\r\n Host: $HOST\r\n\r\n"),
]


NAME = "RFC 9110 section 5.1"
# A line that is none may be left out; a space before the colon must be refused (RFC 9112 section 5.1).
LEFT_OUT = (Forwarded((Sent(), NEXT)),)


def named(name, clause, line, expect=Refused(400), also=LEFT_OUT):
    return Case(name, NAMES, clause, get(line, body=SMUGGLED), expect, also)


NAME_CASES = [
    named("no name", f"{NAME}, CVE-2023-25725 (HAProxy)", b": value"),
    named("no name, but a space", f"{NAME}, CVE-2023-25725 (HAProxy)", b" : value"),
    named("no colon", "RFC 9112 section 5, CVE-2019-20444 (Netty)", b"X-No-Colon"),
    named(
        "a space before the colon",
        "RFC 9112 section 5.1, CVE-2019-18678 (Squid), CVE-2019-16276 (Go)",
        b"X : a",
        also=(),
    ),
    named("a tab before the colon", "RFC 9112 section 5.1", b"X\t: a", also=()),
    named("a space inside", f"{NAME}, CVE-2015-5739 (Go)", b"Content Length: 5"),
    named("NUL inside", NAME, b"X\0Y: a"),
    named("a control octet inside", f"{NAME}, CVE-2021-43797 (Netty)", b"X\x01Y: a"),
    named("DEL inside", NAME, b"X\x7fY: a"),
    named("a delimiter inside", NAME, b"X(Y): a"),
    named("a quote inside", NAME, b'X"Y: a'),
    named("a slash inside", NAME, b"X/Y: a"),
    named("an @ inside", NAME, b"X@Y: a"),
    named("an octet over 127 inside", NAME, b"X\xe4Y: a"),
    named("UTF-8 inside", NAME, b"\xc5\xbfX: a"),
    named(
        "all that a token may hold",
        "RFC 9110 section 5.6.2",
        b"X!#$%&'*+-.^_`|~09: a",
        Forwarded((Sent(has={"X!#$%&'*+-.^_`|~09": "a"}), NEXT)),
        (Refused(),),
    ),
]


def valued(name, clause, line, expect=Refused(400), also=()):
    return Case(name, VALUES, clause, get(line, body=SMUGGLED), expect, also)


def value(text, **more):
    return Forwarded((Sent(has={"X": text}, **more), NEXT))


VALUE = "RFC 9110 section 5.5"
FOLD = "RFC 9112 section 5.2"
VALUE_CASES = [
    valued("empty", VALUE, b"X:", value("")),
    valued("white space around it", "RFC 9112 section 5.1", b"X: \t a b \t ", value("a b")),
    valued("octets over 127", VALUE, b"X: \xe4\xff", value("\xe4\xff")),
    valued("NUL in it", f"{VALUE}, CVE-2019-9900 (Envoy)", b"X: a\0b", also=(value("a b"),)),
    valued("NUL at its end", f"{VALUE}, CVE-2019-9900 (Envoy)", b"X: a\0", also=(value("a"),)),
    valued("a control octet in it", VALUE, b"X: a\x01b", also=(value("a b"),)),
    valued("escape in it", VALUE, b"X: \x1b[2J", also=(value("[2J"),)),
    valued("backspace in it", VALUE, b"X: a\x08b", also=(value("a b"),)),
    valued("DEL in it", VALUE, b"X: a\x7fb", also=(value("a b"),)),
    valued("vertical tab and form feed in it", VALUE, b"X: a\x0b\x0cb", also=(value("a  b"), value("a b"))),
    valued(
        "folded by a space", f"{FOLD}, CVE-2016-8743 (Apache httpd)", b"X: a\r\n b", also=(value("a b"), value("a  b"))
    ),
    valued("folded by a tab", FOLD, b"X: a\r\n\tb", also=(value("a b"), value("a  b"))),
    valued("folded into an empty line", FOLD, b"X: a\r\n \r\nY: b", also=(value("a"),)),
    valued(
        "a field hidden in a fold",
        f"{FOLD}, CVE-2024-27982 (Node.js)",
        b"X: a\r\n Content-Length: 5",
        also=(value("a Content-Length: 5", lacks=("Content-Length",)),),
    ),
    valued(
        "a request in a value, with %0d%0a",
        "RFC 9110 section 5.5, CVE-2023-25690 (Apache httpd)",
        b"X: a%0d%0a%0d%0aGET /smuggled HTTP/1.1",
        value("a%0d%0a%0d%0aGET /smuggled HTTP/1.1"),
    ),
]


def sized(name, clause, octets, expect, also=()):
    return Case(name, SIZES, clause, octets, expect, also)


LIMITS = "RFC 9110 section 5.4"
TOO_LARGE = Refused(431)
SIZE_CASES = [
    sized(
        "90 fields", LIMITS, get(*[b"X-%d: a" % n for n in range(90)]), forwarded(has={"X-89": "a"}), (Refused(431),)
    ),
    sized(
        "101 fields", LIMITS, get(*[b"X-%d: a" % n for n in range(101)]), TOO_LARGE, (forwarded(has={"X-100": "a"}),)
    ),
    sized(
        "2000 fields", LIMITS, get(*[b"X-%d: a" % n for n in range(2000)]), TOO_LARGE, (forwarded(has={"X-1999": "a"}),)
    ),
    sized("a name of 70,000 octets", LIMITS, get(b"X" * 70000 + b": a"), TOO_LARGE, (forwarded(),)),
    sized(
        "a value of 30,000 octets",
        LIMITS,
        get(b"X: " + b"a" * 30000),
        forwarded(has={"X": "a" * 30000}),
        (Refused(431),),
    ),
    sized("a value of 70,000 octets", LIMITS, get(b"X: " + b"a" * 70000), TOO_LARGE, (forwarded(),)),
    sized("a head without end", LIMITS, get()[:-2] + b"X: a\r\n" * 100000, TOO_LARGE),
    sized("a request line without end", "RFC 9112 section 3", b"GET http://$HOST/" + b"a" * 200000, Refused(414)),
    sized(
        "a method of 100,000 octets",
        "RFC 9112 section 3",
        b"G" * 100000 + b" http://$HOST/ HTTP/1.1\r\n\r\n",
        Refused(414),
    ),
    sized(
        "a path of 20,000 octets",
        "RFC 9112 section 3",
        get(target=b"http://$HOST/" + b"a" * 20000),
        forwarded(target="/" + "a" * 20000),
        (Refused(414),),
    ),
    sized(
        "65 options in Connection",
        "RFC 9110 section 7.6.1",
        get(b"Connection: " + b", ".join([b"a"] * 65)),
        Refused(400),
        (forwarded(lacks=("a",)),),
    ),
]


def hosted(name, clause, *lines, expect=Refused(400), also=(), version=b"1.1"):
    return Case(name, HOST, clause, get(*lines, host=None, version=version), expect, also)


HOST_CLAUSE = "RFC 9112 section 3.2"
WINS = "RFC 9112 section 3.2.2"
# That section has a proxy ignore Host where the target is absolute; section 3.2 has a server refuse a bad one.
IGNORED = (forwarded(),)
HOST_CASES = [
    hosted("missing", HOST_CLAUSE),
    hosted("missing in HTTP/1.0", HOST_CLAUSE, expect=forwarded(), version=b"1.0"),
    hosted("twice, the same", HOST_CLAUSE, b"Host: $HOST", b"Host: $HOST"),
    hosted("twice, different", HOST_CLAUSE, b"Host: $HOST", b"Host: evil.test"),
    hosted("a list", HOST_CLAUSE, b"Host: $HOST, evil.test"),
    hosted("empty", WINS, b"Host:", expect=forwarded(), also=(Refused(),)),
    hosted("another host", f"{WINS}, CVE-2009-0801 (Squid)", b"Host: evil.test", expect=forwarded(), also=(Refused(),)),
    hosted("another port", WINS, b"Host: ca.enroll.test:1", expect=forwarded(), also=(Refused(),)),
    hosted("in other letters", WINS, b"hOsT: CA.Enroll.TEST:$PORT", expect=forwarded()),
    hosted("userinfo", HOST_CLAUSE, b"Host: evil.test@ca.enroll.test", also=IGNORED),
    hosted("a path", HOST_CLAUSE, b"Host: ca.enroll.test/x", also=IGNORED),
    hosted("a space", HOST_CLAUSE, b"Host: ca.enroll.test evil.test"),
    hosted("percent-encoding", HOST_CLAUSE, b"Host: ca%2eenroll.test", also=IGNORED),
    hosted("a port that is none", HOST_CLAUSE, b"Host: ca.enroll.test:80x", also=IGNORED),
    hosted("a bracket that does not end", HOST_CLAUSE, b"Host: [::1", also=IGNORED),
    hosted("UTF-8", HOST_CLAUSE, b"Host: b\xc3\xbccher.enroll.test", also=IGNORED),
    hosted(
        "a second one with a space before the colon",
        "RFC 9112 section 5.1, CVE-2019-16276 (Go)",
        b"Host: $HOST",
        b"Host : evil.test",
    ),
    hosted(
        "a second one folded into another field",
        FOLD,
        b"Host: $HOST",
        b"X: a\r\n Host: evil.test",
        also=(forwarded(has={"X": "a Host: evil.test"}),),
    ),
]
CASES = LINE_CASES + NAME_CASES + VALUE_CASES + SIZE_CASES + HOST_CASES
