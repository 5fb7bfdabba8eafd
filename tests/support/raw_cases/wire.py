"""
A strict reader of HTTP/1.1, for what an origin and a client got: RFC 9112 without one leniency, written apart from
the proxy's own parser. What it cannot read in exactly one way is a Fault.
"""

import re
from dataclasses import dataclass

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/(1\.[01])" % TOKEN)
FIELD = re.compile(rb"(%b):[ \t]*([\t\x20-\x7e\x80-\xff]*)" % TOKEN)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[ \t]*[\t\x20-\x7e]+)*)")


class Fault(Exception):
    """Octets that no strict reader takes."""


@dataclass
class Request:
    method: str
    target: str
    version: str
    fields: list  # (name, value) as they came
    body: bytes = b""
    trailers: tuple = ()

    def values(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]


def parse_request(data):
    """(request, rest), or None if more is to come."""
    check_line_ends(data.partition(b"\r\n\r\n")[0])
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    line, *lines = data[:end].split(b"\r\n")
    found = REQUEST_LINE.fullmatch(line)
    if not found:
        raise Fault(f"request line {line[:80]!r}")
    fields = [parse_field(text) for text in lines]
    request = Request(found[1].decode(), found[2].decode(), found[3].decode(), fields)
    if request.version == "1.1" and len(request.values("Host")) != 1:
        raise Fault(f"{len(request.values('Host'))} Host fields")
    return read_body(request, data[end + 4 :])


def check_line_ends(head):
    """Before the head is whole: a bare CR, LF or NUL may keep it from ever looking whole."""
    if re.search(rb"\r(?![\n])(?=.)|(?<!\r)\n|\0", head, re.DOTALL):
        raise Fault(f"bare CR, LF or NUL in {head[-80:]!r}")


def parse_field(text):
    found = FIELD.fullmatch(text)
    if not found:
        raise Fault(f"field line {text[:80]!r}")
    return found[1].decode(), found[2].decode("latin-1").strip(" \t")


def read_body(request, rest):
    lengths, codings = request.values("Content-Length"), request.values("Transfer-Encoding")
    if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
        raise Fault(f"framing of {lengths} and {codings}")
    if codings:
        if codings[0].lower() != "chunked" or request.version == "1.0":
            raise Fault(f"Transfer-Encoding {codings[0]!r} in HTTP/{request.version}")
        return read_chunks(request, rest)
    if lengths and not re.fullmatch("[0-9]{1,18}", lengths[0]):
        raise Fault(f"Content-Length {lengths[0]!r}")
    length = int(lengths[0]) if lengths else 0
    if len(rest) < length:
        return None
    request.body = rest[:length]
    return request, rest[length:]


def read_chunks(request, rest):
    body, trailers = b"", []
    while True:
        line, mark, rest = rest.partition(b"\r\n")
        check_line_ends(line)
        if not mark:
            return None
        found = CHUNK_LINE.fullmatch(line)
        if not found:
            raise Fault(f"chunk-size line {line[:60]!r}")
        size = int(found[1], 16)
        if size == 0:
            break
        if len(rest) < size + 2:
            return None
        if rest[size : size + 2] != b"\r\n":
            raise Fault("chunk data without CRLF behind it")
        body, rest = body + rest[:size], rest[size + 2 :]
    while True:
        line, mark, rest = rest.partition(b"\r\n")
        if not mark:
            return None
        if not line:
            request.body, request.trailers = body, tuple(trailers)
            return request, rest
        trailers.append(parse_field(line))


STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")


@dataclass
class Response:
    status: int
    version: str
    fields: list
    body: bytes = b""
    interim: tuple = ()  # statuses of the 1xx before it
    complete: bool = True  # False: the connection ended before its framing said so
    trailers: tuple = ()

    def values(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]


def parse_responses(data, methods, ended):
    """
    The final responses to requests with these methods (GET, if there are more), the octets left, and the Fault that
    stopped the reading, or None. `ended`: "fin" or "reset" if nothing more will come, so that what is there may be cut
    short.
    """
    responses = []
    try:
        while data:
            method = methods[len(responses)] if len(responses) < len(methods) else "GET"
            found = parse_response(data, method, ended)
            if found is None:
                break
            response, data = found
            responses.append(response)
    except Fault as fault:
        return responses, data, fault
    return responses, data, None


def parse_response(data, method, ended):
    """(response, rest), or None if more is to come."""
    interim = []
    while True:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if ended:
                raise Fault(f"the connection ended in the head {data[-80:]!r}")
            return None
        response, data = parse_response_head(data[:end]), data[end + 4 :]
        if response.status >= 200 or response.status == 101:
            break
        interim.append(response.status)
        if not data:
            return None
    response.interim = tuple(interim)
    return read_response_body(response, data, method, ended)


def parse_response_head(head):
    check_line_ends(head)
    line, *lines = head.split(b"\r\n")
    found = STATUS_LINE.fullmatch(line)
    if not found:
        raise Fault(f"status line {line[:80]!r}")
    return Response(int(found[2]), found[1].decode(), [parse_field(text) for text in lines])


def read_response_body(response, data, method, ended):
    if method == "HEAD" or response.status in (101, 204, 304) or (method == "CONNECT" and response.status < 300):
        return response, data
    lengths, codings = response.values("Content-Length"), response.values("Transfer-Encoding")
    if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
        raise Fault(f"framing of {lengths} and {codings} in a response")
    if codings:
        return read_chunked_response(response, data, codings[0], ended)
    if not lengths:
        response.body = data
        response.complete = ended != "reset"  # only so can it be told
        return (response, b"") if ended else None
    if not re.fullmatch("[0-9]{1,18}", lengths[0]):
        raise Fault(f"Content-Length {lengths[0]!r} in a response")
    length = int(lengths[0])
    response.body = data[:length]
    response.complete = len(data) >= length
    return (response, data[length:]) if response.complete or ended else None


def read_chunked_response(response, data, coding, ended):
    if coding.lower() != "chunked" or response.version == "1.0":
        raise Fault(f"Transfer-Encoding {coding!r} in an HTTP/{response.version} response")
    found = read_chunks(Request("", "", "1.1", []), data)
    if found is not None:
        response.body, response.trailers = found[0].body, found[0].trailers
        return response, found[1]
    response.complete = False
    return (response, b"") if ended else None
