"""
CONNECT (RFC 9110 section 9.3.6): heads that are odd, authorities that are none, what may not be reached; and the gate
behind it: nothing passes before the client's first octets are a ClientHello that agrees with the CONNECT.
"""

from support import client_hello
from support.client_hello import extension, hello, message, record, records, server_name
from support.raw_cases.model import SMUGGLED, Gated, Harmless, Refused, TunnelCase, Tunnelled

HEADS, AUTHORITIES, GATE = "heads of CONNECT", "authorities of CONNECT", "gate of tunnels"
CONNECT = "RFC 9110 section 9.3.6"
NAME = "ca.enroll.test"
OPENED = (hello(NAME), b"more")


def head(*lines, target=b"$HOST", version=b"1.1", method=b"CONNECT", host=b"$HOST", early=b""):
    fields = [method + b" " + target + b" HTTP/" + version] + ([b"Host: " + host] if host is not None else [])
    return b"".join(line + b"\r\n" for line in (*fields, *lines)) + b"\r\n" + early


def headed(name, clause, octets, expect=Refused(400), also=(), inside=OPENED):
    return TunnelCase(name, HEADS, clause, octets, expect, inside, also)


MESSAGE = "RFC 9112 section"
OPEN = Tunnelled()
HEAD_CASES = [
    headed("plain", CONNECT, head(), OPEN),
    headed("HTTP/1.0", CONNECT, head(version=b"1.0"), OPEN),
    headed("HTTP/1.0 without Host", f"{MESSAGE} 3.2", head(version=b"1.0", host=None), OPEN),
    headed("a ClientHello in the same segment", CONNECT, head(early=hello(NAME)), OPEN, inside=(b"more",)),
    headed(
        "half a ClientHello in the same segment",
        CONNECT,
        head(early=hello(NAME)[:20]),
        OPEN,
        inside=(hello(NAME)[20:], b"more"),
    ),
    headed("another Host", f"{MESSAGE} 3.2.2", head(host=b"evil.test"), OPEN, (Refused(),)),
    headed("Host without a port", f"{MESSAGE} 3.2.3", head(host=b"ca.enroll.test"), OPEN, (Refused(),)),
    headed("Content-Length: 0", CONNECT, head(b"Content-Length: 0"), OPEN, (Refused(),)),
    headed("Connection: close", f"{MESSAGE} 9.6", head(b"Connection: close"), OPEN),
    headed("Proxy-Connection: Keep-Alive", f"{MESSAGE} appendix C.2.2", head(b"Proxy-Connection: Keep-Alive"), OPEN),
    headed("Expect: 100-continue", "RFC 9110 section 10.1.1", head(b"Expect: 100-continue"), OPEN, (Refused(417),)),
    headed("no Host", f"{MESSAGE} 3.2", head(host=None), also=(OPEN,)),
    headed("Host twice", f"{MESSAGE} 3.2", head(b"Host: $HOST")),
    headed("a bad Host", f"{MESSAGE} 3.2", head(host=b"a b"), also=(OPEN,)),
    # CONNECT has no content; that a length says otherwise may be overlooked, which certferry does not.
    headed("a length", CONNECT, head(b"Content-Length: 5", early=b"hello"), also=(OPEN,)),
    headed(
        "a length that hides a request",
        f"{CONNECT}, {MESSAGE} 6.3",
        head(b"Content-Length: 100", early=SMUGGLED),
        also=(OPEN,),
    ),
    headed("chunked", CONNECT, head(b"Transfer-Encoding: chunked", early=b"0\r\n\r\n"), also=(OPEN,)),
    headed(
        "a length and chunked",
        f"{MESSAGE} 6.3",
        head(b"Content-Length: 0", b"Transfer-Encoding: chunked", early=b"0\r\n\r\n"),
        also=(OPEN,),
    ),
    headed("a length twice", f"{MESSAGE} 6.3", head(b"Content-Length: 0", b"Content-Length: 5")),
    headed("bare LF", f"{MESSAGE} 2.2", head().replace(b"\r\n", b"\n"), also=(OPEN,)),
    headed("a folded field", f"{MESSAGE} 5.2", head(b"X: a", b" b"), also=(OPEN,)),
    headed("a space before a colon", f"{MESSAGE} 5.1", head(b"X : a")),
    headed("NUL in a field", "RFC 9110 section 5.5", head(b"X: a\0b"), also=(OPEN,)),
    headed("small letters", "RFC 9110 section 9.1", head(method=b"connect"), Refused(501)),
    headed("HTTP/2.0", f"{MESSAGE} 2.3", head(version=b"2.0"), Refused(505)),
    headed("two spaces", f"{MESSAGE} 3", head().replace(b"CONNECT ", b"CONNECT  "), also=(OPEN,)),
    headed("Via names ourselves", "RFC 9110 section 7.6.3", head(b"Via: $VIA"), Refused(508), (Harmless(),)),
]


