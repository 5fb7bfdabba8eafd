"""
Which ordinary clients can speak TLS to their proxy, show it a certificate, and what the others say. The expectations
are the table at the top of docs/doors.md; each is proved with the real program.
"""

import contextlib

import pytest
from support import java, programs
from support.certferry import ENDED_WELL, ROOT
from support.fetchers import PROGRAMS
from support.origins import pages
from support.pebble import Pebble
from support.pki import Authority
from support.raw_http import OUTCOMES
from test_acme import Certbot, Dehydrated, Lego, Uacme

PAGE = ROOT / "docs/doors.md"
COLUMNS = ["`https-connect`", "with a certificate of its own"]
NAME = "ca.enroll.test"
NODE = {"NODE_PATH": "/usr/share/nodejs"}
IDENTITY = "edge-0815"


def table():
    """{client: (speaks TLS to its proxy, can show it a certificate)}, each "yes" or "no"."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    start = next(number for number, row in enumerate(rows) if row[2:] == COLUMNS)
    found = {}
    for row in rows[start + 2 :]:
        if len(row) != len(COLUMNS) + 2:
            break
        found[row[0]] = tuple(cell.partition(",")[0] for cell in row[2:])
    return found


class Site:
    """What the clients of one test share. `identity`: the certificate to show, None without."""

    def __init__(self, home, authority, door, url, identity):
        self.home, self.authority, self.door, self.url, self.identity = home, authority, door, url, identity
        self.trust = authority.root.cert
        self.proxy = f"https://localhost:{door}"
        self.pebble = None

    def run(self, *command, **variables):
        return programs.run(self.home, *command, **variables)

    def shown(self, cert, key):
        """These two options with the certificate's files; none without one."""
        return (cert, self.identity.cert, key, self.identity.key) if self.identity else ()

    def curl(self):
        options = ("--cacert", self.trust, "--proxy-cacert", self.trust, *self.shown("--proxy-cert", "--proxy-key"))
        return self.run("curl", "--disable", "-sS", "--fail", *options, self.url, https_proxy=self.proxy)

    def git(self):
        """
        The page is no repository; that git has read it is what counts. Its libcurl waits at times, and for ever, for
        octets that it has already read from the outer TLS: whichever proxy it is, so not our fault.
        """
        options = [f"http.sslCAInfo={self.trust}", f"http.proxySSLCAInfo={self.trust}"]
        if self.identity:
            options += [f"http.proxySSLCert={self.identity.cert}", f"http.proxySSLKey={self.identity.key}"]
        words = [word for option in options for word in ("-c", option)]
        for _ in range(8):
            with contextlib.suppress(programs.subprocess.TimeoutExpired):
                done = self.run("git", *words, "ls-remote", self.url, timeout=10, https_proxy=self.proxy)
                done.returncode = 0 if b"no such page" in done.stderr else done.returncode
                return done
        raise AssertionError("git hangs each time")

    def wget(self):
        limits = ("--tries=1", "--timeout=20", "--no-config", "--output-document=-")
        return self.run("wget", *limits, f"--ca-certificate={self.trust}", self.url, https_proxy=self.proxy)

    def requests(self):
        program = f"import requests; requests.get('{self.url}', timeout=20).raise_for_status()"
        return self.run("/usr/bin/python3", "-c", program, https_proxy=self.proxy, REQUESTS_CA_BUNDLE=self.trust)

    def urllib(self):
        program = f"import urllib.request; urllib.request.urlopen('{self.url}', timeout=20)"
        return self.run("/usr/bin/python3", "-c", program, https_proxy=self.proxy, SSL_CERT_FILE=self.trust)

    def s_client(self):
        where = ("-proxy", f"localhost:{self.door}", "-connect", self.url.split("/")[2])
        return self.run("openssl", "s_client", *where, "-CAfile", self.trust)

    def cmp(self):
        server = ("-server", self.url, "-proxy", self.proxy, "-tls_used", "-tls_trusted", self.trust)
        asked = ("-cmd", "genm", "-ref", "a", "-secret", "pass:b", "-msg_timeout", "20")
        return self.run("openssl", "cmp", "-config", "", *server, *asked)

    def node(self, program):
        """support/clients/door_*.js: TRUST PROXY URL [CERTIFICATE KEY]"""
        identity = (self.identity.cert, self.identity.key) if self.identity else ()
        arguments = (self.trust, self.proxy, self.url, *identity)
        return self.run("node", PROGRAMS / program, *arguments, NODE_EXTRA_CA_CERTS=self.trust, **NODE)

    def undici(self):
        return self.node("door_undici.js")

    def https_proxy_agent(self):
        return self.node("door_proxy_agent.js")

    def java(self, program):
        properties = {
            "https.proxyHost": "localhost",
            "https.proxyPort": self.door,
            "javax.net.ssl.trustStore": self.authority.truststore(),
            "javax.net.ssl.trustStorePassword": "changeit",
        }
        return self.run(*java.command(program, properties, "GET", self.url))

    def url_connection(self):
        return self.java("UrlConnection")

    def http_client(self):
        return self.java("NewHttpClient")

    def scepclient(self):
        """The page is no SCEP server's answer; that it came is what counts."""
        options = ("-server-url", self.url, "-challenge", "x", "-private-key", self.home / "scep.key")
        done = self.run("scepclient", *options, https_proxy=self.proxy, SSL_CERT_FILE=self.trust)
        done.returncode = 0 if b"malformed certificate" in done.stderr + done.stdout else done.returncode
        return done

    def acme(self, kind):
        client = kind(self.home, self.pebble, self.trust, self.proxy)
        if kind is Dehydrated:
            # It hands options to curl, and so can do what curl can.
            trusted = ("--proxy-cacert", self.trust, *self.shown("--proxy-cert", "--proxy-key"))
            client.options = " ".join(map(str, trusted))
        return client.enroll("first")


