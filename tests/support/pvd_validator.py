"""
A reader of PvD documents that knows no mercy, written from RFC 8801 section 4.3 and draft-ietf-intarea-proxy-config, and
for vendor-certferry from what docs/failover.md promises; it shares nothing with the program.
"""

import datetime
import ipaddress
import json
import re

HOST_PORT = {"http-connect", "https-connect", "socks5"}
URI_TEMPLATE = {"connect-tcp", "connect-udp", "connect-ip"}
ROOT_KEYS = {"identifier", "expires", "prefixes", "dnsZones", "noInternet", "proxies", "proxy-match"}
PROXY_KEYS = {"protocol", "proxy", "mandatory", "alpn", "identifier"}
RULE_KEYS = {"proxies", "domains", "subnets", "ports"}
STATES = ["up", "unknown", "draining", "down"]
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*\.?", re.IGNORECASE)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")


class Invalid(Exception):
    """Which rule the document breaks, and where."""


def need(condition, where, rule):
    if not condition:
        raise Invalid(f"{where}: {rule}")


def no_twins(pairs):
    names = [name for name, _ in pairs]
    need(len(names) == len(set(names)), names, "a name stands twice in an object")
    return dict(pairs)


def parse(body):
    def refuse(word):
        raise Invalid(f"{word} is no number of JSON")

    try:
        return json.loads(body.decode("utf-8", errors="strict"), object_pairs_hook=no_twins, parse_constant=refuse)
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise Invalid(f"no JSON in UTF-8: {fault}") from None


def is_address(text):
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def is_name(text):
    return isinstance(text, str) and len(text) <= 254 and bool(NAME.fullmatch(text))


def strings(value, where):
    need(isinstance(value, list) and all(isinstance(item, str) for item in value), where, "is an array of strings")
    return value


def whole(value, least, most, where):
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    need(is_whole and least <= value <= most, where, f"is a whole number from {least} to {most}")
    return value


def split_host_port(text, where):
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]/@]+):(\d{1,5})", text)
    need(found, where, "is host:port")
    host, port = found[1], int(found[2])
    need(0 < port < 65536, where, "has a port from 1 to 65535")
    if host.startswith("["):
        need(is_address(host[1:-1]), where, "holds an IPv6 address in brackets")
        return host[1:-1], port
    need(is_name(host), where, "holds a host name or an address")
    return host, port


def check_root(root, now):
    need(isinstance(root, dict), "document", "is an object")
    for key in ("identifier", "expires", "prefixes"):
        need(key in root, key, "is mandatory")
    identifier = root["identifier"]
    need(is_name(identifier) or is_address(identifier), "identifier", "is a host")
    need(isinstance(root["expires"], str) and RFC3339.fullmatch(root["expires"]), "expires", "is a date of RFC 3339")
    expires = datetime.datetime.fromisoformat(root["expires"].replace("Z", "+00:00"))
    need(expires > now, "expires", "lies in the future")
    need(root["prefixes"] == [], "prefixes", "is empty without a Router Advertisement")
    for zone in strings(root.get("dnsZones", []), "dnsZones"):
        need(is_name(zone), "dnsZones", "are names")
    need(isinstance(root.get("noInternet", False), bool), "noInternet", "is true or false")
    for key in set(root) - ROOT_KEYS:
        need(key.startswith("vendor-") and isinstance(root[key], dict), key, "private data is a vendor- dictionary")


def check_proxy(entry, where):
    need(isinstance(entry, dict), where, "is a dictionary")
    need(isinstance(entry.get("protocol"), str), f"{where}.protocol", "is a string and mandatory")
    need(isinstance(entry.get("proxy"), str), f"{where}.proxy", "is a string and mandatory")
    protocol = entry["protocol"]
    need(protocol in HOST_PORT | URI_TEMPLATE, f"{where}.protocol", "is one of the registry")
    if protocol in HOST_PORT:
        split_host_port(entry["proxy"], f"{where}.proxy")
    else:
        need(entry["proxy"].startswith("https://"), f"{where}.proxy", "is a URI template")
    for name in strings(entry.get("mandatory", []), f"{where}.mandatory"):
        need(name in entry and name not in ("protocol", "proxy", "mandatory"), f"{where}.mandatory", "names what is there")
    strings(entry.get("alpn", []), f"{where}.alpn")
    if "identifier" in entry:
        need(isinstance(entry["identifier"], str) and entry["identifier"], f"{where}.identifier", "is a string")
    for key in set(entry) - PROXY_KEYS:
        need("_" in key, f"{where}.{key}", "private keys have an underscore")


