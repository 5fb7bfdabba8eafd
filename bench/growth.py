"""Whether certferry's costs grow: with open tunnels, with entries of the allowlist, and latency at half load."""

import sys

import modes
import proxies
import report

TUNNELS = (100, 1000, 3000, 9000)
ENTRIES = (10, 1000, 10000, 100000)


def _mode(name):
    return next(m for m in modes.MODES if m.name == name)


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _row(label, mode, results):
    s = report.summary(mode, results)
    figures = f"{report.number(s['cost']):>9}{report.number(s['rate']):>9}{s['p50_us']:9.0f}{s['p99_us']:9.0f}"
    return f"  {label:>22}{figures}"


def _head(title):
    return [title, f"  {'':22}{'us CPU':>9}{'ops/s':>9}{'p50 us':>9}{'p99 us':>9}"]


def _own(bench):
    return next(p for p in bench.proxies if p.name == "certferry")


def tunnels(bench):
    """CONNECT beside open idle tunnels."""
    own, mode, found = _own(bench), _mode("connect"), {}
    for count in TUNNELS:
        _say(f"bench: {count} open tunnels")
        for _ in range(bench.args.rounds):
            bench.start(own)
            result = bench.load(mode, own, "--hold", str(count), "--seconds", str(bench.args.seconds))
            own.stop()
            if result:
                found.setdefault(count, []).append(result)
    return _head("CONNECT with so many idle tunnels open") + [_row(n, mode, r) for n, r in found.items()], found


def entries(bench):
    """CONNECT under longer allowlists."""
    own, mode, found = _own(bench), _mode("connect"), {}
    for _ in range(bench.args.rounds):
        for count in ENTRIES:
            _say(f"bench: {count} entries")
            bench.use_entries(count)
            bench.start(own)
            result = bench.load(mode, own, "--seconds", str(bench.args.seconds))
            own.stop()
            if result:
                found.setdefault(count, []).append(result)
    bench.use_entries(bench.args.entries)
    return _head("CONNECT with so many allowed domains") + [_row(n, mode, r) for n, r in found.items()], found


def _fastest(bench, mode, proxy):
    result = bench.load(mode, proxy, "--seconds", str(bench.args.seconds))
    return report.rate(mode, result) if result else 0


def half_load(bench):
    """Latency through each proxy, and without one, at half the rate that the slower of certferry and it can do."""
    lines, found = [], {}
    for mode in (_mode("connect"), _mode("get1k")):
        own = _own(bench)
        bench.start(own)
        rate = int(_fastest(bench, mode, own) / 2)
        own.stop()
        lines += _head(f"{mode.title}: {rate} each second")
        for proxy in bench.proxies:
            if not mode.through(proxy) or proxy.kind == proxies.CEILING or not bench.start(proxy):
                continue
            _say(f"bench: {mode.name} at half load, {proxy.name}")
            able = _fastest(bench, mode, proxy) > 1.1 * rate
            results = [bench.load(mode, proxy, "--rate", str(rate), "--seconds", str(bench.args.seconds))
                       for _ in range(bench.args.rounds if able else 0)]
            results = [r for r in results if r]
            proxy.stop()
            if results:
                found.setdefault(mode.name, {})[proxy.name] = results
                lines.append(_row(proxy.name, mode, results))
            else:
                lines.append(f"  {proxy.name:>22}   too slow for this rate")
    return lines, found


def run(bench):
    """(lines to print, measurements)."""
    lines, found = [], {}
    for name, what in (("tunnels", tunnels), ("entries", entries), ("half_load", half_load)):
        more, found[name] = what(bench)
        lines += more + [""]
    return lines, found
