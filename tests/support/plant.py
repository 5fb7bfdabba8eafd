"""A plant: three sensors, etcd, a CA and a client machine, each a host of its own (support/sites.py)."""

import contextlib
import json
import pathlib
import socket
import time

import pacparser
from support.agent import Agent
from support.certferry import PATIENCE, Certferry
from support.daemons import Daemon
from support.enrolling import Device
from support.est_server import EstServer
from support.herd import Enroller, curl_on
from support.sites import Site

PORT = 48999
SENSORS = ("px1", "px2", "px3")
LEASE_TTL = 3  # seconds; etcd knows no shorter one
ATTEMPT_TIMEOUT = 2


class Plant:
    """Everything runs when it is made; close() ends and removes all of it."""

    def __init__(self, directory, authority, **settings):
        self.directory = pathlib.Path(directory)
        self.settings = settings
        self.enrollers, self.sensors, self.starts = [], {}, 0
        self.etcd = self.agent = None
        self._stack = contextlib.ExitStack()
        try:
            self._make(authority)
        except BaseException:
            self._stack.close()
            raise

    def _make(self, authority):
        site = self._stack.enter_context(Site())
        self.ca, self.registry, self.client = (site.host(name) for name in ("ca", "etcd", "client"))
        self.hosts = {name: site.host(name) for name in SENSORS}
        self.est = self.ca.call(lambda: EstServer(authority, self.ca.address, address=self.ca.address))
        self._stack.callback(self.est.close)
        self.home = self.directory / "home"
        self.home.mkdir(parents=True)
        self.device = Device(self.home)
        self._stack.callback(self.stop_etcd)
        self.start_etcd()
        self._stack.callback(lambda: [sensor.kill() for sensor in self.sensors.values()])
        for name in SENSORS:
            self.start_sensor(name)
        self.wait(lambda: all(self.usable(name) == set(SENSORS) for name in SENSORS), "the sensors do not find each other")

    def close(self):
        for enroller in self.enrollers:
            enroller.stop()
        self._stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def wait(self, happens, why, timeout=PATIENCE):
        """Polls, for what is waited for is the knowledge of another host; how long it took, in seconds."""
        began = time.monotonic()
        while not happens():
            assert time.monotonic() - began < timeout, f"{why}: {self.transcript()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def transcript(self):
        return "\n".join(f"{name}: {event}" for name, sensor in self.sensors.items() for event in sensor.events()[-12:])

    # ---- etcd ----

    def start_etcd(self):
        url, peer = f"http://{self.registry.address}:2379", f"http://{self.registry.address}:2380"
        options = ("--data-dir", self.directory / "etcd.data", "--log-level", "error", "--name", "one")
        clients = ("--listen-client-urls", url, "--advertise-client-urls", url)
        peers = ("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}")
        command = (*self.registry.within, "/usr/bin/etcd", *options, *clients, *peers)
        self.etcd = Daemon(self.directory / "etcd", *command)
        self.wait(lambda: curl_on(self.registry, self.home, f"{url}/health"), "etcd does not start")

    def stop_etcd(self):
        if self.etcd is not None:
            self.etcd.close()
        self.etcd = None

    # ---- sensors ----

    def start_sensor(self, name):
        host = self.hosts[name]
        settings = {
            "listen.addresses": host.address,
            "heartbeatport": PORT,
            "advertise.host": host.address,
            "zone": "plant7",
            "clients.allow": "10.77.0.0/24",
            "control.allow": "10.77.0.0/24",
            "control.socket": "",
            "allowed.hosts": self.ca.address,
            "allowed.networks": "10.77.0.0/24",
            "allowed.connect.ports": "1-65535",
            "etcd.endpoints": f"http://{self.registry.address}:2379",
            "etcd.lease.ttl": f"{LEASE_TTL}s",
            "probe.interval": "500ms",
            "probe.timeout": "500ms",
            "drain.notice": "3s",
            "drain.grace": "10s",
            "roster.ttl": "20s",
        }
        self.starts += 1
        directory = self.directory / f"{name}-{self.starts}"
        self.sensors[name] = Certferry(directory, settings | self.settings, within=host.within)

    def url(self, name):
        return f"http://{self.hosts[name].address}:{PORT}"

    def roster(self, name):
        """{sensor: state} as that sensor tells it; None when it does not answer."""
        text = curl_on(self.client, self.home, f"{self.url(name)}/.well-known/pvd")
        if text is None:
            return None
        names = {host.address: sensor for sensor, host in self.hosts.items()}
        members = json.loads(text)["vendor-certferry"]["members"]
        return {names[m["identifier"].split("//")[-1].rpartition(":")[0]]: m["state"] for m in members}

    def usable(self, name):
        """The sensors that it says are up."""
        return {sensor for sensor, state in (self.roster(name) or {}).items() if state == "up"}

    # ---- clients ----

    def enroll(self, name, proxies):
        """Begins to enroll over and over; see Enroller."""
        made = Enroller(name, self.client, self.home, self.est, self.ca.address, self.device, proxies)
        self.enrollers.append(made)
        return made

    def by_addresses(self):
        """One proxy name with all sensors' addresses: curl tries the next when it cannot connect to one."""
        name = "enroll-proxy.plant7.test"
        addresses = ",".join(host.address for host in self.hosts.values())
        options = ("--resolve", f"{name}:{PORT}:{addresses}", "--connect-timeout", "8", "--proxy", f"http://{name}:{PORT}")
        return self.enroll("one name, three addresses", lambda: [options])

    def by_pac(self):
        return self.enroll("PAC", PacClient(self).proxies)

    def by_agent(self):
        """Through our agent on the client's host."""
        if self.agent is None:
            urls = [self.url(name) for name in SENSORS]
            settings = {"agent.attempt.timeout": f"{ATTEMPT_TIMEOUT}s", "control.socket": ""}
            self.agent = Agent(self.directory / "agent", urls, settings, within=self.client.within)
            self._stack.callback(self.agent.kill)
        return self.enroll("agent", lambda: [("--proxy", self.agent.url)])

    def agent_uses(self):
        """The sensor to which the agent's exchanges go."""
        first = self.agent.first()
        return next(name for name in SENSORS if first.startswith(self.url(name)))

    @contextlib.contextmanager
    def queue_filled(self, name, places):
        """All the places at the CA that this sensor gives are taken, and somebody waits, as long as this lasts."""
        host = self.hosts[name].address
        goal = f"{self.ca.address}:{self.est.port}"
        ask = f"CONNECT {goal} HTTP/1.1\r\nHost: {goal}\r\n\r\n".encode()

        def connect():
            made = socket.create_connection((host, PORT), PATIENCE)
            made.sendall(ask)
            return made

        # The enrolling clients take places too: who is refused tries again until it has one.
        taken, end = [], time.monotonic() + PATIENCE
        try:
            while len(taken) < places:
                made = self.registry.call(connect)
                if made.recv(4096).startswith(b"HTTP/1.1 200"):
                    taken.append(made)
                else:
                    made.close()
                assert time.monotonic() < end, "no places to be had"
            taken += [other.call(connect) for other in (self.ca, self.registry)]
            yield
        finally:
            for made in taken:
                made.close()


