"""ClientHellos written octet by octet (RFC 8446 section 4.1.2), right and wrong: what the gate of tunnels must judge."""

import random

HANDSHAKE, ALERT = 22, 21
DECODE_ERROR, ACCESS_DENIED, UNRECOGNIZED_NAME = 50, 49, 112
RANDOM = bytes(range(32))


def number(value, octets):
    return value.to_bytes(octets, "big")


def vector(data, octets):
    """`data` behind its length (RFC 8446 section 3.4)."""
    return number(len(data), octets) + data


def extension(kind, data=b""):
    return number(kind, 2) + vector(data, 2)


def octets(name):
    return name.encode() if isinstance(name, str) else name


def server_name(*names, kind=0):
    """RFC 6066 section 3; more than one name is more than it allows."""
    return extension(0, vector(b"".join(number(kind, 1) + vector(octets(name), 2) for name in names), 2))


def body(extensions=b"", version=0x0303, session=RANDOM, suites=b"\x13\x01\x13\x02\xc0\x2f", compression=b"\0"):
    """`extensions` None: not even their length, as before TLS 1.2 (RFC 5246 section 7.4.1.2)."""
    start = number(version, 2) + RANDOM + vector(session, 1) + vector(suites, 2) + vector(compression, 1)
    return start if extensions is None else start + vector(extensions, 2)


def message(content, kind=1):
    return number(kind, 1) + vector(content, 3)


def record(data, kind=HANDSHAKE, version=0x0301):
    return number(kind, 1) + number(version, 2) + vector(data, 2)


def records(data, size=16384, version=0x0301):
    return b"".join(record(data[at : at + size], version=version) for at in range(0, len(data), size))


def hello(name=None, extensions=b"", size=16384, **more):
    """A whole ClientHello in records of `size`; the server name, if one is given, stands first."""
    named = server_name(name) if name is not None else b""
    return records(message(body(named + extensions, **more)), size)


def hello_of(total, name):
    """A ClientHello that takes `total` octets on the wire, records and all, by its padding (RFC 7685)."""
    for guess in range(total - 400, total):
        made = hello(name, extension(21, bytes(guess)))
        if len(made) == total:
            return made
    raise ValueError(f"no hello has {total} octets")


# RFC 8701: values that mean nothing, in places where something new may stand.
GREASE = [0x0A0A + 0x1010 * number for number in range(16)]
X25519, P256, MLKEM768 = 0x001D, 0x0017, 0x11EC  # the last is X25519MLKEM768
KEY_OCTETS = {X25519: 32, P256: 65, MLKEM768: 1216}


def key_share(*groups):
    """Of public keys that are none; a GREASE group's is one octet."""
    shares = b"".join(number(group, 2) + vector(bytes(KEY_OCTETS.get(group, 1)), 2) for group in groups)
    return extension(51, vector(shares, 2))


def groups(*wanted):
    return extension(10, vector(b"".join(number(group, 2) for group in wanted), 2))


def alpn(*protocols):
    return extension(16, vector(b"".join(vector(name.encode(), 1) for name in protocols), 2))


def encrypted_client_hello(size=208):
    """RFC 9849's outer form; what a client without ECH sends as GREASE looks the same."""
    payload = random.Random(size).randbytes(size)
    return extension(0xFE0D, b"\0" + b"\0\x01\0\x01" + b"\x2a" + vector(bytes(32), 2) + vector(payload, 2))


def chrome(name, size=16384):
    """
    As Chrome sends it: GREASE suite, group, key share, version and two GREASE extensions; a post-quantum share, so that
    it is longer than a segment; ECH or its GREASE; the extensions in an order of its own each time.
    """
    first, last = extension(GREASE[2]), extension(GREASE[9], b"\0")
    middle = [
        server_name(name),
        extension(23),
        extension(0xFF01, b"\0"),
        groups(GREASE[4], MLKEM768, X25519, P256),
        extension(11, b"\x01\0"),
        extension(35),
        alpn("h2", "http/1.1"),
        extension(5, b"\x01\0\0\0\0"),
        extension(13, vector(bytes.fromhex("04030804040105030805050108060601"), 2)),
        extension(18),
        key_share(GREASE[4], MLKEM768, X25519),
        extension(45, b"\x01\x01"),
        extension(43, vector(number(GREASE[7], 2) + b"\x03\x04\x03\x03", 1)),
        extension(27, b"\x02\0\x02"),
        extension(17613, vector(vector(b"h2", 1), 2)),
        encrypted_client_hello(),
    ]
    random.Random(7).shuffle(middle)
    suites = number(GREASE[0], 2) + bytes.fromhex("130113021303c02bc02fc02cc030cca9cca8c013c014009c009d002f0035")
    return records(message(body(first + b"".join(middle) + last, suites=suites)), size)


def firefox(name):
    """Two shares of keys, a record size limit (RFC 8449), delegated credentials, ECH GREASE, no GREASE of RFC 8701."""
    extensions = [
        server_name(name),
        extension(23),
        groups(MLKEM768, X25519, P256, 0x18, 0x19, 0x100, 0x101),
        alpn("h2", "http/1.1"),
        extension(34, vector(b"\x04\x03\x05\x03\x06\x03\x02\x03", 2)),
        key_share(MLKEM768, X25519, P256),
        extension(43, b"\x04\x03\x04\x03\x03"),
        extension(28, b"\x40\x01"),
        encrypted_client_hello(239),
    ]
    return records(message(body(b"".join(extensions))))


def sslv2_hello():
    """RFC 5246 appendix E.2: the old form, which has no room for a server name."""
    content = b"\x01\x03\x01" + number(6, 2) + number(0, 2) + number(16, 2) + b"\x01\0\x80\0\0\x2f" + bytes(16)
    return number(0x8000 | len(content), 2) + content


def alert(code):
    """What a refused client gets: fatal, and nothing before or behind it."""
    return bytes([ALERT, 3, 3, 0, 2, 2, code])
