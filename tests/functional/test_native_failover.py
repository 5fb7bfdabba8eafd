"""What Java and curl do by themselves when their first sensor is lost. The expectations are the table of docs/failover.md."""

import pytest
from support import java, programs
from support.certferry import BINARY, ROOT
from support.origins import pages, reply, swallow

PAGE = ROOT / "docs/failover.md"
COLUMNS = ["refuses TCP", "answers 503", "is silent"]
LONG, SHORT = 20, 2  # patience of a client, in seconds; the short one where nothing is expected to come


def table():
    """{row: {column: "next" or "fails"}}"""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    start = next(number for number, row in enumerate(rows) if row[1:] == COLUMNS)
    found = {}
    for row in rows[start + 2 :]:
        if len(row) != len(COLUMNS) + 1:
            break
        found[row[0]] = dict(zip(COLUMNS, row[1:], strict=True))
    return found


def busy(connection):
    connection.read_until()
    connection.send(reply(b"busy\n", "503 Service Unavailable", ["Retry-After: 1"]))


class Site:
    """A live sensor on 127.0.0.1, what is left of another on 127.0.0.2, on one port; px.enroll.test leads to both."""

    def __init__(self, home, authority, sensor, url):
        self.home, self.authority, self.sensor, self.url = home, authority, sensor, url
        self.hosts = home / "hosts"
        self.hosts.write_text("127.0.0.2 px.enroll.test\n127.0.0.1 px.enroll.test\n")
        self.list = [f"127.0.0.2:{sensor.port}", f"127.0.0.1:{sensor.port}"]
        self.name = f"px.enroll.test:{sensor.port}"

    def java(self, kind, patience, *proxies):
        properties = {
            "javax.net.ssl.trustStore": self.authority.truststore(),
            "javax.net.ssl.trustStorePassword": "changeit",
            "jdk.net.hosts.file": self.hosts,
        }
        command = java.command("ProxyLists", properties, kind, patience * 1000, self.url, *proxies)
        return programs.run(self.home, *command)

    def curl(self, patience, *options, **environment):
        told = ["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}"]
        limits = ["--max-time", patience, "--cacert", self.authority.root.cert]
        return programs.run(self.home, "curl", "--disable", *told, *limits, *options, self.url, **environment)

    def curl_with_name(self, patience):
        where = f"{self.name}:127.0.0.2,127.0.0.1"
        return self.curl(patience, "--proxy", f"http://{self.name}", "--resolve", where)

    def curl_with_env(self, patience):
        asked = programs.run(
            self.home, BINARY, "peers", "--format", "env", *self.list, **programs.sanitizer_options(99)
        )
        assert asked.returncode == 0, programs.told(asked)
        lines = [line.removeprefix("export ").partition("=") for line in asked.stdout.decode().splitlines()]
        return self.curl(LONG, **{name: value.strip("'") for name, _, value in lines})


WAYS = {
    "Java `HttpURLConnection`, list (PAC, `ProxySelector`)": lambda site, wait: site.java("old", wait, *site.list),
    "Java `HttpURLConnection`, a name with two addresses": lambda site, wait: site.java("old", wait, site.name),
    "Java `java.net.http`, list (`ProxySelector`)": lambda site, wait: site.java("new", wait, *site.list),
    "Java `java.net.http`, a name with two addresses": lambda site, wait: site.java("new", wait, site.name),
    "curl, a name with two addresses": Site.curl_with_name,
    "curl, `certferry peers --format env`": Site.curl_with_env,
}


def test_table_is_whole():
    assert table().keys() == WAYS.keys()


@pytest.mark.parametrize("lost, scheme", [*((lost, "https") for lost in COLUMNS), ("refuses TCP", "http")])
@pytest.mark.parametrize("way", WAYS)
def test_first_sensor_is_lost(certferry, enroll_settings, http_origin, origin, authority, home, way, lost, scheme):
    sensor = certferry(enroll_settings | {"advertise.host": "127.0.0.1"})
    certificate = authority.server("ca.enroll.test") if scheme == "https" else None
    ca = http_origin(pages({"/x": b"hello"}), certificate=certificate)
    site = Site(home, authority, sensor, f"{scheme}://ca.enroll.test:{ca.port}/x")
    scripts = {"answers 503": busy, "is silent": swallow}
    first = origin(scripts[lost], address="127.0.0.2", port=sensor.port) if lost in scripts else None
    done = WAYS[way](site, SHORT if lost == "is silent" else LONG)
    worked = done.returncode == 0 and done.stdout.decode().split()[-1:] == ["200"]
    assert table()[way][lost] == ("next" if worked else "fails"), programs.told(done)
    assert worked == bool(ca.requests)
    if first is not None:
        assert first.connections(), "the first one was never asked"