CLIENTS = {
    "curl": Site.curl,
    "git": Site.git,
    "dehydrated": lambda site: site.acme(Dehydrated),
    "uacme": lambda site: site.acme(Uacme),
    "certbot": lambda site: site.acme(Certbot),
    "Python requests": Site.requests,
    "lego": lambda site: site.acme(Lego),
    "scepclient": Site.scepclient,
    "Node undici": Site.undici,
    "Node https-proxy-agent": Site.https_proxy_agent,
    "wget": Site.wget,
    "Python urllib": Site.urllib,
    "`openssl s_client`": Site.s_client,
    "`openssl cmp`": Site.cmp,
    "Java `HttpURLConnection`": Site.url_connection,
    "Java `java.net.http`": Site.http_client,
}
ACME = ("dehydrated", "uacme", "certbot", "lego")
# Proved by test_doors_matrix.py and test_iot_edge.py.
ELSEWHERE = ["strongSwan `pki --est`", "Azure IoT Edge"]
PHRASE = OUTCOMES["plain-to-tls-port"].phrase
# What of our answer to plain HTTP on the TLS port its user gets to see.
SHOWN = {
    "wget": "PHRASE",
    "Python urllib": "400 PHRASE",
    "`openssl s_client`": "400 PHRASE",
    "`openssl cmp`": "400 PHRASE",
    "Java `HttpURLConnection`": "HTTP/1.1 400 PHRASE",
    "Java `java.net.http`": "Tunnel failed, got: 400",
}


@pytest.fixture(scope="module")
def clients_ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("clients"), "Test devices CA")


@pytest.fixture
def site(certferry, enroll_settings, authority, clients_ca, http_origin, home):
    """Factory: site(client, identity) -> Site whose door wants a certificate if there is an identity; its sensor."""

    def start(client, identity):
        certificate = authority.server("localhost", "127.0.0.1")
        settings = {"tls.listen": "127.0.0.1:0", "tls.cert": certificate.cert, "tls.key": certificate.key}
        settings["service.user"] = "root"
        if identity:
            settings |= {"tls.client.ca": clients_ca.root.cert, "tls.client.identity": "cn"}
        sensor = certferry(enroll_settings | settings)
        origin = http_origin(pages({"/page": b"hello\n"}), certificate=authority.server(NAME))
        made = Site(home, authority, sensor.doors["tls"], f"https://{NAME}:{origin.port}/page", identity)
        made.origin = origin
        if client in ACME:
            made.pebble = Pebble(home / "pebble", authority)
        return made, sensor

    return start


def test_table_is_whole():
    assert list(table()) == [*CLIENTS, *ELSEWHERE]


@pytest.mark.parametrize("client", CLIENTS)
def test_tls_to_the_proxy(site, client):
    place, sensor = site(client, None)
    try:
        done = CLIENTS[client](place)
    finally:
        if place.pebble:
            place.pebble.close()
    worked = done.returncode == 0
    assert table()[client][0] == ("yes" if worked else "no"), programs.told(done)
    if worked:
        line = sensor.wait_log(lambda line: line["outcome"] in ENDED_WELL)
        assert (line["door"], line["method"]) == ("tls", "CONNECT")
    else:
        # No silence, of which several of them would never tire, and a reason where they show one.
        sensor.wait_log(lambda line: line["outcome"] == "plain-to-tls-port" and line["door"] == "tls")
        assert SHOWN[client].replace("PHRASE", PHRASE) in programs.told(done)
        assert not place.origin.connections()


@pytest.mark.parametrize("client", [name for name in CLIENTS if name not in SHOWN])
def test_certificate_for_the_proxy(site, clients_ca, client):
    place, sensor = site(client, clients_ca.server(IDENTITY))
    try:
        done = CLIENTS[client](place)
    finally:
        if place.pebble:
            place.pebble.close()
    assert table()[client][1] == ("yes" if done.returncode == 0 else "no"), programs.told(done)
    if done.returncode == 0:
        line = sensor.wait_log(lambda line: line["outcome"] in ENDED_WELL)
        assert line["identity"] == IDENTITY
    else:
        sensor.wait_log(lambda line: line["outcome"] == "client-certificate-missing")
        assert not place.origin.connections()
