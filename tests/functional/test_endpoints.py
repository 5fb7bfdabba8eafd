"""The proxy's own pages: health, the roster as PvD and PAC, metrics."""

import datetime
import json
import re
import time

import pytest
from support import programs
from support.certferry import PATIENCE
from support.client_hello import hello
from support.daemons import unused_port
from support.origins import pages, swallow
from support.raw_http import Client, assert_refused
from support.tunnels import open_tunnel

PAGES = ["/healthz", "/readyz", "/.well-known/pvd", "/proxy.pac", "/metrics"]


def fetch(proxy, path, *fields, method="GET", version="1.1"):
    with Client(proxy) as client:
        host = () if version == "1.0" else (f"Host: 127.0.0.1:{proxy.port}",)
        return client.fetch(path, *host, *fields, method=method, version=version)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(proxy, path):
    answer = fetch(proxy, path)
    assert answer.status == 200 and answer.body
    assert answer.header("Content-Type").startswith("text/plain")
    assert answer.header("Date")
    line = proxy.wait_log(lambda line: line["class"] == "control")
    assert line["operation"] == path[1:] and line["status"] == 200 and line["outcome"] == "ok"


@pytest.mark.parametrize("path", PAGES)
def test_query_is_ignored(proxy, path):
    assert fetch(proxy, path + "?x=1").status == 200


@pytest.mark.parametrize("path", PAGES)
def test_head(proxy, path):
    with Client(proxy) as client:
        head = client.fetch(path, "Host: a", method="HEAD")
        answer = client.fetch(path, "Host: a")
    assert head.status == 200 and head.body == b""
    assert head.header("Content-Type") == answer.header("Content-Type")
    if path != "/metrics":
        assert int(head.header("Content-Length")) == len(answer.body)


@pytest.mark.parametrize("path", PAGES)
def test_http_1_0(proxy, path):
    """Health checks of load balancers: no Host, the connection is closed."""
    with Client(proxy) as client:
        answer = client.fetch(path, version="1.0")
        assert answer.status == 200 and answer.closes()
        assert client.ended()


def test_pages_keep_the_connection(proxy):
    with Client(proxy) as client:
        for path in PAGES * 2:
            answer = client.fetch(path, "Host: a")
            assert answer.status == 200 and not answer.closes()


@pytest.mark.parametrize("path", ["/nothing", "/healthz/", "/Healthz", "/healthz%20", "//healthz", "/.well-known/x"])
def test_unknown_page(proxy, path):
    answer = fetch(proxy, path)
    line = assert_refused(proxy, answer, "not-found")
    assert line["class"] == "control"
    assert b"/healthz" in answer.body, "the answer names the pages there are"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(proxy, method):
    with Client(proxy) as client:
        client.ask("/healthz", "Host: a", method=method, body=b"x=1")
        answer = client.response(method)
        assert_refused(proxy, answer, "method-not-allowed")
        assert answer.header("Allow") == "GET, HEAD"
        client.half_close()
        assert client.ended()


def test_metrics_need_control_allow(certferry, enroll_settings):
    proxy = certferry(enroll_settings | {"control.allow": "192.0.2.0/24"})
    assert_refused(proxy, fetch(proxy, "/metrics"), "control-denied")
    for path in PAGES[:-1]:
        assert fetch(proxy, path).status == 200, "these need only clients.allow"


def test_pages_need_clients_allow(certferry, enroll_settings):
    proxy = certferry(enroll_settings | {"clients.allow": "192.0.2.0/24"})
    for path in PAGES:
        assert_refused(proxy, fetch(proxy, path), "client-denied")


def test_status_page(certferry, enroll_settings):
    """For people with a browser: what is so, what was refused and why, how to point a client here."""
    zone = 'W\u00f6rk <b>7</b> & "8"'
    proxy = certferry(enroll_settings | {"advertise.host": "px1.plant7.example", "zone": zone})
    with Client(proxy) as client:
        assert client.fetch("http://not.allowed.test/").status == 403
    answer = fetch(proxy, "/")
    text = answer.body.decode()
    assert answer.status == 200 and answer.header("Content-Type") == "text/html; charset=utf-8"
    assert answer.header("Content-Security-Policy").startswith("default-src 'none'")
    assert "<p>Ready. Version" in text and "<td>this one</td>" in text
    assert "<td>1</td><td>host-denied</td><td>Host not in the allowlist</td>" in text
    assert f"export HTTPS_PROXY=http://px1.plant7.example:{proxy.port} " in text
    assert "W\u00f6rk &#60;b&#62;7&#60;/b&#62; &#38; &#34;8&#34;" in text and "<b>" not in text and "<script" not in text
    line = proxy.wait_log(lambda line: line["class"] == "control")
    assert (line["operation"], line["outcome"]) == ("status", "ok")