def named(name, clause, target, expect=Refused(400), also=()):
    return TunnelCase(name, AUTHORITIES, clause, head(target=target, host=b"ca.enroll.test"), expect, OPENED, also)


FORM = "RFC 9112 section 3.2.3"
URI = "RFC 3986 section 3.2"
DENIED = Refused(403)
EITHER = Refused((400, 403))
AUTHORITY_CASES = [
    named("in other letters", "RFC 4343 section 2", b"CA.Enroll.Test:$PORT", OPEN),
    named(
        "a trailing dot",
        "RFC 1034 section 3.1, CVE-2022-29188 (Smokescreen)",
        b"ca.enroll.test.:$PORT",
        OPEN,
        (Refused(),),
    ),
    named("denied", CONNECT, b"evil.test:$PORT", DENIED),
    named(
        "denied, with a trailing dot", "RFC 1034 section 3.1, CVE-2022-29188 (Smokescreen)", b"evil.test.:$PORT", DENIED
    ),
    named("denied, in brackets", "RFC 3986 section 3.2.2, CVE-2022-24825 (Smokescreen)", b"[evil.test]:$PORT"),
    named("allowed, in brackets", "RFC 3986 section 3.2.2, CVE-2022-24825 (Smokescreen)", b"[ca.enroll.test]:$PORT"),
    named("a look-alike suffix", CONNECT, b"xenroll.test:$PORT", DENIED),
    named("the allowed name further left", CONNECT, b"ca.enroll.test.evil.test:$PORT", DENIED),
    named("no port", FORM, b"ca.enroll.test"),
    named("an empty port", FORM, b"ca.enroll.test:"),
    named("port 0", FORM, b"ca.enroll.test:0"),
    named("port 65536 and more", FORM, b"ca.enroll.test:165536"),
    named("a port with a leading zero", FORM, b"ca.enroll.test:0$PORT", also=(OPEN,)),
    named("a port with a sign", FORM, b"ca.enroll.test:+$PORT"),
    named("letters behind the port", FORM, b"ca.enroll.test:$PORTx"),
    named("two ports", FORM, b"ca.enroll.test:$PORT:443"),
    named("no host", FORM, b":$PORT"),
    named("absolute form", FORM, b"http://$HOST/"),
    named("https in absolute form", FORM, b"https://$HOST/"),
    named("origin form", FORM, b"/"),
    named("*", FORM, b"*"),
    named("a path behind it", FORM, b"$HOST/x"),
    named("a query behind it", FORM, b"$HOST?x"),
    named("userinfo", URI, b"user@$HOST"),
    named("an allowed name as userinfo", URI, b"ca.enroll.test@evil.test:$PORT"),
    named("a backslash", URI, b"evil.test:$PORT\\@ca.enroll.test"),
    named("percent-encoding", "RFC 3986 section 3.2.2", b"ca%2eenroll.test:$PORT", also=(OPEN,)),
    named("a zone id", "RFC 6874 section 2", b"[::1%25lo]:$PORT"),
    named("127.0.0.1", CONNECT, b"127.0.0.1:$PORT", DENIED),
    named("127.1", "RFC 3986 section 7.4", b"127.1:$PORT", EITHER),
    named("octal", "RFC 3986 section 7.4, CVE-2021-29923 (Go)", b"0177.0.0.1:$PORT", EITHER),
    named("decimal, one number", "RFC 3986 section 7.4", b"2130706433:$PORT", EITHER),
    named("hexadecimal", "RFC 3986 section 7.4", b"0x7f.1:$PORT", EITHER),
    named("mapped", "RFC 4291 section 2.5.5.2, CVE-2024-24790 (Go)", b"[::ffff:127.0.0.1]:$PORT", DENIED),
    named("::1 without brackets", "RFC 3986 section 3.2.2", b"::1:$PORT"),
]


def gated(name, clause, *inside, expect=Gated()):
    return TunnelCase(name, GATE, clause, head(), expect, inside)


