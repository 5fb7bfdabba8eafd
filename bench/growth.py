"""Whether certferry's costs grow: with open tunnels and entries of the allowlist; and latency at half load."""

import sys

import modes
import proxies
import report
import scaling

PARTS = ("tunnels", "entries", "latency", "cores")
TUNNELS = (100, 1000, 3000, 9000, 30000)
ENTRIES = (10, 1000, 10000, 100000)
PROBES = 3
# Latency is looked at so often in a round, briefly: the kernel takes a busy real-time process off for 50 ms once a
# second when others wait, and a look without that is wanted.
LOOKS = ("--looks", "6", "--seconds", "0.25")
LOWEST = "lowest of all looks: neighbours only add"


def _mode(name):
    return next(m for m in modes.MODES if m.name == name)


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _row(label, figures, *more):
    cells = "".join(f"{text:>14}" for text in more)
    return (f"  {label:>22}{report.number(figures['cost']):>9}{report.number(figures['rate']):>9}"
            f"{figures['p50_us']:9.0f}{figures['p99_us']:9.0f}{cells}")


def _head(title, *more):
    cells = "".join(f"{text:>14}" for text in more)
    return [f"{title}; {LOWEST}", f"  {'':22}{'us CPU':>9}{'ops/s':>9}{'p50 us':>9}{'p99 us':>9}{cells}"]


def _own(bench):
    return next(p for p in bench.proxies if p.name == "certferry")


# ---- what grows ----


def _half_rate(bench, mode, proxy):
    """Half of what it does at best, as operations in a second."""
    results = [bench.load(mode, proxy, "--seconds", str(bench.args.seconds)) for _ in range(PROBES)]
    return int(max((report.rate(mode, r) for r in results if r), default=0) / 2)


def _both_loads(bench, mode, proxy, half, *more):
    """Cost and rate under full load, latency at half: one result, or None."""
    full = bench.load(mode, proxy, "--seconds", str(bench.args.seconds), *more)
    paced = bench.load(mode, proxy, "--rate", str(half), *LOOKS, *more)
    return full | {key: paced[key] for key in ("p50_us", "p99_us")} if full and paced else None


def _flat_line(first, last):
    """The verdict: the last row as a share of the first."""
    figures = (("us CPU", "cost"), ("p50", "p50_us"), ("p99", "p99_us"))
    shares = (f"{what} {report.judge(last[key] / first[key], modes.GROWTH)}" for what, key in figures)
    return "  last / first: " + ", ".join(shares)


def _flat(bench, title, counts, prepare):
    """Rounds over all counts, a fresh proxy each; prepare(count) returns more arguments of the load."""
    own, mode, found = _own(bench), _mode("connect"), {}
    bench.start(own)
    half = _half_rate(bench, mode, own)
    own.stop()
    for number in range(bench.args.rounds):
        _say(f"bench: round {number + 1} of {bench.args.rounds}, {title}")
        for at in range(len(counts)):
            count = counts[(at + number) % len(counts)]
            more = prepare(count)
            bench.start(own)
            result = _both_loads(bench, mode, own, half, *more)
            own.stop()
            if result:
                found.setdefault(count, []).append(result)
    rows = {count: report.lowest(mode, found[count]) for count in counts if count in found}
    lines = _head(f"CONNECT {title} (p50, p99: at {half} each second)")
    lines += [_row(count, row) for count, row in rows.items()]
    if len(rows) > 1:
        lines.append(_flat_line(rows[counts[0]], list(rows.values())[-1]))
    return lines, found


def tunnels(bench):
    """CONNECT beside open idle tunnels, as many as the descriptors allow."""
    counts = [count for count in TUNNELS if count < bench.settings["HELD"]]
    return _flat(bench, "beside so many idle tunnels", counts, lambda count: ("--hold", str(count)))


def entries(bench):
    """CONNECT under longer allowlists."""

    def prepare(count):
        bench.use_entries(count)
        return ()

    lines, found = _flat(bench, "with so many allowed domains", ENTRIES, prepare)
    bench.use_entries(bench.args.entries)
    return lines, found


# ---- latency ----


def _latency_rows(mode, found):
    """Lines, with how p99 compares to the one without a proxy."""
    rows = {name: report.lowest(mode, results) for name, results in found.items()}
    direct = rows.get("direct", {}).get("p99_us")
    lines = []
    for name, row in rows.items():
        compared = (f"{row['p99_us'] / direct:.2f}", f"{row['p99_us'] / direct - 1:.2f}") if direct else ("-", "-")
        lines.append(_row(name, row, *(compared if name != "direct" else ("", ""))))
    if direct:
        ratio = rows["certferry"]["p99_us"] / direct
        lines.append(
            f"  certferry's p99 / direct's: {report.judge(ratio, modes.LATENCY)}; "
            f"what it adds / direct's: {report.judge(ratio - 1, modes.LATENCY)}"
        )
    return lines


def _latency_of(bench, mode):
    running = [p for p in bench.proxies if mode.through(p) and p.kind != proxies.CEILING and bench.start(p)]
    rate = _half_rate(bench, mode, _own(bench))
    able = [p for p in running if p.name == "certferry" or 2 * _half_rate(bench, mode, p) > 1.1 * rate]
    found = {p.name: [] for p in able}
    for number in range(bench.args.rounds):
        _say(f"bench: round {number + 1} of {bench.args.rounds}, latency of {mode.name}")
        for at in range(len(able)):
            proxy = able[(at + number) % len(able)]
            result = bench.load(mode, proxy, "--rate", str(rate), *LOOKS)
            found[proxy.name] += [result] if result else []
    for proxy in running:
        proxy.stop()
    lines = _head(f"{mode.title}: {rate} each second", "p99/direct", "added/direct")
    lines += _latency_rows(mode, {name: results for name, results in found.items() if results})
    slow = [p.name for p in running if p not in able]
    return lines + ([f"  too slow for this rate: {', '.join(slow)}"] if slow else []), found


def latency(bench):
    """Through each proxy, and without one, at half the rate that certferry can do."""
    lines, found = [], {}
    for mode in (_mode("connect"), _mode("get1k")):
        more, found[mode.name] = _latency_of(bench, mode)
        lines += more
    return lines, found


def run(bench, parts):
    """(lines to print, measurements)."""
    what = {"tunnels": tunnels, "entries": entries, "latency": latency, "cores": scaling.cores}
    lines, found = [], {}
    for name in PARTS:
        if name in parts:
            bench.realtime = name != "cores"  # which says nothing about latency
            bench.stop_origins()
            bench.start_origins()
            more, found[name] = what[name](bench)
            lines += more + [""]
    return lines, found