def test_status_page_counts_live_tunnels(proxy, origin):
    server = origin(swallow)
    with open_tunnel(proxy, "ca.enroll.test", server.port, early=hello("ca.enroll.test")):
        server.wait_connection()
        while b"<th>Live tunnels</th><td>1</td>" not in fetch(proxy, "/").body:
            pass
    while b"<th>Live tunnels</th><td>0</td>" not in fetch(proxy, "/").body:
        pass


def test_status_page_needs_control_allow(certferry, enroll_settings):
    proxy = certferry(enroll_settings | {"control.allow": "192.0.2.0/24"})
    assert_refused(proxy, fetch(proxy, "/"), "control-denied")


def wait_deaf(proxy):
    """Until nobody listens any more: then every worker knows of the shutdown."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            Client(proxy).close()
        except ConnectionError:
            return
    raise AssertionError("it still listens")


def test_not_ready_while_draining(certferry, enroll_settings):
    """A request on its way when the shutdown begins is answered, and says where things stand."""
    proxy = certferry(enroll_settings | {"drain.grace": "10s", "threads": "1"})
    with Client(proxy) as client:
        client.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n")
        # Once this is answered the one worker has taken what came before.
        assert fetch(proxy, "/readyz").status == 200
        proxy.terminate()
        wait_deaf(proxy)
        client.send(b"\r\n")
        answer = client.response()
        assert answer.status == 503 and answer.closes(), answer.head
        assert client.ended()
    assert proxy.wait() == 0


# The roster as Provisioning Domain: RFC 8801 and draft-ietf-intarea-proxy-config.

PROTOCOLS = {"http-connect", "https-connect", "socks5", "connect-tcp", "connect-udp", "connect-ip"}


def check_host_port(text):
    host, _, port = text.rpartition(":")
    assert host and port.isdigit() and 0 < int(port) < 65536, text
    assert not host.startswith("[") or host.endswith("]"), text


def check_proxy(entry):
    assert entry["protocol"] in PROTOCOLS, entry
    assert isinstance(entry["proxy"], str)
    if entry["protocol"] in ("http-connect", "https-connect", "socks5"):
        check_host_port(entry["proxy"])
    for name in entry.get("mandatory", []):
        assert name in entry and name not in ("protocol", "proxy", "mandatory"), entry
    known = {"protocol", "proxy", "mandatory", "alpn", "identifier"}
    assert all(key in known or "_" in key for key in entry), f"private keys need an underscore: {entry}"


def check_rule(rule, identifiers):
    assert isinstance(rule["proxies"], list) and set(rule["proxies"]) <= identifiers, rule
    assert set(rule) <= {"proxies", "domains", "subnets", "ports"}, f"unknown keys void the rule: {rule}"
    for domain in rule.get("domains", []):
        assert re.fullmatch(r"(\*\.)?[a-z0-9.-]+", domain), domain
    for port in rule.get("ports", []):
        assert isinstance(port, str) and re.fullmatch(r"\d+(-\d+)?", port), "ports are strings"


def check_pvd(answer):
    """Whether a client that follows the documents to the letter would take this one; the parsed root."""
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/pvd+json"
    root = json.loads(answer.body)
    assert re.fullmatch(r"[a-z0-9.-]+", root["identifier"]), "a host name"
    assert root["prefixes"] == []
    expires = datetime.datetime.fromisoformat(root["expires"].replace("Z", "+00:00"))
    assert expires > datetime.datetime.now(datetime.timezone.utc), "an expired document must be ignored"
    named = [entry.get("identifier") for entry in root["proxies"]]
    assert all(named) or not any(named), "identifiers on all entries or on none"
    for entry in root["proxies"]:
        check_proxy(entry)
    for rule in root["proxy-match"]:
        check_rule(rule, set(named))
    used = {name for rule in root["proxy-match"] for name in rule["proxies"]}
    assert used == set(named), "a named entry that no rule names must not be used"
    private = set(root) - {"identifier", "expires", "prefixes", "dnsZones", "noInternet", "proxies", "proxy-match"}
    assert all(key.startswith("vendor-") for key in private), private
    return root


@pytest.fixture
def roster_proxy(certferry, enroll_settings):
    """One of three; its own entry stands among the peers."""
    port = unused_port()
    return certferry(
        enroll_settings
        | {
            "heartbeatport": port,
            "advertise.host": "px1.enroll.test",
            "zone": "plant7",
            "roster.ttl": "1d",  # its quantum must not pass by during a test
            "peers": f"http://px2.enroll.test:48999,http://PX1.enroll.test:{port},http://[2001:db8::3]:48999",
            "allowed.domains": "enroll.test,example.com",
            "allowed.hosts": "exact.example.net,192.0.2.7",
            "allowed.connect.ports": "443,8443",
            "allowed.http.ports": "80,8080-8090",
        }
    )


def members(proxy):
    return [f"px1.enroll.test:{proxy.port}", "px2.enroll.test:48999", "[2001:db8::3]:48999"]


def test_pvd(roster_proxy):
    root = check_pvd(fetch(roster_proxy, "/.well-known/pvd"))
    assert root["identifier"].rstrip(".") == "px1.enroll.test"
    found = [entry["proxy"] for entry in root["proxies"]]
    assert sorted(found) == sorted(members(roster_proxy)), "ourselves once, though among the peers too"
    assert {entry["protocol"] for entry in root["proxies"]} == {"http-connect"}
    domains = {domain for rule in root["proxy-match"] for domain in rule.get("domains", [])}
    assert domains == {"*.enroll.test", "*.example.com", "exact.example.net"}
    subnets = {subnet.partition("/")[0] for rule in root["proxy-match"] for subnet in rule.get("subnets", [])}
    assert subnets == {"192.0.2.7"}
    for rule in root["proxy-match"]:
        assert set(rule["ports"]) == {"80", "443", "8080-8090", "8443"}
        by_name = {entry["identifier"]: entry["proxy"] for entry in root["proxies"]}
        assert by_name[rule["proxies"][0]] == members(roster_proxy)[0], "who answers is known to be up"
    assert "plant7" in json.dumps(root["vendor-certferry"])


def test_pvd_of_a_lone_proxy(proxy):
    root = check_pvd(fetch(proxy, "/.well-known/pvd"))
    assert [entry["proxy"].rpartition(":")[2] for entry in root["proxies"]] == [str(proxy.port)]


def test_pvd_without_anything_allowed(certferry, enroll_settings):
    """No rule: the document must not send everything our way."""
    proxy = certferry(enroll_settings | {"allowed.domains": ""})
    answer = fetch(proxy, "/.well-known/pvd")
    root = json.loads(answer.body)
    assert root["proxy-match"] == [] and all("identifier" in entry for entry in root["proxies"])


@pytest.mark.parametrize("path", ["/.well-known/pvd", "/proxy.pac"])
def test_document_is_kept_by_its_etag(roster_proxy, path):
    first = fetch(roster_proxy, path)
    etag = first.header("ETag")
    assert re.fullmatch(r'(W/)?"[!#-~]+"', etag)
    assert re.search(r"max-age=[1-9]\d*", first.header("Cache-Control"))
    for _ in range(4):  # whichever worker answers
        assert fetch(roster_proxy, path).header("ETag") == etag
    for wanted in (etag, f'"other", {etag}', "*", f"W/{etag}"):
        with Client(roster_proxy) as client:
            answer = client.fetch(path, "Host: a", f"If-None-Match: {wanted}")
            assert answer.status == 304 and answer.header("ETag") == etag, (wanted, answer.head)
            assert client.fetch("/healthz", "Host: a").status == 200, "a 304 has no body"
    assert fetch(roster_proxy, path, 'If-None-Match: "other"').body == first.body


def test_documents_change_with_the_configuration(roster_proxy):
    before = {path: fetch(roster_proxy, path).header("ETag") for path in ("/.well-known/pvd", "/proxy.pac")}
    assert "reloaded" in roster_proxy.reload({"allowed.domains": "enroll.test,new.example"})
    for path, etag in before.items():
        answer = fetch(roster_proxy, path, f"If-None-Match: {etag}")
        deadline = time.monotonic() + PATIENCE
        while answer.status == 304:  # a worker takes the new configuration a moment after the line that tells of it
            assert time.monotonic() < deadline, "the worker keeps the old document"
            answer = fetch(roster_proxy, path, f"If-None-Match: {etag}")
        assert answer.status == 200 and b"new.example" in answer.body


# The roster as PAC: a browser's functions, and what the script answers.

BROWSER = r"""
const vm = require("vm"), fs = require("fs");
const context = {
  dnsDomainIs: (host, domain) => host.length >= domain.length && host.endsWith(domain),
  shExpMatch: (text, pattern) => new RegExp("^" + pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*/g, ".*").replace(/\?/g, ".") + "$").test(text),
  isPlainHostName: (host) => !host.includes("."),
  localHostOrDomainIs: (host, name) => host === name || name.startsWith(host + "."),
  dnsResolve: () => { throw new Error("a PAC file must not ask DNS"); },
};
vm.createContext(context);
vm.runInContext(fs.readFileSync(process.argv[2], "latin1"), context);
for (const url of process.argv.slice(3))
  console.log(context.FindProxyForURL(url, new URL(url).hostname.replace(/^\[|\]$/g, "")));
