"""`certferry peers`: what it prints of a good roster, and what it says of a bad one."""

import datetime
import json
import re
import subprocess

import pacparser
import pytest
from support import programs
from support.certferry import BINARY
from support.daemons import unused_port
from support.origins import reply, swallow
from support.pki import openssl
from support.raw_http import Client

FAULT = 99


def peers(home, *arguments, **how):
    """(status, standard output, standard error)"""
    variables = programs.sanitizer_options(FAULT)
    done = programs.run(home, BINARY, "peers", *arguments, **(variables | how))
    assert done.returncode in (0, 1, 2), programs.told(done)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def printed(home, *arguments, **how):
    status, out, err = peers(home, *arguments, **how)
    assert status == 0 and err == "", (status, out, err)
    return out


def refused(home, *arguments, status=1, **how):
    """What it says on standard error; on standard output is nothing."""
    found, out, err = peers(home, *arguments, **how)
    assert (found, out) == (status, ""), (found, out, err)
    assert err and all(line.startswith("certferry: ") for line in err.splitlines()), err
    assert re.fullmatch(r"[\n -~]*", err), "nothing that moves a cursor"
    return err


@pytest.fixture
def sensor(certferry, enroll_settings):
    """One of three; the others are not there."""
    return certferry(
        enroll_settings
        | {
            "advertise.host": "localhost",
            "zone": "Wörk 7",
            "peers": "http://px2.plant7.example:48999,https://[2001:db8::3]:443",
            "allowed.domains": "digicert.com",
            "allowed.hosts": "ca.example,[2001:db8::7]",
            "probe.interval": "1h",
        }
    )


def test_table(sensor, home):
    lines = printed(home, sensor.url).splitlines()
    assert lines[0].split() == ["PROXY", "STATE", "ZONE", "PRIORITY", "WEIGHT", "LOAD", "STARTED", "VERSION"]
    assert len(lines) == 5 and lines[-1].startswith(f"As {sensor.url} tells it, until 20")
    for title in ("STATE", "ZONE", "PRIORITY", "STARTED"):
        assert all(line[lines[0].index(title) - 1] == " " for line in lines[1:-1]), "columns"
        assert all(line[lines[0].index(title)] != " " for line in lines[1:-1]), "columns"
    assert lines[1].startswith(f"http://localhost:{sensor.port} ")
    assert "W\\xc3\\xb6rk 7" in lines[1]
    assert "https://[2001:db8::3]:443" in lines[2] + lines[3]


def test_json(sensor, home):
    text = printed(home, "--format=json", sensor.url)
    assert text.isascii() and text.count("\n") == 1
    root = json.loads(text)
    assert set(root) == {"source", "identifier", "expires", "signed", "members"}
    assert root["source"] == sensor.url and root["identifier"] == "localhost" and root["signed"] is False
    assert datetime.datetime.fromisoformat(root["expires"].replace("Z", "+00:00"))
    names = "url host port tls_port protocol state zone priority weight load started version self".split()
    assert all(list(member) == names for member in root["members"])
    first = root["members"][0]
    assert first["url"] == f"http://localhost:{sensor.port}" and first["self"] and first["zone"] == "Wörk 7"
    assert first["state"] == "up" and first["started"] > 1700000000 and first["version"]
    assert {member["host"] for member in root["members"]} == {"localhost", "px2.plant7.example", "2001:db8::3"}
    assert [member["started"] for member in root["members"][1:]] == [None, None]


def test_env(sensor, home):
    """What a shell makes of it is what a client finds."""
    text = printed(home, "--format", "env", sensor.url)
    script = text + 'printf "%s " "$HTTPS_PROXY" "$HTTP_PROXY" "$https_proxy" "$http_proxy"'
    done = programs.run(home, "sh", "-euc", script)
    assert done.stdout.decode().split() == [f"http://localhost:{sensor.port}"] * 4


def test_pac(sensor, home):
    """The sensor's own file, made again from its document."""
    text = printed(home, "--format", "pac", sensor.url)
    with Client(sensor) as client:
        assert client.fetch("/proxy.pac", "Host: a").body.decode() == text
    pacparser.init()
    pacparser.parse_pac_string(text)
    ours = f"PROXY localhost:{sensor.port}; PROXY px2.plant7.example:48999; HTTPS [2001:db8::3]:443"
    assert pacparser.find_proxy("https://a.digicert.com/", "a.digicert.com") == ours
    assert pacparser.find_proxy("https://[2001:db8::7]/", "2001:db8::7") == ours
    assert pacparser.find_proxy("https://example.org/", "example.org") == "DIRECT"
    pacparser.cleanup()


def test_hosts(certferry, enroll_settings, home):
    """Names that can be looked up; an address needs no line, and a port is no part of a name."""
    port = unused_port()
    proxy = certferry(
        enroll_settings
        | {
            "advertise.host": "localhost",
            "peers": f"http://127.0.0.1:{port},http://localhost:{port},http://[2001:db8::3]:443",
            "probe.interval": "1h",
        }
    )
    lines = printed(home, "--format", "hosts", proxy.url).splitlines()
    assert "127.0.0.1\tlocalhost" in lines and set(lines) <= {"127.0.0.1\tlocalhost", "::1\tlocalhost"}
    assert len(lines) == len(set(lines))