def check_rule(rule, where, identifiers):
    need(isinstance(rule, dict), where, "is a dictionary")
    need(set(rule) <= RULE_KEYS, where, "unknown keys void a rule")
    need("proxies" in rule, f"{where}.proxies", "is mandatory")
    named = strings(rule["proxies"], f"{where}.proxies")
    need(set(named) <= identifiers, f"{where}.proxies", "are identifiers of this document")
    need(len(named) == len(set(named)), f"{where}.proxies", "stand there once each")
    for domain in strings(rule.get("domains", []), f"{where}.domains"):
        need(is_name(domain.removeprefix("*.")) and not is_address(domain), f"{where}.domains", f"{domain!r} is no name")
    for subnet in strings(rule.get("subnets", []), f"{where}.subnets"):
        try:
            ipaddress.ip_network(subnet)
        except ValueError:
            raise Invalid(f"{where}.subnets: {subnet!r} is no address and no network") from None
    for ports in strings(rule.get("ports", []), f"{where}.ports"):
        found = re.fullmatch(r"([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?", ports)
        need(found, f"{where}.ports", f"{ports!r} is no port and no range")
        need(int(found[1]) <= int(found[2] or found[1]) <= 65535, f"{where}.ports", f"{ports!r} is no range")
    for key in ("domains", "subnets", "ports"):
        need(rule.get(key) != [], f"{where}.{key}", "an empty list matches nothing: leave the rule out")


def check_lists(root):
    proxies, rules = root.get("proxies"), root.get("proxy-match")
    need(isinstance(proxies, list), "proxies", "is an array")
    need(isinstance(rules, list), "proxy-match", "is an array")
    for number, entry in enumerate(proxies):
        check_proxy(entry, f"proxies[{number}]")
    named = [entry["identifier"] for entry in proxies if "identifier" in entry]
    need(len(named) in (0, len(proxies)), "proxies", "identifiers stand on all entries or on none")
    for number, rule in enumerate(rules):
        check_rule(rule, f"proxy-match[{number}]", set(named))
    used = {name for rule in rules for name in rule["proxies"]}
    need(not rules or used == set(named), "proxies", "an identifier that no rule names must not be used")


# What is ours.


def check_member(member, where, by_identifier):
    need(isinstance(member, dict), where, "is a dictionary")
    required = {"identifier", "zone", "state", "priority", "weight", "started", "self"}
    need(required <= set(member), where, f"has all of {sorted(required)}")
    need(set(member) <= required | {"load", "version", "tls_port", "protocol", "proxy"}, where, "has no other keys")
    need(isinstance(member["zone"], str) and len(member["zone"].encode()) <= 255, f"{where}.zone", "is a short string")
    need(member["state"] in STATES, f"{where}.state", f"is one of {STATES}")
    whole(member["priority"], 0, 65535, f"{where}.priority")
    whole(member["weight"], 1, 100, f"{where}.weight")
    whole(member["started"], 0, 253402300799, f"{where}.started")
    need(isinstance(member["self"], bool), f"{where}.self", "is true or false")
    need(whole(member.get("load", 0), 0, 1000, f"{where}.load") % 100 == 0, f"{where}.load", "comes in steps")
    whole(member.get("tls_port", 1), 1, 65535, f"{where}.tls_port")
    version = member.get("version", "0")
    need(isinstance(version, str) and re.fullmatch(r'[ !#-\[\]-~]{1,31}', version), f"{where}.version", "is plain text")
    if member["identifier"] in by_identifier:
        need("proxy" not in member and "protocol" not in member, where, "who is offered stands among the proxies")
    else:
        need(member["state"] == "draining", f"{where}.state", "who is not offered is draining")
        check_proxy({key: member[key] for key in ("protocol", "proxy") if key in member}, where)