HELLO = "RFC 8446 section 4.1.2"
SNI = "RFC 6066 section 3"
RECORD = "RFC 8446 section 5.1"
EXTENSION = "RFC 8446 section 4.2"
GATE_CASES = [
    gated("the name of the CONNECT", SNI, hello(NAME), expect=OPEN),
    gated("in capitals", SNI, hello(NAME.upper()), expect=OPEN),
    gated("no server name", SNI, hello(), expect=OPEN),
    gated("octet by octet", RECORD, *(bytes([octet]) for octet in hello(NAME)), expect=OPEN),
    gated("in records of one octet", RECORD, hello(NAME, size=1), expect=OPEN),
    gated("GREASE and a post-quantum share", "RFC 8701 section 2", client_hello.chrome(NAME), expect=OPEN),
    gated(
        "ECH, whose outer name counts",
        "RFC 9849 section 6.1",
        hello(NAME, client_hello.encrypted_client_hello()),
        expect=OPEN,
    ),
    gated("early data behind it", "RFC 8446 section 4.2.10", hello(NAME) + record(bytes(100), 23), expect=OPEN),
    gated("40,000 octets", HELLO, hello(NAME, extension(21, bytes(40_000))), expect=OPEN),
    gated("another name", SNI, hello("evil.test")),
    gated("another allowed name", SNI, hello("other.enroll.test")),
    gated("the name behind another", SNI, hello("evil.test.ca.enroll.test")),
    gated("the name before another", SNI, hello("ca.enroll.test.evil.test")),
    gated("two names in one extension", SNI, records(message(client_hello.body(server_name(NAME, "evil.test"))))),
    gated("two names, ours the second", SNI, records(message(client_hello.body(server_name("evil.test", NAME))))),
    gated("two extensions of names", EXTENSION, hello(NAME, server_name("evil.test"))),
    gated("two extensions of names, ours the second", EXTENSION, hello("evil.test", server_name(NAME))),
    gated("a name of another type", SNI, records(message(client_hello.body(server_name(NAME, kind=1))))),
    gated("a trailing dot", SNI, hello(NAME + ".")),
    gated("an address as the name", SNI, hello("127.0.0.1")),
    gated("NUL in the name", SNI, hello(NAME + "\0.evil.test")),
    gated("UTF-8 in the name", SNI, hello("c\u00e4.enroll.test")),
    gated("an empty name", SNI, hello("")),
    gated("an empty list of names", SNI, hello(None, extension(0, b"\0\0"))),
    gated("an empty extension", SNI, hello(None, extension(0))),
    gated("a list longer than its extension", SNI, hello(None, extension(0, b"\0\x20\0\0\x0e" + NAME.encode()))),
    gated("octets behind the list", SNI, hello(None, extension(0, server_name(NAME)[4:] + b"x"))),
    gated("an extension longer than the message", EXTENSION, hello(None, b"\0\0\xff\xff" + server_name(NAME)[4:])),
    gated("plain HTTP", CONNECT, SMUGGLED),
    gated("HTTP/2 without TLS", "RFC 9113 section 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    gated("SSH", "RFC 4253 section 4.2", b"SSH-2.0-OpenSSH_9.2\r\n"),
    gated("SMTP", "RFC 5321 section 4.1.1.1", b"EHLO client.enroll.test\r\n"),
    gated("a NUL", RECORD, b"\0"),
    gated("a hello of SSL 2", "RFC 5246 appendix E.2", client_hello.sslv2_hello()),
    gated("application data first", RECORD, record(b"hello", 23) + hello(NAME)),
    gated("an alert first", RECORD, record(b"\1\0", 21) + hello(NAME)),
    gated("an empty record first", RECORD, record(b"") + hello(NAME)),
    gated("another handshake message first", "RFC 8446 section 4", records(message(b"", 0)) + hello(NAME)),
    gated(
        "a record between its records", RECORD, record(hello(NAME)[5:40]) + record(b"x", 23) + record(hello(NAME)[40:])
    ),
    gated(
        "a record of more than 2^14",
        RECORD,
        record(message(client_hello.body(server_name(NAME) + extension(21, bytes(17000))))),
    ),
    gated("a record of version 4", RECORD, records(message(client_hello.body(server_name(NAME))), version=0x0401)),
    gated("a version that is no TLS", HELLO, hello(NAME, version=0x0203)),
    gated("more than 64 KiB", HELLO, client_hello.hello_of(64 * 1024 + 1, NAME)),
    gated("no cipher suite", HELLO, hello(NAME, suites=b"")),
    gated("no compression method", HELLO, hello(NAME, compression=b"")),
    gated("half of it, then FIN", HELLO, hello(NAME)[:50], b""),
    gated("only FIN", HELLO, b""),
]

CASES = HEAD_CASES + AUTHORITY_CASES + GATE_CASES
