"""
The SNI pass-through listener: clients that know of no proxy, whose DNS leads to us. The server name of their ClientHello
(RFC 6066 section 3) is judged as a CONNECT of it would be; the hello goes on unaltered, a refusal is an alert.
"""

import concurrent.futures
import contextlib
import socket
import threading

import pytest
from support import programs
from support.certferry import PATIENCE, NotReady
from support.client_hello import ACCESS_DENIED, DECODE_ERROR, UNRECOGNIZED_NAME, alert, chrome, hello
from support.enrolling import Device, assert_verifies
from support.est_server import EstServer
from support.fleets import wait_until
from support.hellos import MALFORMED, NAME, NAMED, NAMELESS, NOT_TLS, hellos
from support.origins import echo, pages, swallow
from support.parents import answers, field, relays_to, url
from support.pebble import Pebble
from support.raw_http import metric
from support.tunnels import Refused, open_tunnel, read_exactly, read_to_end

INTERNAL_ERROR, MISSING_EXTENSION = 80, 109


@pytest.fixture
def door(certferry, enroll_settings):
    """Factory: door(port of the origins, more settings) -> a proxy with such a listener."""

    def start(port, settings=None):
        listens = {"passthrough.listen": "127.0.0.1:0", "passthrough.port": port}
        return certferry(enroll_settings | listens | (settings or {}))

    return start


