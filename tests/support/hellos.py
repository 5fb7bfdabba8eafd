"""
ClientHellos as both must judge them who read a server name, the gate of tunnels and the pass-through door, and what the
metrics say of it.
"""

import re

from support.client_hello import (
    GREASE,
    MLKEM768,
    alert,
    body,
    chrome,
    encrypted_client_hello,
    extension,
    firefox,
    hello,
    hello_of,
    key_share,
    message,
    record,
    records,
    server_name,
    sslv2_hello,
)
from support.raw_http import Client

NAME = "ca.enroll.test"
OTHER = "other.enroll.test"
LIMIT = 64 * 1024
RECORDS_MAX = 4096
SAMPLE = re.compile(r'certferry_tunnel_hellos_total\{result="([^"]+)"\} (\d+)')


def all_hellos(proxy):
    """{result: how often}, as the metrics have it so far."""
    with Client(proxy) as client:
        text = client.fetch("/metrics", "Host: a").body.decode()
    return {result: int(times) for result, times in SAMPLE.findall(text)}


def hellos(proxy):
    """The same without those that never happened."""
    return {result: times for result, times in all_hellos(proxy).items() if times}


def padded(octets, size):
    """A ClientHello for NAME whose message has so many octets, in records of `size`."""
    least = len(message(body(server_name(NAME) + extension(21))))
    return hello(NAME, extension(21, bytes(octets - least)), size)


# Those with the server name NAME.
NAMED = {
    "plain": hello(NAME),
    "in capitals (RFC 6066 section 3)": hello(NAME.upper()),
    "server name behind 9000 octets of extensions": hello(None, extension(21, bytes(9000)) + server_name(NAME)),
    "record version 3.4": records(message(body(server_name(NAME))), version=0x0304),
    "Chrome: GREASE, a post-quantum share, ECH GREASE": chrome(NAME),
    "Firefox: three shares": firefox(NAME),
    "GREASE everywhere": hello(NAME, b"".join(extension(kind, b"x") for kind in GREASE)),
    "five post-quantum shares": hello(NAME, key_share(*[MLKEM768] * 5)),
    # The outer name counts; the inner one is for the CA's own front.
    "ECH": hello(NAME, encrypted_client_hello(1500)),
    "records of 1": hello(NAME, size=1),
    "Chrome in records of 7": chrome(NAME, size=7),
    "as many records as there may be": padded(RECORDS_MAX, size=1),
    "three full records": hello(NAME, extension(21, bytes(40_000))),
    "as long as the limit": hello_of(LIMIT, NAME),
    # RFC 8446 section 4.2.10 and appendix D.4: more may follow at once.
    "early data behind it": hello(NAME) + record(b"\1", 20) + record(bytes(500), 23),
    "another message in its record": record(message(body(server_name(NAME))) + message(b"x", 11)),
}

# Those without one.
NAMELESS = {
    "no server name": hello(),
    "TLS 1.0 without extensions": records(message(body(None, version=0x0301))),
}

# What is no TLS handshake from its first octets on.
NOT_TLS = {
    "alert": record(b"\1\0", 21),
    "application data": record(b"GET / HTTP/1.1\r\n\r\n", 23, 0x0303),
    "ChangeCipherSpec": record(b"\1", 20),
    "heartbeat (RFC 6520)": record(b"\1\x40\0", 24),
    "SSLv2 hello": sslv2_hello(),
    "DTLS": b"\x16\xfe\xfd" + bytes(8) + hello(NAME)[3:],
    "QUIC Initial": b"\xc3\0\0\0\1\x08" + bytes(1194),
    "record version 3.5": records(message(body(server_name(NAME))), version=0x0305),
    "PROXY header of who is no load balancer": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n" + hello(NAME),
    "plain HTTP": f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode(),
    "CONNECT": f"CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n".encode(),
    "SSH": b"SSH-2.0-OpenSSH_9\r\n",
    "NULs": bytes(100),
}

CONTENT = body(server_name(NAME))
HALF, REST = record(message(CONTENT)[:9]), record(message(CONTENT)[9:])
EMPTY = record(b"")

# What begins like one.
MALFORMED = {
    "empty record first": EMPTY + hello(NAME),
    "empty record in the middle": HALF + EMPTY + REST,
    "alert in the middle": HALF + alert(0) + REST,
    "HTTP in the middle": HALF + b"GET / HTTP/1.1\r\n\r\n",
    "record longer than RFC 8446 5.1 allows": record(message(body(extension(21, bytes(17_000))))),
    "ServerHello": record(message(CONTENT, kind=2)),
    "hello of 16 MiB": record(b"\1\xff\xff\xff"),
    "an octet longer than the limit": hello_of(LIMIT + 1, NAME),
    "a record more than there may be": padded(RECORDS_MAX + 1, size=1),
    "octet behind the extensions": records(message(CONTENT + b"\0")),
    "extensions cut short": records(message(CONTENT[:-1])),
    "half a cipher suite": hello(NAME, suites=b"\x13"),
    "session id of 33": hello(NAME, session=bytes(33)),
    # RFC 6066 section 3: one name, of a host, in ASCII, without a final dot, no address; RFC 8446 section 4.2: once.
    "final dot": hello(NAME + "."),
    "empty label": hello("ca..enroll.test"),
    "port behind the name": hello(NAME + ":443"),
    "IPv4 address": hello("127.0.0.1"),
    "IPv4 address in hexadecimal": hello("0x7f000001"),
    "IPv6 address": hello("::1"),
    "IPv6 address in brackets": hello("[::1]"),
    "empty name": hello(""),
    "two names": hello(None, server_name(NAME, OTHER)),
    "the same name twice": hello(None, server_name(NAME, NAME)),
    "two extensions": hello(None, server_name(NAME) + server_name("evil.test")),
    "two extensions, the last allowed": hello(None, server_name("evil.test") + server_name(NAME)),
    "two extensions, other things between": hello(
        None, server_name(NAME) + extension(23) + extension(21, bytes(3000)) + server_name(NAME)
    ),
    "name of another type": hello(None, server_name(NAME, kind=1)),
    "empty extension, as a server sends it": hello(None, extension(0)),
    "NUL behind the name": hello(NAME + "\0.elsewhere.test"),
    "UTF-8": hello("c\u00e4.enroll.test"),
    "Latin-1": hello(b"b\xfccher.enroll.test"),
    "full-width dot": hello("ca\uff0eenroll.test"),
    "line break, for the log": hello(NAME + '\r\n{"outcome":"ok"}'),
    "underscore": hello("_ca.enroll.test"),
    "name of 300 octets": hello(".".join(["a" * 59] * 5)),
}