"""


def proxies_for(home, script, *urls):
    (home / "proxy.pac").write_bytes(script)
    (home / "browser.js").write_text(BROWSER)
    done = programs.run(home, "node", home / "browser.js", home / "proxy.pac", *urls)
    assert done.returncode == 0, programs.told(done)
    return done.stdout.decode().splitlines()


def test_pac(roster_proxy, home):
    answer = fetch(roster_proxy, "/proxy.pac")
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/x-ns-proxy-autoconfig"
    assert answer.body.isascii() and len(answer.body) < 1_000_000
    ours = "; ".join(f"PROXY {member}" for member in members(roster_proxy))
    expected = {
        "https://enroll.test/": ours,
        "https://ca.enroll.test/acme": ours,
        "https://a.b.enroll.test:8443/": ours,
        "http://crl.example.com/ca.crl": ours,
        "http://crl.example.com:8085/": ours,
        "https://exact.example.net/": ours,
        "https://192.0.2.7/": ours,
        "https://evilenroll.test/": "DIRECT",
        "https://enroll.test.evil.example/": "DIRECT",
        "https://below.exact.example.net/": "DIRECT",
        "https://digicert.com/": "DIRECT",
        "https://192.0.2.8/": "DIRECT",
    }
    assert dict(zip(expected, proxies_for(home, answer.body, *expected), strict=True)) == expected


def test_pac_cannot_be_broken_out_of(certferry, enroll_settings, home):
    """The zone is an operator's free text; it must stay text."""
    proxy = certferry(enroll_settings | {"zone": '"; alert(1); //</script>'})
    answer = fetch(proxy, "/proxy.pac")
    assert b"alert(1); //</script>" not in answer.body
    assert len(proxies_for(home, answer.body, "https://ca.enroll.test/")) == 1
    assert '"; alert(1); //</script>' in str(json.loads(fetch(proxy, "/.well-known/pvd").body))


