"""
What belongs to one connection and stays there (RFC 9110 section 7.6.1), what passwords and switches are for the proxy
alone, Via and its loops, Max-Forwards, and several requests on one connection.
"""

from support.raw_cases.model import NEXT, SMUGGLED, Case, Forwarded, Harmless, Refused, Sent, get, post

OPTIONS, FIELDS, LOOPS, FORWARDS, PIPELINE = (
    "Connection",
    "hop-by-hop fields",
    "Via",
    "Max-Forwards",
    "pipelining and persistence",
)
CONNECTION = "RFC 9110 section 7.6.1"


def forwarded(closes=None, **sent):
    return Forwarded((Sent(**sent),), closes)


def case(name, group, clause, *lines, expect, also=(), **more):
    return Case(name, group, clause, get(*lines, **more), expect, also)


def option(name, clause, *lines, expect, also=()):
    return case(name, OPTIONS, clause, *lines, expect=expect, also=also)


def abused(field, line):
    """
    A sender must not name such a field (RFC 9110 section 7.6.1), and who does it wants the origin to miss it. certferry
    leaves it where it is; to take it away is to the letter.
    """
    value = line.split(b": ")[1].decode()
    clause = f'{CONNECTION} ("hop-by-hop header abuse")'
    return option(
        f"{field} named",
        clause,
        b"Connection: " + field.encode(),
        line,
        expect=forwarded(has={field: value}),
        also=(forwarded(), Refused()),
    )


OPTION_CASES = [
    option(
        "names a field",
        CONNECTION,
        b"Connection: X-Mine",
        b"X-Mine: a",
        b"X-Yours: b",
        expect=forwarded(lacks=("X-Mine",), has={"X-Yours": "b"}),
    ),
    option(
        "names a field behind it", CONNECTION, b"X-Mine: a", b"Connection: X-Mine", expect=forwarded(lacks=("X-Mine",))
    ),
    option(
        "names a field in other letters",
        CONNECTION,
        b"connection: x-MINE",
        b"X-Mine: a",
        expect=forwarded(lacks=("X-Mine",)),
    ),
    option(
        "names two fields in a list",
        CONNECTION,
        b"Connection: ,X-One ,\tX-Two,",
        b"X-One: a",
        b"X-Two: b",
        expect=forwarded(lacks=("X-One", "X-Two")),
    ),
    option(
        "twice, each names a field",
        CONNECTION,
        b"Connection: X-One",
        b"X-One: a",
        b"Connection: X-Two",
        b"X-Two: b",
        expect=forwarded(lacks=("X-One", "X-Two")),
    ),
    option(
        "names a field that comes twice",
        CONNECTION,
        b"Connection: X-Mine",
        b"X-Mine: a",
        b"X-Mine: b",
        expect=forwarded(lacks=("X-Mine",)),
    ),
    option("names itself", f"{CONNECTION}, CVE-2023-49606 (tinyproxy)", b"Connection: Connection", expect=forwarded()),
    option(
        "names itself and Proxy-Connection",
        f"{CONNECTION}, CVE-2023-49606 (tinyproxy)",
        b"Connection: Connection, Proxy-Connection",
        b"Proxy-Connection: Connection",
        expect=forwarded(),
    ),
    option("names Transfer-Encoding", CONNECTION, b"Connection: Transfer-Encoding", expect=forwarded()),
    option("names what is not there", CONNECTION, b"Connection: X-Nothing, close", expect=forwarded(True)),
    option("empty", CONNECTION, b"Connection:", expect=forwarded()),
    option("only commas", CONNECTION, b"Connection: ,,,", expect=forwarded()),
    abused("Authorization", b"Authorization: Bearer abc"),
    abused("Cookie", b"Cookie: session=1"),
    abused("X-Forwarded-For", b"X-Forwarded-For: 192.0.2.1"),
    abused("Cache-Control", b"Cache-Control: no-store"),
    option("names Host", f'{CONNECTION} ("hop-by-hop header abuse")', b"Connection: Host", expect=forwarded()),
    option(
        "names Via",
        "RFC 9110 sections 7.6.1 and 7.6.3",
        b"Connection: Via",
        b"Via: 1.0 fred",
        expect=forwarded(has={"Via": "1.0 fred, $VIA"}),
        also=(forwarded(),),
    ),
    Case(
        "names Content-Length",
        OPTIONS,
        f'{CONNECTION} ("hop-by-hop header abuse")',
        post(b"Connection: Content-Length", b"Content-Length: 5", body=b"hello" + SMUGGLED),
        Forwarded((Sent("POST", body=b"hello"), NEXT)),
        (Forwarded((Sent("POST", body=b"hello"),)), Refused((400, 411))),
    ),
    Case(
        "names Content-Type",
        OPTIONS,
        f'{CONNECTION} ("hop-by-hop header abuse")',
        post(b"Connection: Content-Type", b"Content-Type: application/pkcs10", b"Content-Length: 5", body=b"hello"),
        Forwarded((Sent("POST", body=b"hello", has={"Content-Type": "application/pkcs10"}),)),
        (Forwarded((Sent("POST", body=b"hello"),)),),
    ),
]