class PacClient:
    """
    Uses /proxy.pac as browsers do: kept for as long as it says, evaluated for each request; a proxy that could not be
    connected to is tried last for five minutes.
    """

    BAD_SECONDS = 300

    def __init__(self, plant):
        self.plant, self.script, self.until, self.bad = plant, None, 0.0, {}
        pacparser.init()

    def _script(self):
        if time.monotonic() >= self.until:
            for name in SENSORS:
                text = curl_on(self.plant.client, self.plant.home, f"{self.plant.url(name)}/proxy.pac")
                if text is not None:
                    self.script, self.until = text.decode("ascii"), time.monotonic() + 5
                    break
        return self.script

    def proxies(self):
        pacparser.parse_pac_string(self._script())
        url = self.plant.est.url("simpleenroll", name=self.plant.ca.address)
        found = pacparser.find_proxy(url, self.plant.ca.address)
        listed = [word.split()[1] for word in found.split(";") if word.split()[0] == "PROXY"]
        now = time.monotonic()
        listed.sort(key=lambda proxy: self.bad.get(proxy, 0) > now)
        for proxy in listed:
            yield ("--connect-timeout", "2", "--proxy", f"http://{proxy}")
            self.bad[proxy] = now + self.BAD_SECONDS  # whoever asks for another one could not connect to this