# Prometheus text format 0.0.4.

LABELS = r'\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\}'
SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)({LABELS})? (-?[0-9.e+]+|\+Inf|NaN)")


def read_metrics(proxy):
    """{name and labels: value}; the format is checked on the way."""
    answer = fetch(proxy, "/metrics")
    assert answer.status == 200
    assert re.match(r"text/plain; version=0\.0\.4", answer.header("Content-Type"))
    assert answer.body.endswith(b"\n")
    values, types, helped, family = {}, {}, set(), None
    for line in answer.body.decode().splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in helped and len(line.split(" ", 3)[3]) > 0, line
            helped.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram", "summary"), line
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, f"no sample: {line!r}"
            assert found[1] == family and family in types, f"{line!r} stands outside its family"
            assert found[1] + (found[2] or "") not in values, f"twice: {line!r}"
            assert types[family] != "counter" or family.endswith("_total"), line
            values[found[1] + (found[2] or "")] = float(found[3])
    return values


def test_metrics_format(proxy):
    values = read_metrics(proxy)
    assert values and all(name.startswith("certferry_") for name in values)


def test_metrics_count(proxy, http_origin):
    server = http_origin(pages({"/ca.crl": b"x" * 1000}))
    before = read_metrics(proxy)
    with Client(proxy) as client:
        for _ in range(3):
            assert client.fetch(f"http://crl.enroll.test:{server.port}/ca.crl").status == 200
        assert client.fetch("http://example.org/").status == 403
    # The counters move with the line.
    proxy.wait_log(lambda line: line["outcome"] == "host-denied")
    after = read_metrics(proxy)
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}

    def growth(name, *words):
        return sum(value for key, value in grown.items() if key.startswith(name) and all(word in key for word in words))

    assert growth("certferry_exchanges_total", '"crl"', '"ok"') == 3, grown
    assert growth("certferry_exchanges_total", '"host-denied"') == 1, grown
    assert growth("certferry_client_connections_total") >= 2, grown
    assert growth("certferry_relayed_down_bytes_total") >= 3000, grown
    assert growth("certferry_origin_connections_total") == 1, grown
    assert growth("certferry_origin_connections_reused_total") == 2, grown
    assert growth("certferry_dns_lookups_total") >= 1, grown


def test_metrics_grow_only(proxy):
    before = read_metrics(proxy)
    after = read_metrics(proxy)
    assert all(after[name] >= before[name] for name in before)
