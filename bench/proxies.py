"""Everything that the load can go through: how each is started in the foreground, with conf/NAME filled in."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 30

# Ports of the origin process, from the first on, and of the EST server.
FIRST_ORIGIN = 7000
SERVICES = ("echo", "source", "sink", "both", "http", "est")
LAST_ORIGIN = FIRST_ORIGIN + len(SERVICES) - 1
HTTP_ORIGIN = FIRST_ORIGIN + SERVICES.index("http")

# Each proxy has a block of ports: forward proxies use the first; ceilings one for each service, then one that speaks
# HTTP to a fixed origin.
FIRST_PROXY = 8000
BLOCK = 10
HTTP_PORT = 6

FORWARD = "forward proxy"
CEILING = "ceiling"
LIMIT = "limit"


class Failed(Exception):
    """A proxy that did not start, or a load that did not run; the text says what to look at."""


class Proxy:
    """A way to the origin. `http`: port in its block that plain HTTP goes to; `connects`: the load asks by CONNECT."""

    def __init__(self, name, kind, command, conf=None, http=0, connects=True, version=None):
        self.name = name
        self.kind = kind
        self.command = command
        self.conf = conf
        self.http = http
        self.connects = connects
        self.version = version
        self.port = 0
        self.directory = None
        self.process = None

    def address(self, service):
        """Where the load connects to."""
        if self.kind == LIMIT and self.command is None:
            return FIRST_ORIGIN + SERVICES.index(service)
        if service == "http":
            return self.port + self.http
        return self.port + (0 if self.kind == FORWARD else SERVICES.index(service))

    def pid(self):
        return self.process.pid if self.process else 0

    def _values(self, settings):
        tcp = {
            "haproxy": "listen tcp_{0}\n    bind 127.0.0.1:{1}\n    mode tcp\n    option tcplog\n"
            "    server origin 127.0.0.1:{2}\n",
            "nginx": "    server {{\n        listen 127.0.0.1:{1};\n        proxy_pass 127.0.0.1:{2};\n    }}\n",
        }.get(self.conf, "")
        return settings | {
            "PORT": self.port,
            "DIR": self.directory,
            "FIRST_ORIGIN": FIRST_ORIGIN,
            "LAST_ORIGIN": LAST_ORIGIN,
            "HTTP_ORIGIN": HTTP_ORIGIN,
            "HTTP_PORT": self.port + HTTP_PORT,
            "SNI": "off" if self.name == "certferry-raw" else "match",
            "TCP_SERVICES": "".join(
                tcp.format(service, self.port + i, FIRST_ORIGIN + i) for i, service in enumerate(SERVICES)
            ),
            "PAIRS": [f"{self.port + i}:{FIRST_ORIGIN + i}" for i in range(len(SERVICES))],
        }

    def _fill(self, values):
        """Writes conf/NAME into the directory with each @KEY@ replaced."""
        for source in sorted((HERE / "conf" / self.conf).iterdir()):
            text = source.read_text()
            for key, value in values.items():
                text = text.replace(f"@{key}@", str(value))
            (self.directory / source.name).write_text(text)

    def _command(self, values):
        words = []
        for word in self.command:
            if word == "@PAIRS@":
                words += values["PAIRS"]
            else:
                words.append(word.replace("@DIR@", str(self.directory)))
        return words

    def start(self, directory, number, settings, processors):
        """In the foreground, pinned, ready when it accepts."""
        if self.command is None:
            return
        self.port = FIRST_PROXY + number * BLOCK
        self.directory = directory / self.name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        if self.conf != "certferry":  # which would refuse it
            self.directory.chmod(0o777)  # most give up root before they open their logs
        values = self._values(settings)
        if self.conf:
            self._fill(values)
        with open(self.directory / "stdout", "wb") as out, open(self.directory / "stderr", "wb") as err:
            self.process = subprocess.Popen(
                self._command(values),
                cwd=self.directory,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, processors),
            )
        self._wait()

    def _wait(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        said = (self.directory / "stderr").read_text(errors="replace")[-600:]
        self.stop()
        raise Failed(f"{self.name} does not start; its files are in {self.directory}\n{said}")

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the session we gave it: what it left behind
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None


def known(build):
    """All of them, in the order of the table."""
    relay = str(build / "bench/bench_relay")
    certferry = [str(build / "certferry"), "serve", "--conf", "@DIR@"]
    return [
        Proxy("certferry", FORWARD, certferry, "certferry", version=[certferry[0], "--version"]),
        Proxy("certferry-raw", FORWARD, certferry, "certferry"),
        Proxy("squid", FORWARD, ["squid", "-N", "-f", "@DIR@/squid.conf"], "squid", version=["squid", "-v"]),
        Proxy("tinyproxy", FORWARD, ["tinyproxy", "-d", "-c", "@DIR@/tinyproxy.conf"], "tinyproxy",
              version=["tinyproxy", "-v"]),
        Proxy("apache2", FORWARD, ["apache2", "-DFOREGROUND", "-f", "@DIR@/apache2.conf"], "apache2",
              version=["apache2", "-v"]),
        Proxy("trafficserver", FORWARD, ["traffic_server", "--run-root=@DIR@"], "trafficserver",
              version=["traffic_server", "-V"]),
        Proxy("privoxy", FORWARD, ["privoxy", "--no-daemon", "@DIR@/config"], "privoxy",
              version=["privoxy", "--version"]),
        Proxy("haproxy", CEILING, ["haproxy", "-db", "-f", "@DIR@/haproxy.cfg"], "haproxy", HTTP_PORT, False,
              version=["haproxy", "-v"]),
        Proxy("nginx", CEILING, ["nginx", "-c", "@DIR@/nginx.conf"], "nginx", HTTP_PORT, False,
              version=["nginx", "-v"]),
        Proxy("relay", LIMIT, [relay, "@PAIRS@"], http=SERVICES.index("http"), connects=False),
        Proxy("relay-200", LIMIT, [relay, "--answer", "@PAIRS@"]),
        Proxy("direct", LIMIT, None, connects=False),
    ]