def test_the_next_is_asked(sensor, home, origin):
    """Whoever does not answer, or not with a roster, is told of and passed over."""
    dead = unused_port()
    other = origin(lambda connection: (connection.read_until(), connection.send(reply(b"hello"))))
    status, out, err = peers(home, "--format", "env", f"127.0.0.1:{dead}", f"127.0.0.1:{other.port}", sensor.url)
    assert status == 0 and f"localhost:{sensor.port}" in out
    assert f"http://127.0.0.1:{dead}: " in err and "refused: octet 0" in err


def test_nobody_answers(home):
    dead = unused_port()
    assert "connect" in refused(home, f"127.0.0.1:{dead}").lower()
    assert "none.enroll.test" in refused(home, "http://none.enroll.test:1")


def test_silent_sensor(sensor, home, origin):
    """It has some seconds, then the next is asked."""
    silent = origin(swallow)
    status, out, err = peers(home, "--format", "json", f"127.0.0.1:{silent.port}", sensor.url)
    assert status == 0 and json.loads(out)["source"] == sensor.url
    assert f"http://127.0.0.1:{silent.port}: " in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--format", "xml", "px1"],
        ["--format"],
        ["--signer", "/nonexistent/x.pem", "px1"],
        ["--nonsense", "px1"],
        ["px1/x"],
        ["socks5://px1"],
        ["user:secret@px1"],
        ["px1:0"],
        ["http://"],
        ["px1", "px 2"],
    ],
    ids=" ".join,
)
def test_wrong_usage(home, arguments):
    assert refused(home, *arguments, status=2)


def test_help_names_it(home):
    done = programs.run(home, BINARY, "--help")
    assert b"certferry peers" in done.stdout and b"hosts" in done.stdout


