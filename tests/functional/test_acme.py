"""ACME clients get certificates from pebble through the proxy, with nothing set but HTTPS_PROXY."""

import pathlib

import pytest
from support import programs
from support.certferry import ENDED_WELL
from support.enrolling import assert_needs_proxy
from support.pebble import NAME, Pebble

DEVICE = "device1.enroll.test"
CURL_TRUST = pathlib.Path(__file__).resolve().parents[1] / "support/curl_trust.c"


class Client:
    """One ACME client: how it is called and where its certificate comes to lie."""

    def __init__(self, home, pebble, trust, proxy_url):
        self.home = home
        self.server = pebble.directory_url
        self.trust = trust  # the root of the server's own certificate
        self.variables = {"HTTPS_PROXY": proxy_url, **self.trusting()}

    def trusting(self):
        """The variables that make the client trust the test's CA."""
        raise NotImplementedError

    def enroll(self, attempt):
        """A new account and a certificate in the directory `attempt`; the last program's end."""
        raise NotImplementedError

    def leaf_and_chain(self, attempt):
        """The files it wrote."""
        raise NotImplementedError

    def run(self, *command):
        return programs.run(self.home, *command, **self.variables)

    def script(self, name, text):
        path = self.home / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path


class Certbot(Client):
    def trusting(self):
        return {"REQUESTS_CA_BUNDLE": self.trust}

    def enroll(self, attempt):
        kept = self.home / attempt
        where = [f"--{kind}-dir={kept / kind}" for kind in ("config", "work", "logs")]
        account = ("--agree-tos", "--register-unsafely-without-email", "--non-interactive")
        manual = ("--manual", "--preferred-challenges=http", "--manual-auth-hook=/bin/true")
        return self.run("certbot", "certonly", *where, *account, *manual, "--server", self.server, "-d", DEVICE)

    def leaf_and_chain(self, attempt):
        live = self.home / attempt / "config/live" / DEVICE
        return live / "cert.pem", live / "fullchain.pem"


class Lego(Client):
    def trusting(self):
        return {"LEGO_CA_CERTIFICATES": self.trust}

    def enroll(self, attempt):
        account = ("--accept-tos", "--email", "operator@enroll.test", "--path", self.home / attempt)
        proof = ("--domains", DEVICE, "--http", "--http.port", "127.0.0.1:0")
        return self.run("lego", "--server", self.server, *account, *proof, "run")

    def leaf_and_chain(self, attempt):
        made = self.home / attempt / "certificates" / f"{DEVICE}.crt"
        return made, made


class Uacme(Client):
    def trusting(self):
        library = self.home / "curl_trust.so"
        command = ("cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, CURL_TRUST, "-ldl")
        made = programs.run(self.home, *command)
        assert made.returncode == 0, programs.told(made)
        return {"LD_PRELOAD": library, "TEST_CA": self.trust}

    def enroll(self, attempt):
        # Takes http-01 and declines the other kinds, as uacme's hook protocol wants it.
        hook = self.script("hook", '[ "$1" != begin ] || [ "$2" = http-01 ]')
        common = ("uacme", "--verbose", "--confdir", self.home / attempt, "--acme-url", self.server)
        registered = self.run(*common, "--yes", "new")
        if registered.returncode != 0:
            return registered
        return self.run(*common, "--hook", hook, "issue", DEVICE)

    def leaf_and_chain(self, attempt):
        made = self.home / attempt / DEVICE / "cert.pem"
        return made, made


class Dehydrated(Client):
    options = ""  # further ones for curl

    def trusting(self):
        return {"CURL_CA_BUNDLE": self.trust}

    def enroll(self, attempt):
        base = self.home / attempt
        (base / "challenges").mkdir(parents=True)
        config = base / "config"
        where = f'CA="{self.server}"\nBASEDIR="{base}"\nWELLKNOWN="{base}/challenges"\n'
        config.write_text(f'{where}CURL_OPTS="{self.options}"\n')
        registered = self.run("dehydrated", "--config", config, "--register", "--accept-terms")
        if registered.returncode != 0:
            return registered
        return self.run("dehydrated", "--config", config, "--cron", "--domain", DEVICE)

    def leaf_and_chain(self, attempt):
        made = self.home / attempt / "certs" / DEVICE
        return made / "cert.pem", made / "fullchain.pem"


@pytest.fixture
def pebble(tmp_path, authority):
    with Pebble(tmp_path / "pebble", authority) as server:
        yield server


@pytest.mark.parametrize("kind", [Certbot, Lego, Uacme, Dehydrated])
def test_certificate_through_the_proxy(kind, proxy, pebble, authority, home):
    client = kind(home, pebble, authority.root.cert, proxy.url)

    done = client.enroll("first")
    assert done.returncode == 0, programs.told(done)
    verified = pebble.verifies(*client.leaf_and_chain("first"), DEVICE)
    assert verified.returncode == 0, programs.told(verified)

    # A client that closes before it has read the server's last words resets the connection: as good an end as any.
    line = proxy.wait_log(lambda line: line["outcome"] in ENDED_WELL)
    assert (line["method"], line["host"], line["port"]) == ("CONNECT", NAME, pebble.port)
    assert (line["address"], line["status"]) == ("127.0.0.1", 200)
    assert line["bytes_up"] > 0 and line["bytes_down"] > 0
    assert {(line["method"], line["host"]) for line in proxy.log()} == {("CONNECT", NAME)}

    assert_needs_proxy(proxy, lambda: client.enroll("second"))
    assert not client.leaf_and_chain("second")[0].exists()


# What of the refusal each client lets its operator see; 56 is what curl says of every refused CONNECT.
SHOWN = [
    (Certbot, "403 Host not in the allowlist"),
    (Lego, "Host not in the allowlist"),
    (Uacme, "failed to fetch directory"),
    (Dehydrated, "curl returned with 56"),
]


@pytest.mark.parametrize(("kind", "shown"), SHOWN, ids=[kind.__name__ for kind, _ in SHOWN])
def test_refusal_is_shown(kind, shown, certferry, enroll_settings, pebble, authority, home):
    proxy = certferry(enroll_settings | {"allowed.domains": "elsewhere.test"})
    client = kind(home, pebble, authority.root.cert, proxy.url)

    done = client.enroll("first")
    assert done.returncode != 0
    assert shown in programs.told(done)

    line = proxy.wait_log(lambda line: line["host"] == NAME)
    assert (line["outcome"], line["status"], line["address"]) == ("host-denied", 403, "")
