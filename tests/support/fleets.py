"""What a running certferry tells of its fleet: the members of its roster, the gauges of its sources."""

import json
import re
import time
import urllib.request

from support.certferry import PATIENCE

GAUGE = re.compile(r'^certferry_roster_(members|source_up)\{\w+="(\w+)"\} (\d+)$', re.MULTILINE)


def get(proxy, path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{proxy.url}{path}", timeout=PATIENCE) as answer:
        return answer.read().decode()


def members(proxy):
    """By "host:port", as the vendor data of the document has them, in its order."""
    document = json.loads(get(proxy, "/.well-known/pvd"))
    return {m["identifier"].split("//")[1]: m for m in document["vendor-certferry"]["members"]}


def states(proxy):
    return {name: member["state"] for name, member in members(proxy).items()}


def gauges(proxy):
    """("members", "up") -> 3, ("source_up", "etcd") -> 1"""
    return {(kind, label): int(value) for kind, label, value in GAUGE.findall(get(proxy, "/metrics"))}


def place(proxy):
    return f"127.0.0.1:{proxy.port}"


def wait_until(condition, what):
    """Seconds until it holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < PATIENCE, what
        time.sleep(0.02)
    return time.monotonic() - begun


def wait_roster(proxy, *others):
    """Until the roster is exactly this proxy and these (proxies, or "host:port"); seconds."""
    wanted = {place(one) if hasattr(one, "port") else one for one in (proxy, *others)}
    return wait_until(lambda: set(members(proxy)) == wanted, f"roster never became {wanted}")