def test_a_full_disk_is_told(sensor, home):
    with open("/dev/full", "wb") as full:
        environment = programs.environment(home, **programs.sanitizer_options(FAULT))
        done = subprocess.run([BINARY, "peers", sensor.url], env=environment, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"cannot write" in done.stderr


# ---- documents that lie ----

FRONT = {"identifier": "px1.example", "expires": "2099-01-01T00:00:00Z", "prefixes": []}
GOOD = FRONT | {
    "proxies": [{"protocol": "http-connect", "proxy": "px1.example:48999", "identifier": "a"}],
    "proxy-match": [{"domains": ["*.digicert.com"], "proxies": ["a"]}],
}


def entries(count):
    return [{"protocol": "http-connect", "proxy": f"px{n}.example:1", "identifier": str(n)} for n in range(count)]


LIES = {
    "thousands of members": (json.dumps(GOOD | {"proxies": entries(5000)}), "proxies: are too many"),
    "a huge string": (json.dumps(GOOD | {"x": "y" * 5_000_000}), "larger"),
    "a huge name": (json.dumps(GOOD | {"identifier": "y" * 100_000}), "identifier: is too long"),
    "a number for a string": (json.dumps(GOOD | {"identifier": 7}), "identifier: is not a string"),
    "an object for an array": (json.dumps(GOOD | {"proxies": {}}), "proxies: is not an array"),
    "no proxies at all": (json.dumps(FRONT), "proxies: is missing"),
    "very deep": ("[" * 100_000, "octet 8: too deep"),
    "no JSON": ("<html>", "octet 0: not a value"),
    "nothing": ("", "octet 0: ends too early"),
    "expired": (json.dumps(GOOD | {"expires": "2020-01-01T00:00:00Z"}), "has expired; is the clock right"),
    "a host that is a script": (
        json.dumps(GOOD | {"proxies": [GOOD["proxies"][0] | {"proxy": "'; rm -rf ~ #:1"}]}),
        "proxies[0].proxy: ",
    ),
    "a key that is an escape": (json.dumps(GOOD | {"\x1b[2J\n": 1, "prefixes": [1]}), "prefixes: is not empty"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(home, http_origin, lie):
    body, words = LIES[lie]
    server = http_origin(lambda request: reply(body.encode(), kind="application/pvd+json"))
    for form in ("table", "pac"):
        assert words in refused(home, "--format", form, f"127.0.0.1:{server.port}")
    assert server.requests[0].target == "/.well-known/pvd"
    assert server.requests[0].header("accept") == "application/pvd+json"


def test_nobody_is_live(home, http_origin):
    """No variable is better than one that leads nowhere."""
    facts = {"identifier": "a", "zone": "", "state": "down", "weight": 1, "started": 0, "self": True}
    document = GOOD | {"vendor-certferry": {"members": [facts]}}
    server = http_origin(lambda request: reply(json.dumps(document).encode()))
    where = f"127.0.0.1:{server.port}"
    assert "no name of a live member" in refused(home, "--format", "hosts", where)
    assert "all its members are down or draining" in refused(home, "--format", "env", where)
    assert " down " in printed(home, where)


def test_text_of_others_stays_text(home, http_origin):
    """A zone that would clear the screen, or turn the line around."""
    facts = {"identifier": "a", "zone": "\x1b[2J\u009b1m\u202e\n", "state": "up"}
    facts |= {"weight": 1, "started": 0, "self": True}
    document = GOOD | {"vendor-certferry": {"members": [facts]}}
    server = http_origin(lambda request: reply(json.dumps(document).encode()))
    table = printed(home, f"127.0.0.1:{server.port}")
    assert re.fullmatch(r"[\n -~]*", table) and len(table.splitlines()) == 3
    text = printed(home, "--format", "json", f"127.0.0.1:{server.port}")
    assert re.fullmatch(r"[ -~]*\n", text)
    assert json.loads(text)["members"][0]["zone"] == facts["zone"]


@pytest.mark.parametrize("status", ["404 Not Found", "503 Not ready", "301 Moved\r\nLocation: http://127.0.0.1:1/"])
def test_other_statuses(home, http_origin, status):
    server = http_origin(lambda request: reply(json.dumps(GOOD).encode(), status))
    assert f"answers {status[:3]}" in refused(home, f"127.0.0.1:{server.port}")


def test_rules_that_a_pac_file_cannot_say(home, http_origin):
    """A rule for every destination would send everything our way: the table has no trouble with it."""
    document = GOOD | {"proxy-match": [{"proxies": ["a"]}]}
    server = http_origin(lambda request: reply(json.dumps(document).encode()))
    assert "px1.example" in printed(home, f"127.0.0.1:{server.port}")
    assert "is for every destination" in refused(home, "--format", "pac", f"127.0.0.1:{server.port}")


# ---- signatures ----


@pytest.fixture
def signing(enroll_settings):
    """The key lies where a service user could not go."""
    return enroll_settings | {"service.user": "root"}


def make_key(home, name):
    openssl(home, "genpkey", "-algorithm", "ED25519", "-out", home / f"{name}.pem")
    (home / f"{name}.pem").chmod(0o600)
    openssl(home, "pkey", "-in", home / f"{name}.pem", "-pubout", "-out", home / f"{name}.pub")
    return home / f"{name}.pem"


def test_signer(certferry, signing, home):
    proxy = certferry(signing | {"document.sign.key": make_key(home, "ours")})
    make_key(home, "other")
    assert printed(home, "--signer", home / "ours.pub", proxy.url).rstrip().endswith(", signed.")
    assert json.loads(printed(home, "--format", "json", "--signer", home / "ours.pub", proxy.url))["signed"] is True
    assert "nobody who is trusted" in refused(home, "--signer", home / "other.pub", proxy.url)
    both = home / "both.pub"
    both.write_bytes((home / "other.pub").read_bytes() + (home / "ours.pub").read_bytes())
    assert printed(home, "--signer", both, proxy.url)
    # A private key is not what is handed round, and a file that others write says anything.
    assert "holds something else than" in refused(home, "--signer", home / "ours.pem", proxy.url, status=2)
    both.chmod(0o666)
    assert "chmod go-w" in refused(home, "--signer", both, proxy.url, status=2)


def test_certificates(certferry, signing, home, authority):
    """A CA of the site: each sensor is believed under its own name."""
    made = authority.server("localhost", "127.0.0.1")
    made.key.chmod(0o600)
    proxy = certferry(signing | {"document.sign.key": made.key, "document.sign.cert": made.cert})
    assert printed(home, "--signer", authority.root.cert, f"localhost:{proxy.port}")
    assert printed(home, "--signer", authority.root.cert, proxy.url)
    assert printed(home, "--signer", made.cert, proxy.url)
    other = authority.server("px9.enroll.test")
    other.key.chmod(0o600)
    stranger = certferry(signing | {"document.sign.key": other.key, "document.sign.cert": other.cert})
    assert "names another host" in refused(home, "--signer", authority.root.cert, stranger.url)
    assert printed(home, "--signer", other.cert, stranger.url), "pinned"


@pytest.mark.parametrize("what", ["missing", "swapped", "truncated", "body changed", "two fields", "huge"])
def test_signatures_on_the_way(certferry, signing, home, http_origin, what):
    """Somebody between sensor and client, who may change anything but has no key."""
    proxy = certferry(signing | {"document.sign.key": make_key(home, "ours")})
    second = certferry(signing | {"document.sign.key": home / "ours.pem", "advertise.host": "px2.example"})

    def taken(source):
        with Client(source) as client:
            answer = client.fetch("/.well-known/pvd", "Host: a")
            return answer.body, answer.header("Certferry-Signature")

    (body, field), (_, foreign) = taken(proxy), taken(second)
    fields = {
        "missing": [],
        "swapped": [foreign],
        "truncated": [field[:-4]],
        "body changed": [field],
        "two fields": [field, foreign],
        "huge": ["A" * 20000],
    }[what]
    if what == "body changed":
        body = body.replace(b"http-connect", b"http-connecT")
    lines = [f"Certferry-Signature: {value}" for value in fields]
    server = http_origin(lambda request: reply(body, headers=lines))
    err = refused(home, "--signer", home / "ours.pub", f"127.0.0.1:{server.port}")
    assert "not signed" in err or "signature of its roster is refused" in err