def check_vendor(root):
    vendor = root.get("vendor-certferry")
    need(isinstance(vendor, dict) and set(vendor) == {"version", "members"}, "vendor-certferry", "has version and members")
    need(isinstance(vendor["version"], str), "vendor-certferry.version", "is a string")
    by_identifier = {entry["identifier"]: entry for entry in root["proxies"]}
    need(len(by_identifier) == len(root["proxies"]), "proxies", "each of ours has an identifier of its own")
    need(isinstance(vendor["members"], list), "vendor-certferry.members", "is an array")
    for number, member in enumerate(vendor["members"]):
        check_member(member, f"vendor-certferry.members[{number}]", by_identifier)
    described = [member["identifier"] for member in vendor["members"]]
    need(len(described) == len(set(described)), "vendor-certferry.members", "each stands there once")
    doors = tls_doors(root["proxies"], vendor["members"])
    need(set(by_identifier) <= set(described) | set(doors), "vendor-certferry.members", "all that are offered are described")
    need(not set(doors) & set(described), "vendor-certferry.members", "a door is no member of its own")
    order = [entry["identifier"] for entry in root["proxies"]]
    need(order[len(order) - len(doors) :] == doors, "proxies", "TLS doors stand behind all members, in their order")
    selves = [member for member in vendor["members"] if member["self"]]
    need(len(selves) == 1, "vendor-certferry.members", "who answers is one of them")
    check_order(root, vendor["members"], selves[0]["zone"])


def tls_doors(proxies, members):
    """The identifiers of what is offered besides the members themselves: their https-connect ports."""
    ports = {member["identifier"]: member["tls_port"] for member in members if "tls_port" in member}
    by_place = {entry["proxy"]: entry for entry in proxies if entry["protocol"] == "https-connect"}
    doors = []
    for entry in proxies:
        if entry["identifier"] in ports:
            need(entry["protocol"] == "http-connect", "vendor-certferry.members", "only http-connect has another door")
            place = entry["proxy"].rpartition(":")[0] + f":{ports[entry['identifier']]}"
            need(place in by_place, "proxies", f"{place} is missing, a door that vendor-certferry tells of")
            doors.append(by_place[place]["identifier"])
    return doors


def check_order(root, members, zone):
    """Healthy before doubtful before draining before down, near before far, then by priority; in each list."""
    facts = {member["identifier"]: member for member in members}
    order = [entry["identifier"] for entry in root["proxies"] if entry["identifier"] in facts]
    offered = [entry["identifier"] for entry in root["proxies"]]

    def rank(name):
        member = facts[name]
        far = bool(zone) and member["zone"] != zone
        return (STATES.index(member["state"]), far, member["priority"], not member["self"])

    need(order == sorted(order, key=rank), "proxies", "stand in order of preference")
    for number, rule in enumerate(root["proxy-match"]):
        need(rule["proxies"] == offered, f"proxy-match[{number}].proxies", "are all, in order of preference")
    states = {member["state"] for member in members}
    if states & {"up", "unknown"}:
        need("draining" not in {facts[name]["state"] for name in order}, "proxies", "a draining one is not offered while there are others")


def validate(body, content_type="application/pvd+json", now=None):
    """The parsed root of a document that follows all rules, of the standards and of ours; raises Invalid."""
    need(content_type == "application/pvd+json", content_type, "is the media type")
    root = parse(body)
    check_root(root, now or datetime.datetime.now(datetime.timezone.utc))
    check_lists(root)
    check_vendor(root)
    return root


# A client that follows the draft to the letter.


def rule_matches(rule, host, port):
    def port_fits(text):
        first, _, last = text.partition("-")
        return int(first) <= port <= int(last or first)

    def name_fits(domain):
        bare, name = domain.removeprefix("*.").rstrip(".").lower(), host.rstrip(".").lower()
        return name == bare or (domain.startswith("*.") and name.endswith("." + bare))

    if is_address(host):
        address = ipaddress.ip_address(host)
        if "domains" in rule:
            return False
        nets = [ipaddress.ip_network(subnet) for subnet in rule.get("subnets", [])]
        inside = any(address in net for net in nets if net.version == address.version)
        host_fits = inside or "subnets" not in rule
    else:
        host_fits = "subnets" not in rule and any(map(name_fits, rule.get("domains", [host])))
    return host_fits and any(map(port_fits, rule.get("ports", [str(port)])))


def proxies_for(root, host, port):
    """"host:port" of the proxies for this destination, in order of preference; [] for none."""
    for rule in root["proxy-match"]:
        if rule_matches(rule, host, port):
            by_identifier = {entry["identifier"]: entry["proxy"] for entry in root["proxies"]}
            return [by_identifier[name] for name in rule["proxies"]]
    return []