def hop(name, clause, *lines, expect=forwarded(), also=(), **more):
    return case(name, FIELDS, clause, *lines, expect=expect, also=also, **more)


AUTHENTICATION = "RFC 9110 section 11.7"
FIELD_CASES = [
    hop("Proxy-Authorization", f"{AUTHENTICATION}.2", b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ="),
    hop(
        "Proxy-Authorization twice, in other letters",
        f"{AUTHENTICATION}.2",
        b"proxy-AUTHORIZATION: Basic YTpi",
        b"Proxy-Authorization: Bearer abc",
    ),
    hop(
        "Proxy-Authenticate",
        f"{AUTHENTICATION}.1",
        b"Proxy-Authenticate: Basic",
        expect=forwarded(lacks=("Proxy-Authenticate",)),
        also=(forwarded(),),
    ),
    hop("Proxy-Connection", "RFC 9112 appendix C.2.2", b"Proxy-Connection: keep-alive"),
    hop("Keep-Alive", "RFC 9112 appendix C.2.2", b"Connection: keep-alive", b"Keep-Alive: timeout=5, max=1000"),
    hop("Keep-Alive without Connection", CONNECTION, b"Keep-Alive: timeout=5"),
    hop("TE", "RFC 9110 section 10.1.4", b"Connection: TE", b"TE: trailers"),
    hop("TE without Connection", "RFC 9110 section 10.1.4", b"TE: gzip;q=0.5, trailers"),
    hop(
        "Upgrade to WebSocket",
        "RFC 9110 section 7.8, RFC 6455 section 4.1",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
    ),
    hop(
        "Upgrade to h2c",
        "RFC 9110 section 7.8, RFC 7540 section 3.2",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        expect=forwarded(lacks=("HTTP2-Settings",)),
    ),
    hop("Upgrade without Connection", "RFC 9110 section 7.8", b"Upgrade: TLS/1.2"),
    hop(
        "HTTP2-Settings without Upgrade",
        "RFC 7540 section 3.2.1",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        expect=forwarded(lacks=("HTTP2-Settings",)),
        also=(forwarded(),),
    ),
    hop(
        "Trailer without trailers",
        "RFC 9110 section 6.6.2",
        b"Trailer: X-Checksum",
        expect=forwarded(lacks=("Trailer",)),
        also=(forwarded(),),
    ),
    hop(
        "Proxy, which is a variable in CGI",
        "RFC 3875 section 4.1.18, CVE-2016-5385 (httpoxy)",
        b"Proxy: http://evil.test/",
        expect=forwarded(),
        also=(forwarded(lacks=("Proxy",)),),
    ),
    hop(
        "Expect without content",
        "RFC 9110 section 10.1.1",
        b"Expect: 100-continue",
        expect=forwarded(lacks=("Expect",)),
        also=(forwarded(), Refused(417)),
    ),
    hop(
        "Expect of HTTP/1.0",
        "RFC 9110 section 10.1.1",
        b"Expect: 100-continue",
        b"Content-Length: 5",
        body=b"hello",
        version=b"1.0",
        expect=Forwarded((Sent(lacks=("Expect",), body=b"hello"),)),
        also=(Forwarded((Sent(body=b"hello"),)), Refused((400, 413, 417))),
    ),
    hop(
        "an unknown expectation",
        "RFC 9110 section 10.1.1",
        b"Expect: something",
        expect=Harmless(),
        also=(Refused(417),),
    ),
    hop(
        "end-to-end fields stay",
        "RFC 9110 section 5.1",
        b"Accept: a, b",
        b"Authorization: Bearer abc",
        b"X-Unknown: a",
        expect=forwarded(has={"Accept": "a, b", "Authorization": "Bearer abc", "X-Unknown": "a"}),
    ),
    hop(
        "a repeated field keeps its order",
        "RFC 9110 section 5.3",
        b"X-A: 1",
        b"X-B: 2",
        b"X-A: 3",
        expect=forwarded(has={"X-A": "1, 3", "X-B": "2"}),
    ),
]

VIA = "RFC 9110 section 7.6.3"
LOOP = Refused(508)
# To find loops is what the field is for, but no section says must.
NOT_FOUND = (forwarded(),)


def via(name, *lines, expect=LOOP, also=NOT_FOUND, **more):
    return case(name, LOOPS, VIA, *lines, expect=expect, also=also, **more)


LOOP_CASES = [
    via("none", expect=forwarded(has={"Via": "$VIA"}), also=()),
    via(
        "another proxy",
        b"Via: 1.0 fred, 1.1 p.example.net",
        also=(),
        expect=forwarded(has={"Via": "1.0 fred, 1.1 p.example.net, $VIA"}),
    ),
    via(
        "in two lines",
        b"Via: 1.0 fred",
        b"Via: 1.1 p.example.net",
        also=(),
        expect=forwarded(has={"Via": "1.0 fred, 1.1 p.example.net, $VIA"}),
    ),
    via("a client of HTTP/1.0", version=b"1.0", expect=forwarded(has={"Via": "1.0 raw-proxy"}), also=(forwarded(),)),
    via("ourselves", b"Via: $VIA"),
    via("ourselves in the middle", b"Via: 1.1 fred, $VIA, 1.1 other"),
    via("ourselves in a second line", b"Via: 1.1 fred", b"Via: $VIA"),
    via("ourselves in capitals, with a comment", b"Via: 1.1 RAW-PROXY (a comment)"),
    via("ourselves over HTTP/2", b"Via: 2 raw-proxy"),
    via("ourselves behind a comment that does not end", b"Via: 1.1 fred (a comment, $VIA"),
    via(
        "a name that begins with ours",
        b"Via: 1.1 raw-proxy-2",
        also=(),
        expect=forwarded(has={"Via": "1.1 raw-proxy-2, $VIA"}),
    ),
    via("our name as a comment", b"Via: 1.1 fred (raw-proxy)", also=(), expect=forwarded()),
]

FORWARD = "RFC 9110 section 7.6.2"
FINAL = Refused(405)


def forwards(name, method, *lines, expect, also=(), target=b"http://$HOST/a"):
    return case(name, FORWARDS, FORWARD, *lines, method=method, expect=expect, also=also, target=target)


ANSWERED = (Refused((200, 400, 405, 501)),)
TRACED = Sent("TRACE", "/a")
FORWARD_CASES = [
    forwards("TRACE, 0", b"TRACE", b"Max-Forwards: 0", expect=FINAL, also=ANSWERED),
    forwards("OPTIONS, 0", b"OPTIONS", b"Max-Forwards: 0", expect=FINAL, also=ANSWERED),
    forwards("OPTIONS, 00", b"OPTIONS", b"Max-Forwards: 00", expect=FINAL, also=ANSWERED),
    forwards(
        "OPTIONS of the whole server, 0",
        b"OPTIONS",
        b"Max-Forwards: 0",
        target=b"http://$HOST",
        expect=FINAL,
        also=ANSWERED,
    ),
    forwards(
        "TRACE, 1",
        b"TRACE",
        b"Max-Forwards: 1",
        also=ANSWERED,
        expect=forwarded(method="TRACE", target="/a", has={"Max-Forwards": "0"}),
    ),
    forwards(
        "OPTIONS, 5",
        b"OPTIONS",
        b"Max-Forwards: 5",
        also=ANSWERED,
        expect=forwarded(method="OPTIONS", target="/a", has={"Max-Forwards": "4"}),
    ),
    forwards(
        "OPTIONS, over 2^64",
        b"OPTIONS",
        b"Max-Forwards: 18446744073709551616",
        also=(*ANSWERED, Harmless()),
        expect=forwarded(method="OPTIONS", target="/a", has={"Max-Forwards": "999999"}),
    ),
    forwards("OPTIONS, no number", b"OPTIONS", b"Max-Forwards: x", expect=FINAL, also=(*ANSWERED, Harmless())),
    forwards("OPTIONS, negative", b"OPTIONS", b"Max-Forwards: -1", expect=FINAL, also=(*ANSWERED, Harmless())),
    forwards(
        "OPTIONS, twice", b"OPTIONS", b"Max-Forwards: 5", b"Max-Forwards: 0", expect=FINAL, also=(*ANSWERED, Harmless())
    ),
    forwards(
        "GET, 0: it may be ignored",
        b"GET",
        b"Max-Forwards: 0",
        also=(forwarded(target="/a"),),
        expect=forwarded(target="/a", has={"Max-Forwards": "0"}),
    ),
]


def pipe(name, clause, octets, expect, also=()):
    return Case(name, PIPELINE, clause, octets, expect, also)


def asked(name, *lines, **more):
    return get(*lines, target=b"http://$HOST/" + name, **more)


PERSISTENCE = "RFC 9112 section 9.3"
ONE, TWO, THREE = Sent(target="/1"), Sent(target="/2"), Sent(target="/3")
PIPELINE_CASES = [
    pipe(
        "three requests at once",
        f"{PERSISTENCE}.2",
        asked(b"1") + asked(b"2") + asked(b"3"),
        Forwarded((ONE, TWO, THREE)),
        (Forwarded((ONE,), True),),
    ),
    pipe(
        "GET, POST, GET at once",
        f"{PERSISTENCE}.2",
        asked(b"1") + post(b"Content-Length: 5", target=b"http://$HOST/2", body=b"hello") + asked(b"3"),
        Forwarded((ONE, Sent("POST", "/2", body=b"hello"), THREE)),
        (Forwarded((ONE,), True),),
    ),
    pipe(
        "HEAD, then GET",
        "RFC 9110 section 9.3.2",
        asked(b"1", method=b"HEAD") + asked(b"2"),
        Forwarded((Sent("HEAD", "/1"), TWO)),
        (Forwarded((Sent("HEAD", "/1"),), True),),
    ),
    pipe(
        "what stands behind close is not read",
        f"{PERSISTENCE}, section 9.6",
        asked(b"1", b"Connection: close") + asked(b"2"),
        Forwarded((ONE,), True),
    ),
    pipe(
        "what stands behind HTTP/1.0 is not read",
        PERSISTENCE,
        asked(b"1", version=b"1.0") + asked(b"2"),
        Forwarded((ONE,), True),
    ),
    pipe(
        "HTTP/1.0 with keep-alive",
        f"{PERSISTENCE}, appendix C.2.2",
        asked(b"1", b"Connection: keep-alive", version=b"1.0"),
        Forwarded((ONE,)),
    ),
    pipe(
        "Proxy-Connection: close",
        "RFC 9112 appendix C.2.2",
        asked(b"1", b"Proxy-Connection: close"),
        Forwarded((ONE,), True),
        (Forwarded((ONE,)),),
    ),
    pipe(
        "a bad request behind a good one",
        f"{PERSISTENCE}.2",
        asked(b"1") + b"GET http://$HOST/smuggled\r\n\r\n",
        Forwarded((ONE,), True),
    ),
    pipe(
        "CONNECT behind a good one, to what is denied",
        "RFC 9110 section 9.3.6",
        asked(b"1") + b"CONNECT evil.test:$PORT HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        Forwarded((ONE,), True),
        (Forwarded((ONE,)),),
    ),
    pipe(
        "octets behind the body of a POST",
        "RFC 9112 section 2.2",
        post(b"Content-Length: 5", body=b"hello\r\n") + asked(b"2"),
        Forwarded((Sent("POST", body=b"hello"), TWO)),
        (Forwarded((Sent("POST", body=b"hello"),), True),),
    ),
    pipe(
        "another allowed host on the same connection",
        "RFC 9112 section 3.2.2",
        asked(b"1") + get(target=b"http://enroll.test:$PORT/2", host=b"enroll.test:$PORT"),
        Forwarded((ONE, Sent(target="/2", host="enroll.test:$PORT"))),
        (Forwarded((ONE,), True),),
    ),
    pipe(
        "a denied host on the same connection",
        "RFC 9112 section 3.2.2",
        asked(b"1") + get(target=b"http://evil.test:$PORT/2", host=b"evil.test:$PORT"),
        Forwarded((ONE,), True),
        (Forwarded((ONE,)),),
    ),
]

CASES = OPTION_CASES + FIELD_CASES + LOOP_CASES + FORWARD_CASES + PIPELINE_CASES
