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
SERVICES = ("echo", "source", "sink", "both", "http", "https", "est")
LAST_ORIGIN = FIRST_ORIGIN + len(SERVICES) - 1
HTTP_ORIGIN = FIRST_ORIGIN + SERVICES.index("http")
HTTPS_ORIGIN = FIRST_ORIGIN + SERVICES.index("https")

# Each proxy has a block of ports: forward proxies use the first; ceilings one for each service, then one that speaks
# HTTP to a fixed origin. Then the doors: of ceilings those that go to a fixed origin have one for echo, source, sink.
FIRST_PROXY = 8000
BLOCK = 20
HTTP_PORT = len(SERVICES)
TLS, GATEWAY, SNI = "tls", "gateway", "sni"
DOOR_PORT = {TLS: 8, SNI: 11, GATEWAY: 14}
DOOR_SERVICES = SERVICES[:3]
ALL_DOORS = (TLS, GATEWAY, SNI)

FORWARD = "forward proxy"
CEILING = "ceiling"
LIMIT = "limit"


NICE = -10
SQUID_SERVICE = "certferrybench"


def place(cpus, realtime=False):
    """
    For preexec_fn: pins the process and, as root, puts it before the neighbours. Where sessions are scheduled as groups
    (sched_autogroup), the session's own value counts. That is enough for costs and rates; latency needs a real-time
    class, as even then a compiler next door keeps a processor for a turn of milliseconds. It is the same for every
    proxy, load and origin.
    """

    def do():
        os.sched_setaffinity(0, cpus)
        try:
            if realtime:
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
            pathlib.Path("/proc/self/autogroup").write_text(str(NICE))
        except OSError:
            pass  # not root, or no such groups

    return do


class Failed(Exception):
    """A proxy that did not start, or a load that did not run; the text says what to look at."""


