"""
Several hosts on one machine: network namespaces on one bridge, made with ip netns and veth.

Only root can make them. Each host has a name, an address and processes of its own; its link can be silenced (nftables
drops all that comes and goes, so nobody hears a refusal).
"""

import contextlib
import ctypes
import os
import subprocess
import threading

NETWORK = "10.77.0"
CLONE_NEWNET = 0x40000000
SILENCE = (
    "add table inet silence;"
    " add chain inet silence in { type filter hook input priority 0; policy drop; };"
    " add chain inet silence out { type filter hook output priority 0; policy drop; }"
)


def possible():
    """Whether this process may make namespaces and drop packets in them."""
    name = f"certferry-{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return False
    try:
        done = subprocess.run(["ip", "netns", "exec", name, "nft", SILENCE], capture_output=True, check=False)
        return done.returncode == 0
    except OSError:
        return False
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _do(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


class Host:
    """A namespace with one address; lo is up."""

    def __init__(self, site, name, number):
        self.name, self.address = name, f"{NETWORK}.{number}"
        self.namespace = f"certferry-{os.getpid()}-{name}"
        _do("ip", "netns", "add", self.namespace)
        port = f"p{number}"
        _do("ip", "-n", site.bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _do("ip", "-n", site.bridge, "link", "set", port, "master", "br0", "up")
        _do("ip", "-n", self.namespace, "link", "set", "lo", "up")
        _do("ip", "-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        _do("ip", "-n", self.namespace, "link", "set", "eth0", "up")

    @property
    def within(self):
        """Words that run a command on this host."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}")

    def silence(self):
        """From now on nothing reaches this host and nothing leaves it, not even a refusal."""
        _do(*self.within, "nft", SILENCE)

    def speak(self):
        _do(*self.within, "nft", "delete table inet silence")

    def call(self, function):
        """function() in a thread on this host: sockets it makes are the host's, also afterwards."""
        result = []

        def run():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.namespace}", "rb") as handle:
                if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(function())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert result, f"{function} failed on {self.name}"
        return result[0]


class Site:
    """The bridge and its hosts; close() removes all of it."""

    def __init__(self):
        self.bridge = f"certferry-{os.getpid()}-bridge"
        self.hosts = []
        _do("ip", "netns", "add", self.bridge)
        # No spanning tree and no snooping: a port forwards at once.
        _do("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        _do("ip", "-n", self.bridge, "link", "set", "br0", "up")

    def host(self, name):
        made = Host(self, name, 10 + len(self.hosts))
        self.hosts.append(made)
        return made

    def close(self):
        for namespace in [host.namespace for host in self.hosts] + [self.bridge]:
            with contextlib.suppress(AssertionError):
                _do("ip", "netns", "delete", namespace)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
