"""
What a request is for: the request line and its forms (RFC 9112 section 3), the authority in it (RFC 3986 section 3.2),
names that look like an allowed one, every spelling of an address, and names that lead to addresses which are not to be
reached. Allowed are enroll.test and all names below it, on every port.
"""

from support.raw_cases.model import Case, Foreign, Forwarded, Refused, Sent, get

REQUEST_LINE, FORMS, AUTHORITY = "request lines", "forms of targets", "authorities"
NAMES, LITERALS, GUARD = "host names", "spellings of addresses", "special-purpose addresses"
LINE = "RFC 9112 section 3"
FORM = "RFC 9112 section 3.2"


def forwarded(closes=None, **sent):
    return Forwarded((Sent(**sent),), closes)


def line(name, clause, text, expect=Refused(400), also=()):
    return Case(name, REQUEST_LINE, clause, text + b"\r\nHost: $HOST\r\n\r\n", expect, also)


# RFC 9112 section 3: a recipient may take other white space for the one space; CVE-2020-25097 is what came of it.
SPACED = (forwarded(),)
LINE_CASES = [
    line("two spaces behind the method", LINE, b"GET  http://$HOST/ HTTP/1.1", also=SPACED),
    line("two spaces before the version", LINE, b"GET http://$HOST/  HTTP/1.1", also=SPACED),
    line("a tab behind the method", LINE, b"GET\thttp://$HOST/ HTTP/1.1", also=SPACED),
    line("a tab before the version", LINE, b"GET http://$HOST/\tHTTP/1.1", also=SPACED),
    line("a space behind the version", LINE, b"GET http://$HOST/ HTTP/1.1 ", also=SPACED),
    line(
        "a space in the target",
        f"{LINE}.2, CVE-2020-25097 (Squid), CVE-2013-4547 (nginx)",
        b"GET http://$HOST/a b HTTP/1.1",
        also=(forwarded(target="/a%20b"),),
    ),
    line(
        "a second version in the target",
        f"{LINE}.2, CVE-2020-25097 (Squid)",
        b"GET http://$HOST/a HTTP/1.1 HTTP/1.1",
        also=(forwarded(target="/a%20HTTP/1.1"),),
    ),
    line("a tab in the target", f"{LINE}.2", b"GET http://$HOST/a\tb HTTP/1.1", also=(forwarded(target="/a%09b"),)),
    line("no version (HTTP/0.9)", f"{LINE}, CVE-2017-7656 (Jetty)", b"GET http://$HOST/"),
    line("only a method", LINE, b"GET"),
    line("an empty target", LINE, b"GET  HTTP/1.1"),
    line("HTTP/0.9 by its name", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/0.9", Refused(505)),
    line("HTTP/2.0", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/2.0", Refused(505)),
    line("HTTP/1.2", "RFC 9110 section 2.5", b"GET http://$HOST/ HTTP/1.2", forwarded(), (Refused(),)),
    line("HTTP/1.10", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/1.10"),
    line("HTTP/01.1", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/01.1"),
    line("HTTP/1", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/1"),
    line("HTTP/1,1", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/1,1"),
    line("HTTP/+1.1", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTP/+1.1"),
    line("http/1.1 in small letters", "RFC 9112 section 2.3", b"GET http://$HOST/ http/1.1"),
    line("HTTPS/1.1", "RFC 9112 section 2.3", b"GET http://$HOST/ HTTPS/1.1"),
    line(
        "a method in small letters",
        "RFC 9110 section 9.1",
        b"get http://$HOST/ HTTP/1.1",
        Refused(501),
        (forwarded(method="get"),),
    ),
    line(
        "an unknown method",
        "RFC 9110 section 9.1",
        b"FOO http://$HOST/ HTTP/1.1",
        Refused(501),
        (forwarded(method="FOO"),),
    ),
    line("a method that is no token", "RFC 9110 section 9.1", b"G(T http://$HOST/ HTTP/1.1"),
    line("a method with NUL", "RFC 9110 section 9.1", b"G\0T http://$HOST/ HTTP/1.1"),
    line(
        "a control octet in the target",
        f"{LINE}.2",
        b"GET http://$HOST/\x01 HTTP/1.1",
        also=(forwarded(target="/%01"),),
    ),
    line("DEL in the target", f"{LINE}.2", b"GET http://$HOST/\x7f HTTP/1.1", also=(forwarded(target="/%7F"),)),
    line(
        "an octet over 127 in the target",
        f"{LINE}.2, CVE-2018-12116 (Node.js)",
        b"GET http://$HOST/\xe4 HTTP/1.1",
        also=(forwarded(target="/%E4"),),
    ),
    line("a bare CR in the target", f"{LINE}.2", b"GET http://$HOST/a\rb HTTP/1.1"),
    line("the preface of HTTP/2", "RFC 9113 section 3.4", b"PRI * HTTP/2.0", Refused(505)),
    Case(
        "a ClientHello",
        REQUEST_LINE,
        "RFC 8446 section 4.1.2",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        Refused(400),
    ),
]


def target(name, clause, text, expect=Refused(400), also=(), method=b"GET", group=FORMS, **more):
    return Case(name, group, clause, get(target=text, method=method, **more), expect, also)


# certferry forwards http alone; others may know more.
SPOKEN = (Foreign(),)
FORM_CASES = [
    target("absolute", f"{FORM}.2", b"http://$HOST/a?b=c", forwarded(target="/a?b=c")),
    target("absolute without a path", f"{FORM}.2, RFC 9110 section 4.2.3", b"http://$HOST", forwarded()),
    target(
        "absolute without a path, with a query",
        f"{FORM}.2",
        b"http://$HOST?a=b",
        forwarded(target="/?a=b"),
        (Refused(),),
    ),
    target("absolute, scheme in capitals", "RFC 3986 section 3.1", b"HTTP://$HOST/", forwarded()),
    target(
        "absolute, OPTIONS without a path",
        f"{FORM}.4",
        b"http://$HOST",
        forwarded(method="OPTIONS", target="*"),
        method=b"OPTIONS",
    ),
    target("origin form of another's page", f"{FORM}.1", b"/smuggled", Refused((400, 404), close=True)),
    target("two slashes", f"{FORM}.1", b"//$HOST/", Refused((400, 404))),
    target("authority with GET", f"{FORM}.3", b"$HOST"),
    target("authority with POST", f"{FORM}.3", b"$HOST", method=b"POST"),
    target("* with GET", f"{FORM}.4", b"*"),
    target("https", f"{FORM}.2", b"https://$HOST/", also=SPOKEN),
    target("ftp", f"{FORM}.2", b"ftp://$HOST/", also=SPOKEN),
    target("gopher", f"{FORM}.2, CVE-2023-46728 (Squid)", b"gopher://$HOST/", also=SPOKEN),
    target("urn", f"{FORM}.2, CVE-2019-12523, CVE-2021-28651 (Squid)", b"urn:$HOST:a"),
    target("whois", f"{FORM}.2", b"whois://$HOST/a", also=SPOKEN),
    target("file", f"{FORM}.2", b"file:///etc/passwd"),
    target("cache_object", f"{FORM}.2, CVE-2019-12524 (Squid)", b"cache_object://ca.enroll.test/info"),
    target("a scheme with one slash", "RFC 3986 section 3", b"http:/$HOST/"),
    target("a scheme without slashes", "RFC 3986 section 3", b"http:$HOST/"),
    target("a scheme with three slashes", "RFC 3986 section 3", b"http:///$HOST/"),
    target("a scheme with backslashes", "RFC 3986 section 3", b"http:\\\\$HOST/"),
    target("a tab in the scheme", "RFC 3986 section 3.1", b"ht\ttp://$HOST/"),
    target("a URL in quotes", "RFC 3986 section 3", b'"http://$HOST/"'),
    target("a URL in angle brackets", "RFC 3986 section 3", b"<http://$HOST/>"),
    target("a URL behind a slash", f"{FORM}.1", b"/http://$HOST/", Refused((400, 404))),
    target("a fragment", f"{FORM}.2, CVE-2023-45539 (HAProxy)", b"http://$HOST/a#b", also=(forwarded(target="/a"),)),
    target("a fragment behind the host", "RFC 3986 section 3.2", b"http://$HOST#.evil.test/", also=(forwarded(),)),
    target("a backslash in the path", "RFC 3986 section 3.3", b"http://$HOST/a\\b", also=(forwarded(target="/a%5Cb"),)),
    target("a percent sign alone", "RFC 3986 section 2.1", b"http://$HOST/a%zz"),
    target(
        "a percent-encoded NUL", "RFC 3986 section 2.1", b"http://$HOST/a%00b", forwarded(target="/a%00b"), (Refused(),)
    ),
    target(
        "percent-encoded CR LF",
        "RFC 3986 section 2.1, CVE-2023-25690 (Apache httpd)",
        b"http://$HOST/a%20HTTP/1.1%0d%0aX:%20y",
        forwarded(target="/a%20HTTP/1.1%0d%0aX:%20y", lacks=("X",)),
    ),
    target(
        "dot segments",
        "RFC 3986 section 6.2.2.3",
        b"http://$HOST/a/../b",
        forwarded(target="/a/../b"),
        (forwarded(target="/b"), Refused()),
    ),
    target("a quote in the path", "RFC 3986 section 3.3", b'http://$HOST/a"b', also=(forwarded(target="/a%22b"),)),
    target("a pipe in the query", "RFC 3986 section 3.4", b"http://$HOST/?a|b", also=(forwarded(target="/?a%7Cb"),)),
]


def authority(name, clause, text, expect=Refused(400), also=(), group=AUTHORITY, names=None, guarded=False):
    """The same authority as the target and in Host."""
    octets = get(target=b"http://" + text + b"/", host=b"ca.enroll.test")
    return Case(name, group, clause, octets, expect, also, names or {}, guarded)


URI = "RFC 3986 section 3.2"
AUTHORITY_CASES = [
    authority(
        "userinfo",
        "RFC 9110 section 4.2.4, CVE-2019-12520 (Squid)",
        b"user:secret@$HOST",
        also=(forwarded(), forwarded(has={"Authorization": "Basic dXNlcjpzZWNyZXQ="})),
    ),
    authority(
        "an allowed name as userinfo",
        "RFC 9110 section 4.2.4, CVE-2019-12520 (Squid)",
        b"ca.enroll.test@evil.test:$PORT",
    ),
    authority("an allowed host and port as userinfo", "RFC 9110 section 4.2.4", b"ca.enroll.test:80@evil.test:$PORT"),
    authority("two @", URI, b"a@ca.enroll.test@evil.test:$PORT"),
    authority("empty userinfo", URI, b"@$HOST", also=(forwarded(),)),
    authority("percent-encoded @", URI, b"ca.enroll.test%40evil.test:$PORT", Refused((400, 403))),
    authority(
        "a percent-encoded slash",
        f"{URI}, CVE-2019-12524 (Squid)",
        b"evil.test%2f.enroll.test:$PORT",
        Refused((400, 403)),
    ),
    authority(
        "percent-encoded letters",
        "RFC 3986 section 3.2.2, CVE-2019-12524 (Squid)",
        b"%63a.enroll.test:$PORT",
        also=(forwarded(),),
    ),
    authority("a percent-encoded dot", "RFC 3986 section 3.2.2", b"ca%2eenroll.test:$PORT", also=(forwarded(),)),
    authority("a percent-encoded NUL", "RFC 3986 section 3.2.2", b"evil.test%00.enroll.test:$PORT"),
    authority("a backslash before @", URI, b"evil.test:$PORT\\@ca.enroll.test"),
    authority("a backslash behind the host", URI, b"evil.test:$PORT\\.enroll.test"),
    authority("a semicolon behind the host", URI, b"evil.test;.enroll.test:$PORT"),
    authority("a comma behind the host", URI, b"evil.test,ca.enroll.test:$PORT"),
    authority("a space in the host", URI, b"evil.test .enroll.test:$PORT"),
    authority("a tab in the host", URI, b"evil.test\t.enroll.test:$PORT"),
    authority("an empty host", "RFC 9110 section 4.2.1", b""),
    authority("a port without host", "RFC 9110 section 4.2.1", b":$PORT"),
    authority("an empty port", f"{URI}.3", b"ca.enroll.test:"),
    authority("port 0", f"{URI}.3", b"ca.enroll.test:0"),
    authority("a port with a leading zero", f"{URI}.3", b"ca.enroll.test:0$PORT", also=(forwarded(),)),
    authority("port 65536 and more", f"{URI}.3", b"ca.enroll.test:165536"),
    authority("a port that overflows into ours", f"{URI}.3", b"ca.enroll.test:4294967376"),
    authority("a port with a sign", f"{URI}.3", b"ca.enroll.test:+$PORT"),
    authority("a negative port", f"{URI}.3", b"ca.enroll.test:-1"),
    authority("a hexadecimal port", f"{URI}.3", b"ca.enroll.test:0x50"),
    authority("letters behind the port", f"{URI}.3", b"ca.enroll.test:$PORTx"),
    authority("two ports", f"{URI}.3", b"ca.enroll.test:$PORT:80"),
    authority("a name in brackets", "RFC 3986 section 3.2.2, CVE-2022-24825 (Smokescreen)", b"[ca.enroll.test]:$PORT"),
    authority(
        "a denied name in brackets", "RFC 3986 section 3.2.2, CVE-2022-24825 (Smokescreen)", b"[evil.test]:$PORT"
    ),
    authority("a bracket that does not end", "RFC 3986 section 3.2.2", b"[::1:$PORT"),
    authority("text behind the bracket", "RFC 3986 section 3.2.2, CVE-2024-6763 (Jetty)", b"[::1].enroll.test:$PORT"),
    authority("IPvFuture", "RFC 3986 section 3.2.2", b"[v1.ca.enroll.test]:$PORT"),
    authority("a zone id", "RFC 6874 section 2, RFC 9844", b"[fe80::1%25lo]:$PORT"),
    authority("a zone id with a name in it", "RFC 6874 section 2", b"[::1%25.enroll.test]:$PORT"),
]


def hostname(name, clause, host, expect=Refused(403), also=()):
    return authority(name, clause, host + b":$PORT", expect, also, NAMES)


DNS = "RFC 1034 section 3.1"
LDH = "RFC 1123 section 2.1"
IDNA = "RFC 5890 section 2.3.2.1"
BAD = Refused((400, 403))
NAME_CASES = [
    hostname("allowed", DNS, b"ca.enroll.test", forwarded()),
    hostname("the domain itself", DNS, b"enroll.test", forwarded(host="enroll.test:$PORT")),
    hostname(
        "in other letters",
        "RFC 4343 section 2",
        b"Ca.ENROLL.tEst",
        forwarded(),
        (forwarded(host="Ca.ENROLL.tEst:$PORT"),),
    ),
    hostname(
        "a trailing dot",
        f"{DNS}, CVE-2022-29188 (Smokescreen)",
        b"ca.enroll.test.",
        forwarded(),
        (forwarded(host="ca.enroll.test.:$PORT"), Refused()),
    ),
    hostname("denied", DNS, b"evil.test"),
    hostname("denied, with a trailing dot", f"{DNS}, CVE-2022-29188 (Smokescreen)", b"evil.test."),
    hostname("denied, in other letters", "RFC 4343 section 2", b"EVIL.test"),
    hostname("the allowed one as a label further left", DNS, b"ca.enroll.test.evil.test"),
    hostname("the allowed domain as a label further left", DNS, b"enroll.test.evil.test"),
    hostname("the allowed domain as the end of a label", DNS, b"xenroll.test"),
    hostname("a shorter last label", DNS, b"enroll.tes"),
    hostname("a longer last label", DNS, b"enroll.testx"),
    hostname("two trailing dots", DNS, b"ca.enroll.test..", Refused(400)),
    hostname("a leading dot", DNS, b".enroll.test", Refused(400)),
    hostname("an empty label", DNS, b"ca..enroll.test", Refused(400)),
    hostname("only a dot", DNS, b".", Refused(400)),
    hostname("an underscore", LDH, b"ca_1.enroll.test", Refused(400)),
    hostname("a hyphen at its beginning", LDH, b"-ca.enroll.test", Refused(400)),
    hostname("a label of 64", "RFC 1035 section 2.3.4", b"a" * 64 + b".enroll.test", Refused(400)),
    hostname("a name of 300", "RFC 1035 section 2.3.4", b".".join([b"a" * 49] * 6) + b".enroll.test", Refused(400)),
    hostname("a star", LDH, b"*.enroll.test", Refused(400)),
    hostname("a valid A-label", IDNA, b"xn--bcher-kva.enroll.test", forwarded(host="xn--bcher-kva.enroll.test:$PORT")),
    hostname("an A-label that decodes to ASCII", f"{IDNA}, CVE-2024-12224 (idna)", b"xn--enroll-.test", Refused(400)),
    hostname("an A-label that decodes to nothing", IDNA, b"xn--.enroll.test", Refused(400)),
    hostname(
        "an A-label that no U-label has",
        IDNA,
        b"xn--a.enroll.test",
        Refused(400),
        (forwarded(host="xn--a.enroll.test:$PORT"),),
    ),
    hostname(
        "fullwidth dots", "RFC 5895 section 2", b"ca\xef\xbc\x8eenroll\xef\xbc\x8etest", Refused(400), (forwarded(),)
    ),
    hostname(
        "an ideographic full stop", "RFC 5895 section 2", b"ca\xe3\x80\x82enroll.test", Refused(400), (forwarded(),)
    ),
    hostname("fullwidth letters", "RFC 5895 section 2", b"\xef\xbd\x83a.enroll.test", Refused(400), (forwarded(),)),
    hostname(
        "a U-label",
        "RFC 5890 section 2.3.2.1",
        b"b\xc3\xbccher.enroll.test",
        Refused(400),
        (forwarded(host="xn--bcher-kva.enroll.test:$PORT"),),
    ),
    hostname("a Cyrillic letter", "RFC 5890 section 4.4", b"ca.\xd0\xb5nroll.test", Refused(400)),
    hostname("a soft hyphen", "RFC 5892 section 2.6", b"evil.test\xc2\xad.enroll.test", Refused(400)),
    hostname("U+2100, which is mapped to a/c", "RFC 5895 section 2", b"\xe2\x84\x80.enroll.test", Refused(400)),
]


def literal(name, clause, host, expect=BAD, also=()):
    """It must not be reached, in whatever spelling: not one address is allowed."""
    return authority(name, clause, host + b":$PORT", expect, also, LITERALS)


IPV4 = "RFC 3986 section 7.4"
IPV6 = "RFC 4291 section 2.2"
DENIED = Refused(403)
LITERAL_CASES = [
    literal("127.0.0.1", IPV4, b"127.0.0.1", DENIED),
    literal("127.0.0.1 with a trailing dot", IPV4, b"127.0.0.1.", Refused(400)),
    literal("127.1", IPV4, b"127.1"),
    literal("127.0.1", IPV4, b"127.0.1"),
    literal("octal", f"{IPV4}, CVE-2021-29923 (Go)", b"0177.0.0.1"),
    literal("octal with many zeros", f"{IPV4}, CVE-2021-29923 (Go)", b"00000177.0.0.01"),
    literal("a leading zero that is no octal", f"{IPV4}, CVE-2021-28918 (netmask)", b"0127.0.0.1"),
    literal("hexadecimal parts", IPV4, b"0x7f.0x0.0x0.0x1"),
    literal("hexadecimal, one number", IPV4, b"0x7f000001"),
    literal("hexadecimal, short", IPV4, b"0x7f.1"),
    literal("decimal, one number", IPV4, b"2130706433"),
    literal("octal, one number", IPV4, b"017700000001"),
    literal("a number over 2^32", IPV4, b"6425673729"),
    literal("a part over 255", IPV4, b"127.0.0.257"),
    literal("five parts", IPV4, b"127.0.0.0.1"),
    literal("0", IPV4, b"0"),
    literal("0.0.0.0", "RFC 1122 section 3.2.1.3", b"0.0.0.0", DENIED),
    literal("fullwidth digits", f"{IPV4}, RFC 5895 section 2", b"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1"),
    literal("encircled digits", f"{IPV4}, RFC 5895 section 2", b"\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1"),
    literal("percent-encoded", IPV4, b"%31%32%37.0.0.1"),
    literal("a number as the last label", "RFC 3696 section 2", b"ca.enroll.test.1"),
    literal("0x as the last label", "RFC 3696 section 2", b"enroll.0x7f"),
    literal("::1", IPV6, b"[::1]", DENIED),
    literal("::1 in full", IPV6, b"[0:0:0:0:0:0:0:1]", DENIED),
    literal("::1 without brackets", "RFC 3986 section 3.2.2", b"::1"),
    literal("mapped", f"{IPV6}, CVE-2024-24790 (Go)", b"[::ffff:127.0.0.1]", DENIED),
    literal("mapped, hexadecimal", IPV6, b"[::ffff:7f00:1]", DENIED),
    literal("compatible", "RFC 4291 section 2.5.5.1", b"[::127.0.0.1]", DENIED),
    literal("6to4", "RFC 3056 section 2", b"[2002:7f00:1::]", DENIED),
    literal("NAT64", "RFC 6052 section 2.1", b"[64:ff9b::127.0.0.1]", DENIED),
    literal("Teredo", "RFC 4380 section 4", b"[2001:0:7f00:1::80ff:fffe]", DENIED),
    literal("two ::", IPV6, b"[::1::]", Refused(400)),
    literal("an octal part in IPv6", IPV6, b"[::ffff:0177.0.0.1]", Refused(400)),
]


def leads_to(name, clause, *addresses, host=b"trap.enroll.test"):
    """An allowed name whose owner points it at something inside (DNS rebinding and its relatives)."""
    number = "".join(f"{octet:02x}" for octet in name.encode())
    host = b"n" + number[-40:].encode() + b"." + host
    names = {host.decode(): list(addresses)}
    return authority(name, clause, host + b":$PORT", Refused(403), (), GUARD, names, True)


REGISTRY = "RFC 6890 section 2.2"
GUARD_CASES = [
    leads_to("127.0.0.1", REGISTRY, "127.0.0.1"),
    leads_to("127.0.0.2", REGISTRY, "127.0.0.2"),
    leads_to("0.0.0.0", f"{REGISTRY}.2", "0.0.0.0"),
    leads_to("10.0.0.1", f"{REGISTRY}.2, RFC 1918", "10.0.0.1"),
    leads_to("172.16.0.1", "RFC 1918", "172.16.0.1"),
    leads_to("192.168.0.1", "RFC 1918", "192.168.0.1"),
    leads_to("169.254.169.254", "RFC 3927 section 1.5", "169.254.169.254"),
    leads_to("100.64.0.1", "RFC 6598 section 7", "100.64.0.1"),
    leads_to("192.0.0.1", "RFC 5736", "192.0.0.1"),
    leads_to("198.18.0.1", "RFC 2544 appendix C.2.2", "198.18.0.1"),
    leads_to("192.0.2.1", "RFC 5737 section 3", "192.0.2.1"),
    leads_to("224.0.0.1", "RFC 5771 section 3", "224.0.0.1"),
    leads_to("240.0.0.1", "RFC 1112 section 4", "240.0.0.1"),
    leads_to("255.255.255.255", "RFC 919 section 7", "255.255.255.255"),
    leads_to("::1", "RFC 4291 section 2.5.3", "::1"),
    leads_to("::", "RFC 4291 section 2.5.2", "::"),
    leads_to("::ffff:127.0.0.1", "RFC 4291 section 2.5.5.2", "::ffff:127.0.0.1"),
    leads_to("::127.0.0.1", "RFC 4291 section 2.5.5.1", "::127.0.0.1"),
    leads_to("64:ff9b::127.0.0.1", "RFC 6052 section 3.1", "64:ff9b::7f00:1"),
    leads_to("64:ff9b:1::127.0.0.1", "RFC 8215 section 5", "64:ff9b:1::7f00:1"),
    leads_to("2002:7f00:1::", "RFC 3964 section 5.3.1", "2002:7f00:1::"),
    leads_to("a Teredo address", "RFC 4380 section 5.2.4", "2001:0:7f00:1::80ff:fffe"),
    leads_to("fe80::1", "RFC 4291 section 2.5.6", "fe80::1"),
    leads_to("fec0::1", "RFC 3879 section 4", "fec0::1"),
    leads_to("fc00::1", "RFC 4193 section 4.3", "fc00::1"),
    leads_to("ff02::1", "RFC 4291 section 2.7", "ff02::1"),
    leads_to("2001:db8::1", "RFC 3849 section 4", "2001:db8::1"),
    leads_to("two addresses, both special", REGISTRY, "127.0.0.1", "::1"),
]

CASES = LINE_CASES + FORM_CASES + AUTHORITY_CASES + NAME_CASES + LITERAL_CASES + GUARD_CASES