def family(root):
    """The process and all its descendants; 0 has none."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass  # it has just ended
    found = [root] if root else []
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


# Listeners of those that go where they are told, for each service and each door.
LISTENERS = {
    "haproxy": {
        "": "listen tcp_{name}\n    bind 127.0.0.1:{port}\n    mode tcp\n    option tcplog\n"
            "    server origin 127.0.0.1:{origin}\n",
        TLS: "listen tls_{name}\n    bind 127.0.0.1:{port} ssl crt {cert}\n    mode tcp\n    option tcplog\n"
             "    server origin 127.0.0.1:{origin}\n",
        SNI: "listen sni_{name}\n    bind 127.0.0.1:{port}\n    mode tcp\n    option tcplog\n"
             "    tcp-request inspect-delay 5s\n    tcp-request content reject if !{{ req.ssl_sni -i {sni} }}\n"
             "    server origin 127.0.0.1:{origin}\n",
    },
    "nginx": {
        "": "    server {{\n        listen 127.0.0.1:{port} reuseport;\n        proxy_pass 127.0.0.1:{origin};\n    }}\n",
        TLS: "    server {{\n        listen 127.0.0.1:{port} ssl reuseport;\n"
             "        proxy_pass 127.0.0.1:{origin};\n    }}\n",
        SNI: "    map $ssl_preread_server_name $named_{name} {{\n        {sni} 127.0.0.1:{origin};\n    }}\n"
             "    server {{\n        listen 127.0.0.1:{port} reuseport;\n        ssl_preread on;\n"
             "        proxy_pass $named_{name};\n    }}\n",
    },
}


class Proxy:
    """
    A way to the origin. `http`: port in its block that plain HTTP goes to; `connects`: the load asks by CONNECT;
    `doors`: those at which it can do the work, or as a ceiling something of it.
    """

    def __init__(self, name, kind, command, conf=None, http=0, connects=True, version=None, doors=()):
        self.name = name
        self.kind = kind
        self.command = command
        self.conf = conf
        self.http = http
        self.connects = connects
        self.version = version
        self.doors = doors
        self.port = 0
        self.directory = None
        self.process = None

    def address(self, service, door=""):
        """Where the load connects to."""
        if self.kind == LIMIT and self.command is None:
            return FIRST_ORIGIN + SERVICES.index(service)
        if door and self.kind != LIMIT:
            fixed = self.kind == CEILING and door != GATEWAY
            return self.port + DOOR_PORT[door] + (DOOR_SERVICES.index(service) if fixed else 0)
        if service == "http":
            return self.port + self.http
        return self.port + (0 if self.kind == FORWARD else SERVICES.index(service))

    def pid(self):
        return self.process.pid if self.process else 0

    def thread_times(self):
        """{thread: nanoseconds it ran} of all its processes."""
        times = {}
        for pid in family(self.pid()):
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                try:
                    times[task.name] = int((task / "schedstat").read_text().split()[0])
                except OSError:
                    pass  # it has just ended
        return times

    def _listeners(self, door, services, settings):
        text = LISTENERS.get(self.conf, {}).get(door, "")
        first = self.port + DOOR_PORT.get(door, 0)
        return "".join(
            text.format(name=name, port=first + i, origin=FIRST_ORIGIN + i, cert=settings["CERT"], sni=settings["NAME"])
            for i, name in enumerate(services)
        )

    def _values(self, settings):
        return settings | {
            "PORT": self.port,
            "DIR": self.directory,
            "FIRST_ORIGIN": FIRST_ORIGIN,
            "LAST_ORIGIN": LAST_ORIGIN,
            "HTTP_ORIGIN": HTTP_ORIGIN,
            "HTTP_PORT": self.port + HTTP_PORT,
            "SNI": "off" if self.name == "certferry-raw" else "match",
            "HTTPS_ORIGIN": HTTPS_ORIGIN,
            "TLS_PORT": self.port + DOOR_PORT[TLS],
            "GATEWAY_PORT": self.port + DOOR_PORT[GATEWAY],
            "SNI_PORT": self.port + DOOR_PORT[SNI],
            "NAMED_PORT": FIRST_ORIGIN + SERVICES.index("source" if self.name == "certferry-down" else "echo"),
            "TCP_SERVICES": self._listeners("", SERVICES, settings),
            "DOOR_SERVICES": self._listeners(TLS, DOOR_SERVICES, settings)
            + self._listeners(SNI, DOOR_SERVICES, settings),
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

    def start(self, directory, number, settings, placed):
        """In the foreground, placed, ready when it accepts."""
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
                preexec_fn=placed,
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
        status = self.process.poll()
        how = "does not listen" if status is None else f"ended with status {status}"
        said = (self.directory / "stderr").read_text(errors="replace")[-600:]
        self.stop()
        raise Failed(f"{self.name} {how}; --keep keeps its files in {self.directory}\n{said}")

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
        if self.name == "squid":
            for left in pathlib.Path("/dev/shm").glob(f"{SQUID_SERVICE}-*"):
                left.unlink()


def known(build, cores=1):
    """All of them, in the order of the table."""
    relay = [str(build / "bench/bench_relay")]
    many = ["--processes", str(cores)]
    # -N is one process, whatever `workers` says. Several share memory under the service's name.
    squid = ["squid", *(["-N"] if cores == 1 else ["--foreground", "-n", SQUID_SERVICE])]
    certferry = [str(build / "certferry"), "serve", "--conf", "@DIR@"]
    return [
        Proxy("certferry", FORWARD, certferry, "certferry", version=[certferry[0], "--version"], doors=ALL_DOORS),
        Proxy("certferry-raw", FORWARD, certferry, "certferry"),
        Proxy("certferry-down", FORWARD, certferry, "certferry", doors=(SNI,)),
        Proxy("squid", FORWARD, [*squid, "-f", "@DIR@/squid.conf"], "squid",
              version=["squid", "-v"], doors=(TLS,)),
        Proxy("tinyproxy", FORWARD, ["tinyproxy", "-d", "-c", "@DIR@/tinyproxy.conf"], "tinyproxy",
              version=["tinyproxy", "-v"]),
        Proxy("apache2", FORWARD, ["apache2", "-DFOREGROUND", "-f", "@DIR@/apache2.conf"], "apache2",
              version=["apache2", "-v"], doors=(TLS,)),
        Proxy("trafficserver", FORWARD, ["traffic_server", "--run-root=@DIR@"], "trafficserver",
              version=["traffic_server", "-V"], doors=(TLS,)),
        Proxy("privoxy", FORWARD, ["privoxy", "--no-daemon", "@DIR@/config"], "privoxy",
              version=["privoxy", "--version"]),
        Proxy("haproxy", CEILING, ["haproxy", "-db", "-f", "@DIR@/haproxy.cfg"], "haproxy", HTTP_PORT, False,
              version=["haproxy", "-v"], doors=ALL_DOORS),
        Proxy("nginx", CEILING, ["nginx", "-c", "@DIR@/nginx.conf"], "nginx", HTTP_PORT, False,
              version=["nginx", "-v"], doors=ALL_DOORS),
        Proxy("relay", LIMIT, [*relay, *many, "@PAIRS@"], http=SERVICES.index("http"), connects=False,
              doors=(SNI,)),
        Proxy("relay-200", LIMIT, [*relay, "--answer", *many, "@PAIRS@"]),
        Proxy("direct", LIMIT, None, connects=False),
    ]