def knock(proxy, octets=b"", source=None):
    """A connection to the door that has said this."""
    there = ("127.0.0.1", proxy.doors["passthrough"])
    sock = socket.create_connection(there, PATIENCE, (source, 0) if source else None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(octets)
    return sock


def hello_number(number, name=NAME):
    """One that differs from all others, as those of real clients do."""
    return hello(name, session=number.to_bytes(32, "big"))


def told(proxy, outcome, **more):
    """The door's line of that outcome."""
    wanted = {"door": "passthrough", "class": "tunnel", "status": 0, "method": "", "outcome": outcome} | more
    return proxy.wait_log(lambda line: all(line[key] == value for key, value in wanted.items()))


def assert_refused(proxy, octets, outcome, code, **more):
    """All that the client gets is the alert and the end; the line that tells of it."""
    with knock(proxy, octets) as sock:
        assert read_to_end(sock) == alert(code)
    return told(proxy, outcome, bytes_up=0, bytes_down=7, **more)


# What passes.

@pytest.mark.parametrize("octets", NAMED.values(), ids=NAMED)
def test_passes_unaltered(octets, door, origin):
    server = origin(echo)
    proxy = door(server.port)
    with knock(proxy, octets) as sock:
        assert read_exactly(sock, len(octets)) == octets
        sock.sendall(b"more")
        assert read_exactly(sock, 4) == b"more"
    assert bytes(server.wait_done().received) == octets + b"more"
    line = told(proxy, "ok", host=NAME, sni=NAME, port=server.port, address="127.0.0.1")
    assert line["bytes_up"] == line["bytes_down"] == len(octets) + 4
    assert hellos(proxy) == {"named": 1}


@pytest.mark.parametrize("octets", [hello(NAME), hello(NAME, size=1)], ids=["one record", "records of one octet"])
def test_octet_by_octet(octets, door, origin):
    server = origin(echo)
    proxy = door(server.port)
    with knock(proxy) as sock:
        for octet in octets:
            sock.sendall(bytes([octet]))
        assert read_exactly(sock, len(octets)) == octets


def test_origin_that_speaks_first_is_heard_only_behind_the_hello(door, origin):
    """Nothing is dialled, and nothing is written to the client, before its ClientHello is whole."""

    def greet(connection):
        connection.send(b"early")
        echo(connection)

    server = origin(greet)
    proxy, octets = door(server.port, {"threads": 1}), chrome(NAME)
    with knock(proxy, octets[:-1]) as sock:
        assert hellos(proxy) == {} and server.connections() == []
        sock.sendall(octets[-1:])
        assert read_exactly(sock, 5 + len(octets)) == b"early" + octets


@pytest.mark.parametrize("flags", [0, socket.MSG_MORE], ids=["apart", "in one segment"])
def test_client_that_has_said_all_with_its_hello(flags, door, origin):
    """Its FIN goes on behind the hello, and the answer still comes back."""

    def answer_at_the_end(connection):
        connection.send(b"%d octets" % len(connection.read_to_end()))

    server = origin(answer_at_the_end)
    proxy, octets = door(server.port), hello(NAME)
    with knock(proxy) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        assert sock.send(octets, flags) == len(octets)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b"%d octets" % len(octets)
    told(proxy, "ok", bytes_up=len(octets))


def test_international_name(door, origin, dns):
    server, name = origin(echo), "xn--bcher-kva.enroll.test"
    proxy, octets = door(server.port), hello("XN--Bcher-KVA.enroll.test")
    with knock(proxy, octets) as sock:
        assert read_exactly(sock, len(octets)) == octets
    told(proxy, "ok", host=name)
    assert dns.count(name) > 0


# What does not: (octets, outcome, alert, result in the metrics).

STRANGERS = {
    "a name that is not allowed": "ca.example",
    "one that only begins so": NAME + ".evil.test",
    "one that only ends so": "evil-enroll.test",
    "localhost": "localhost",
}
BAD = {what: (octets, "sni-missing", MISSING_EXTENSION, "missing") for what, octets in NAMELESS.items()}
BAD |= {what: (hello(name), "host-denied", UNRECOGNIZED_NAME, None) for what, name in STRANGERS.items()}
BAD |= {what: (octets, "hello-not-tls", DECODE_ERROR, "not-tls") for what, octets in NOT_TLS.items()}
BAD |= {what: (octets, "hello-malformed", DECODE_ERROR, "malformed") for what, octets in MALFORMED.items()}


@pytest.mark.parametrize("octets, outcome, code, result", BAD.values(), ids=BAD)
def test_refused(octets, outcome, code, result, door, origin, dns):
    """Nothing is looked up, nothing dialled."""
    server = origin(swallow)
    proxy = door(server.port)
    line = assert_refused(proxy, octets, outcome, code)
    assert line["address"] == "" and line["dns_ms"] is None
    assert hellos(proxy) == ({result: 1} if result else {})
    assert server.connections() == [] and not dns.queries


def test_what_lies_behind_the_policy(door, origin, dns):
    """The same ends as of a CONNECT, each with its alert."""
    server = origin(swallow)
    dns.names |= {"none.enroll.test": [], "broken.enroll.test": ["127.0.0.1"], "inner.enroll.test": ["10.0.0.1"]}
    dns.modes["broken.enroll.test"] = "servfail"
    del dns.names["*.enroll.test"]
    proxy = door(server.port)
    assert_refused(proxy, hello("gone.enroll.test"), "dns-not-found", UNRECOGNIZED_NAME)
    assert_refused(proxy, hello("broken.enroll.test"), "dns-failed", INTERNAL_ERROR)
    line = assert_refused(proxy, hello("inner.enroll.test"), "address-denied", ACCESS_DENIED)
    assert "10.0.0.1" in line["detail"]
    assert server.connections() == []


def test_origin_that_refuses(door, origin, dns):
    """A connection that cannot be made is our trouble for the client: it may try again."""
    server = origin(swallow)
    server.close()
    proxy = door(server.port)
    assert_refused(proxy, hello(NAME), "connect-refused", INTERNAL_ERROR)


def test_refused_ones_do_not_wait_for_others(door, dns):
    """While look-ups hang, and their clients with them, a hundred refusals are as quick as ever."""
    dns.modes[NAME] = "silence"
    proxy = door(443, {"threads": 1, "resolver.timeout": "14s", "timeout.connect": "15s"})
    waiting = [knock(proxy, hello_number(number)) for number in range(20)]
    dns.wait_asked(NAME)
    for _ in range(100):
        with knock(proxy, hello("evil.test")) as sock:
            assert read_to_end(sock) == alert(UNRECOGNIZED_NAME)
    assert metric(proxy, "exchanges_total", **{"class": "tunnel", "outcome": "host-denied"}) == 100
    assert metric(proxy, "exchanges_total", **{"class": "tunnel", "outcome": "dns-timeout"}) == 0
    for sock in waiting:
        sock.close()


# Who may come in, and for how long without a word.


def test_clients_of_the_door_alone(door, origin):
    server = origin(echo)
    proxy = door(server.port, {"passthrough.clients.allow": "127.0.0.2"})
    with knock(proxy, hello(NAME)) as sock:
        assert read_to_end(sock) == alert(ACCESS_DENIED)
    told(proxy, "client-denied", client="127.0.0.1")
    with knock(proxy, hello(NAME), source="127.0.0.2") as sock:
        assert read_exactly(sock, len(hello(NAME))) == hello(NAME)
    with open_tunnel(proxy, NAME, server.port):
        pass  # the proxy's own port has its own rule
    proxy.reload({"passthrough.clients.allow": "127.0.0.1"})
    until(proxy, hello(NAME)[:5])


def test_clients_are_judged_when_they_speak(door, origin):
    """Who was let in and is shut out before its hello is whole goes nowhere."""
    proxy = door(origin(echo).port, {"threads": 1})
    with knock(proxy) as silent, knock(proxy, hello(NAME)[:-1]) as slow:
        proxy.reload({"passthrough.clients.allow": "127.0.0.2"})
        until(proxy, alert(ACCESS_DENIED))
        silent.sendall(hello(NAME))
        slow.sendall(hello(NAME)[-1:])
        assert read_to_end(silent) == read_to_end(slow) == alert(ACCESS_DENIED)


def until(proxy, answer):
    """Workers take a new configuration a moment after the line that tells of it."""
    for number in range(1000):
        with knock(proxy, hello_number(number)) as sock:
            if sock.recv(len(answer)) == answer:
                return
    raise AssertionError(f"{answer} never came")


def test_clients_as_elsewhere_when_the_door_says_nothing(door, origin):
    proxy = door(origin(echo).port, {"clients.allow": "127.0.0.2"})
    with knock(proxy, hello(NAME)) as sock:
        assert read_to_end(sock) == alert(ACCESS_DENIED)
    with knock(proxy, hello(NAME), source="127.0.0.2") as sock:
        assert read_exactly(sock, 1) == hello(NAME)[:1]


def test_limit_of_connections(door, origin):
    """Who is too many is told so with an alert, and takes no place."""
    server = origin(echo)
    proxy = door(server.port, {"limit.connections": 2, "limit.connections.per.client": 0})
    with knock(proxy, hello(NAME)) as one, knock(proxy, chrome(NAME)) as two:
        assert read_exactly(one, 1) and read_exactly(two, 1)
        with knock(proxy, hello("x." + NAME)) as third:
            assert read_to_end(third) == alert(INTERNAL_ERROR)
    told(proxy, "connections-limit")


def test_half_a_hello(door):
    """Its client is told, and it is logged; who says nothing at all is no event."""
    proxy = door(443, {"timeout.tunnel.hello": "300ms"})
    with knock(proxy) as silent, knock(proxy, hello(NAME)[:-1]) as slow:
        assert read_to_end(slow) == alert(INTERNAL_ERROR)
        assert read_to_end(silent) == b""
    told(proxy, "hello-timeout", bytes_down=7)
    assert hellos(proxy) == {"timeout": 1}
    assert len([line for line in proxy.log() if line["door"] == "passthrough"]) == 1


@pytest.mark.parametrize("sni", ["strict", "off"])
def test_client_that_leaves_within_its_hello(door, sni):
    proxy = door(443, {"timeout.tunnel.hello": "10m", "tunnel.sni": sni})  # its end is seen, not waited for
    with knock(proxy, hello(NAME)[:20]) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    told(proxy, "client-left")
    with knock(proxy) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b""
    assert hellos(proxy) == {}
    assert len([line for line in proxy.log() if line["door"] == "passthrough"]) == 1


def test_behind_a_load_balancer(door, origin):
    """Its PROXY header comes first, perhaps in one piece with the hello, and does not go on."""
    server = origin(echo)
    header = b"PROXY TCP4 10.1.2.3 192.0.2.1 4711 443\r\n"
    proxy = door(server.port, {"proxy.protocol.from": "127.0.0.0/8", "clients.allow": "10.0.0.0/8"})
    for number, cuts in enumerate(([], [len(header)], [5, len(header) + 7]), start=1):
        octets = hello_number(number)
        whole, at = header + octets, 0
        with knock(proxy) as sock:
            for cut in [*cuts, len(whole)]:
                sock.sendall(whole[at:cut])
                at = cut
            assert read_exactly(sock, len(octets)) == octets
        assert bytes(server.wait_done(number).received) == octets
    told(proxy, "ok", client="10.1.2.3")


def test_no_password_is_asked_for(door, origin, home):
    """There is no word for one in TLS: whoever turns this door on lets its clients in by their address."""
    users = home / "users"
    done = programs.run(home, "htpasswd", "-b", "-c", "-B", "-C", "4", users, "device", "secret")
    assert done.returncode == 0, programs.told(done)
    users.chmod(0o600)
    server = origin(echo)
    proxy = door(server.port, {"auth.file": users, "service.user": "root"})  # who may search that directory
    with pytest.raises(Refused) as refused:
        open_tunnel(proxy, NAME, server.port)
    assert refused.value.status == 407
    with knock(proxy, hello(NAME)) as sock:
        assert read_exactly(sock, len(hello(NAME))) == hello(NAME)


# Names that lead back to us.


def assert_loop_ends(proxies, connections):
    """The client hears of it, and each proxy accepted so many connections, no more."""
    number = 0
    while metric(proxies[0], "exchanges_total", **{"class": "tunnel", "outcome": "proxy-loop"}) == 0:
        with knock(proxies[0], hello_number(number)) as sock:  # until the reload is in force
            assert read_to_end(sock) == alert(INTERNAL_ERROR)
        number += 1
    before = [metric(proxy, "client_connections_total") for proxy in proxies]
    with knock(proxies[0], chrome(NAME)) as sock:
        assert read_to_end(sock) == alert(INTERNAL_ERROR)
    line = told(proxies[0], "proxy-loop")
    assert "leads back to us" in line["detail"]
    after = [metric(proxy, "client_connections_total") - 1 for proxy in proxies]  # this one asks itself
    assert [now - then for now, then in zip(after, before)] == connections


def test_name_that_leads_to_the_door_itself(door):
    proxy = door(1, {"threads": 1})
    proxy.reload({"passthrough.port": proxy.doors["passthrough"]})
    assert_loop_ends([proxy], [2])


def test_name_that_leads_in_a_circle(door):
    """Two certferrys whose DNS names each other."""
    one = door(1, {"threads": 1})
    other = door(one.doors["passthrough"])
    one.reload({"passthrough.port": other.doors["passthrough"]})
    assert_loop_ends([one, other], [2, 1])


def test_name_that_leads_back_through_a_parent(door, origin):
    """The parent opens the tunnel to our own door: no Via field can tell, but the hello does."""
    proxy = None

    def back_to_us(connection):
        connection.read_until()
        with socket.create_connection(("127.0.0.1", proxy.doors["passthrough"])) as up:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            data = connection.recv()
            up.sendall(data)
            connection.send(read_to_end(up))

    parent = origin(back_to_us)
    proxy = door(443, {"upstream.proxies": url(parent)})
    with knock(proxy, hello(NAME)) as sock:
        assert read_to_end(sock) == alert(INTERNAL_ERROR)
    told(proxy, "proxy-loop")
    assert len(parent.connections()) == 1


def test_the_same_hello_may_come_again_later(door, origin):
    """Old devices say the same each time; only at the same time it is a loop."""
    server = origin(echo)
    proxy = door(server.port)
    for times in range(1, 4):
        with knock(proxy, hello(NAME)) as sock:
            assert read_exactly(sock, len(hello(NAME))) == hello(NAME)
        wait_until(lambda n=times: metric(proxy, "tunnels_closed_total") == n, "the tunnel never ends")


def test_the_same_hello_of_two_connections(door, origin):
    """A device without chance has two tunnels, or comes back while its first one hangs: once answered it is no loop."""
    server, octets = origin(echo), hello(NAME)
    proxy = door(server.port, {"threads": 1})  # the answer is out before it is noted
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(knock(proxy, octets))
            assert read_exactly(sock, len(octets)) == octets
    assert metric(proxy, "exchanges_total", **{"class": "tunnel", "outcome": "proxy-loop"}) == 0


@pytest.mark.parametrize("parents", [0, 2])
def test_the_same_hello_while_the_first_is_unanswered(parents, door, origin):
    """It is refused until the host answers the first, or that one is given up: no longer."""
    answered, octets = threading.Event(), hello(NAME)

    def answer_at_last(connection):
        connection.read_exactly(len(octets))
        answered.wait(PATIENCE)
        connection.send(b"at last")
        connection.read_to_end()

    server = origin(answer_at_last)
    relays = [origin(relays_to(server)) for _ in range(parents)]  # with a second to ask, the hello is kept
    proxy = door(server.port, {"threads": 1, "upstream.proxies": ",".join(map(url, relays))})
    with knock(proxy, octets) as first:
        server.wait_connection()
        with knock(proxy, octets) as second:
            assert read_to_end(second) == alert(INTERNAL_ERROR)
        assert "another connection" in told(proxy, "proxy-loop")["detail"]
        answered.set()
        assert read_exactly(first, 7) == b"at last"
        with knock(proxy, octets) as third:
            assert read_exactly(third, 7) == b"at last"


def test_the_same_hello_when_the_first_was_given_up(door, origin):
    """Its client has gone unanswered: after timeout.tunnel.halfclosed at the latest it may come again."""
    server, octets = origin(swallow), hello(NAME)
    proxy = door(server.port, {"timeout.tunnel.halfclosed": "100ms"})
    for number in (1, 2):
        with knock(proxy, octets):
            server.wait_connection(number)
        wait_until(lambda n=number: metric(proxy, "tunnels_closed_total") == n, "the first tunnel never ends")
    assert metric(proxy, "exchanges_total", **{"class": "tunnel", "outcome": "proxy-loop"}) == 0


# Through parent proxies.


def test_through_a_parent(door, origin, dns):
    """It gets a CONNECT of ours, and behind its 200 the hello, unaltered; the name is its own to look up."""
    server, octets = origin(echo), chrome(NAME)
    parent = origin(relays_to(server))
    proxy = door(443, {"upstream.proxies": url(parent)})
    with knock(proxy, octets) as sock:
        assert read_exactly(sock, len(octets)) == octets
    head = parent.wait_connection().head
    assert head.startswith(b"CONNECT ca.enroll.test:443 HTTP/1.1\r\nHost: ca.enroll.test:443\r\n")
    assert field(head, "Via")
    assert bytes(server.wait_done().received) == octets
    assert told(proxy, "ok", host=NAME)["parent"].endswith(str(parent.port))
    assert dns.count(NAME) == 0


def test_parent_that_refuses(door, origin):
    parent = origin(answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
    proxy = door(443, {"upstream.proxies": url(parent)})
    assert_refused(proxy, hello(NAME), "parent-denied", ACCESS_DENIED)


def test_parent_that_is_away(door, origin):
    gone = origin(swallow)
    gone.close()
    proxy = door(443, {"upstream.proxies": url(gone)})
    assert_refused(proxy, hello(NAME), "parent-unreachable", INTERNAL_ERROR)


def test_next_parent(door, origin):
    """The first is away, the second breaks off with the hello in its hands, the third brings it on."""
    server, octets = origin(echo), chrome(NAME)

    def take_and_reset(connection):
        connection.head = connection.read_until()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        assert connection.recv()
        connection.reset()

    away = origin(swallow)
    away.close()
    breaking, good = origin(take_and_reset), origin(relays_to(server))
    proxy = door(443, {"upstream.proxies": ",".join(map(url, (away, breaking, good)))})
    with knock(proxy, octets) as sock:
        assert read_exactly(sock, len(octets)) == octets
    assert bytes(server.wait_done().received) == octets
    assert told(proxy, "ok")["parent"].endswith(str(good.port))


def test_parents_that_all_fail_after_the_hello(door, origin):
    """No word of theirs has reached the client, so it still gets its alert."""

    def take_and_leave(connection):
        connection.read_until()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv()
        connection.reset()

    first = origin(take_and_leave)
    last = origin(answers(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))
    proxy = door(443, {"upstream.proxies": f"{url(first)},{url(last)}"})
    with knock(proxy, chrome(NAME)) as sock:
        assert read_to_end(sock) == alert(INTERNAL_ERROR)
    told(proxy, "parent-busy")


# Its configuration.


def test_reload_of_the_policy(door, origin):
    """Open tunnels stay; who comes later, or is not judged yet, meets the new rules."""
    server = origin(echo)
    proxy = door(server.port)
    other = hello("x." + NAME)
    with knock(proxy, chrome(NAME)) as inside, knock(proxy, other[:-1]) as waiting:
        assert read_exactly(inside, len(chrome(NAME))) == chrome(NAME)
        proxy.reload({"allowed.domains": "elsewhere.test"})
        until(proxy, alert(UNRECOGNIZED_NAME))
        waiting.sendall(other[-1:])
        assert waiting.recv(7) in (alert(UNRECOGNIZED_NAME), other[:7])  # its worker may be the later one
        inside.sendall(b"more")
        assert read_exactly(inside, 4) == b"more"


def test_port_that_nobody_may_reach(certferry, enroll_settings):
    closed = {"passthrough.listen": "127.0.0.1:0", "allowed.connect.ports": "8443"}
    with pytest.raises(NotReady) as refused:
        certferry(enroll_settings | closed)
    assert "passthrough.port" in str(refused.value) and "not in allowed.connect.ports" in str(refused.value)


def test_port_that_a_role_may_reach(certferry, enroll_settings, origin):
    server = origin(echo)
    opened = {"passthrough.listen": "127.0.0.1:0", "passthrough.port": server.port, "allowed.connect.ports": "443"}
    roles = f"devices.allowed.connect.ports={server.port}\n"
    proxy = certferry(enroll_settings | opened | {"passthrough.role": "devices"}, roles=roles)
    with knock(proxy, hello(NAME)) as sock:
        assert read_exactly(sock, len(hello(NAME))) == hello(NAME)


def test_queue(door, origin):
    """One connection to a host at a time: the second waits for its turn, as a CONNECT would."""
    server = origin(echo)
    proxy = door(server.port, {"limit.upstream.per.host": 1, "queue.timeout": "10s"})
    with knock(proxy, hello(NAME)) as first:
        assert read_exactly(first, len(hello(NAME)))
        second = knock(proxy, chrome(NAME))
        wait_until(lambda: metric(proxy, "queue_entered_total") == 1, "nobody waits")
        assert len(server.connections()) == 1
    with second:
        assert read_exactly(second, len(chrome(NAME))) == chrome(NAME)


def test_draining(door, origin):
    """Who has said nothing yet goes; tunnels may end in their own time."""
    server = origin(echo)
    proxy = door(server.port, {"drain.grace": "20s"})
    with knock(proxy) as silent, knock(proxy, hello(NAME)) as inside:
        assert read_exactly(inside, len(hello(NAME)))
        proxy.terminate()
        assert read_to_end(silent) == b""
        inside.sendall(b"more")
        assert read_exactly(inside, 4) == b"more"
    assert proxy.stop() == 0


# Real clients.


def test_a_hundred_at_once(door, origin, authority):
    """Each in TLS from end to end with the origin's own certificate."""
    server = origin(echo, certificate=authority.server(NAME))
    proxy = door(server.port)
    context, together = authority.client_context(), threading.Barrier(100)

    def talk(number):
        with knock(proxy) as sock, context.wrap_socket(sock, server_hostname=NAME) as inside:
            together.wait(60)
            inside.sendall(b"%03d" % number)
            return read_exactly(inside, 3) == b"%03d" % number

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        assert all(pool.map(talk, range(100)))
    assert hellos(proxy) == {"named": 100}


@pytest.mark.parametrize("way", ["--connect-to", "--resolve"])
def test_curl(way, door, authority, http_origin, home):
    """Its DNS is pointed at us: no proxy variable, no proxy option."""
    server = http_origin(pages({"/page": b"page\n"}), certificate=authority.server(NAME))
    proxy = door(server.port)
    there, port = "127.0.0.1", proxy.doors["passthrough"]
    if way == "--connect-to":
        how = (way, f"{NAME}:443:{there}:{port}", f"https://{NAME}/page")
    else:
        how = (way, f"{NAME}:{port}:{there}", f"https://{NAME}:{port}/page")
    common = ("curl", "--disable", "--silent", "--show-error", "--cacert", authority.root.cert)
    done = programs.run(home, *common, *how)
    assert done.stdout == b"page\n", programs.told(done)
    denied = (arg.replace(NAME, "evil.test") for arg in how)
    done = programs.run(home, *common, *denied)
    assert done.returncode == 35 and "unrecognized name" in programs.told(done), programs.told(done)


# What openssl prints of each.
ALERTS = {
    "unrecognized name": (("-servername", "evil.test"), {}),
    "alert missing extension": (("-noservername",), {}),
    "alert access denied": (("-servername", NAME), {"clients.allow": "10.0.0.0/8"}),
    "alert internal error": (("-servername", NAME), {"upstream.proxies": "http://127.0.0.1:1"}),
}


@pytest.mark.parametrize("words, how", ALERTS.items(), ids=ALERTS)
def test_openssl_prints_the_alert(words, how, door, home):
    proxy = door(443, how[1])
    done = programs.run(home, "openssl", "s_client", "-connect", f"127.0.0.1:{proxy.doors['passthrough']}", *how[0])
    assert done.returncode != 0 and words in programs.told(done), programs.told(done)


@pytest.fixture
def localhost(enroll_settings, dns):
    """Settings for real clients that resolve by themselves: the one name that every machine points at itself."""
    dns.names["localhost"] = ["127.0.0.1"]
    return {"allowed.domains": "", "allowed.hosts": "localhost"}


def test_curl_enrolls_by_est(door, localhost, authority, home):
    device = Device(home)
    with EstServer(authority, "localhost") as est:
        proxy = door(est.port, localhost)
        where = f"https://localhost:{proxy.doors['passthrough']}/.well-known/est/simpleenroll"
        request = ("--user", "device:first-password", "--data-binary", f"@{device.request_base64}")
        kind = ("--header", "Content-Type: application/pkcs10")
        common = ("curl", "--disable", "-sS", "--fail", "--cacert", authority.root.cert)
        done = programs.run(home, *common, *kind, *request, where)
        assert done.returncode == 0, programs.told(done)
        assert_verifies(home, authority.root.cert, device.keep(done.stdout), "CN=device1")
    line = proxy.wait_log(lambda line: line["class"] == "tunnel")
    assert (line["door"], line["sni"]) == ("passthrough", "localhost")


def test_strongswan_enrolls_by_est(door, localhost, authority, home):
    """pki --est has no proxy support at all: this door is for such clients."""
    device = Device(home)
    with EstServer(authority, "localhost", line_breaks=False) as est:
        proxy = door(est.port, localhost)
        where = f"https://localhost:{proxy.doors['passthrough']}"
        request = ("--in", device.request, "--userpass", "device:first-password", "--cacert", authority.root.cert)
        done = programs.run(home, "pki", "--est", "--url", where, *request, "--outform", "pem")
        assert done.returncode == 0, programs.told(done)
    (home / "enrolled.pem").write_bytes(done.stdout)
    assert_verifies(home, authority.root.cert, home / "enrolled.pem", "CN=device1")
    assert proxy.wait_log(lambda line: line["class"] == "tunnel")["sni"] == "localhost"


def test_lego_enrolls_by_acme(door, localhost, authority, home, tmp_path):
    """Every URL that the CA's directory names leads through the door as well."""
    with Pebble(tmp_path / "pebble", authority, "localhost") as pebble:
        proxy = door(pebble.port, localhost)
        server = f"https://localhost:{proxy.doors['passthrough']}/dir"
        account = ("--accept-tos", "--email", "operator@enroll.test", "--path", home / "lego")
        proof = ("--domains", "device1.enroll.test", "--http", "--http.port", "127.0.0.1:0")
        trust = {"LEGO_CA_CERTIFICATES": authority.root.cert}
        done = programs.run(home, "lego", "--server", server, *account, *proof, "run", **trust)
        assert done.returncode == 0, programs.told(done)
        made = home / "lego/certificates/device1.enroll.test.crt"
        assert pebble.verifies(made, made, "device1.enroll.test").returncode == 0
    assert proxy.wait_log(lambda line: line["class"] == "tunnel")["sni"] == "localhost"
    assert {line["door"] for line in proxy.log()} == {"passthrough"}
