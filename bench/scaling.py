"""
Whether more processors carry more: the same work through a proxy with 1, 2, ... of them.

Load and origin need processors too, and share what the proxy leaves. Where they cannot fill it ("load" in the table),
the rate says nothing about the proxy: then look at what an operation costs and whether all workers do their part. What
they have counts for the cost too: with one processor less for them a stream through one and the same proxy costs up to
twice as much, as octets wait longer and are moved in smaller pieces. So each count of processors is compared with one
processor beside the same load.
"""

import os
import sys

import modes
import report

MODES = ("connect", "getnew", "get1k", "both64")
AGAINST = ("trafficserver", "haproxy", "nginx", "relay", "relay-200")
AT_MOST = 8
CONNECTIONS = 64  # for each processor compared: the kernel deals kept ones out at random
FULL = 0.95  # of its processors' time: the proxy is the limit


def _workers(before, after, count):
    """What the `count` busiest threads ran, the busiest as a share of their mean."""
    ran = sorted((after[task] - before.get(task, 0) for task in after), reverse=True)[:count]
    return ran[0] * len(ran) / sum(ran) if ran and sum(ran) else 0.0


def _measure(bench, mode, proxy, count):
    before = proxy.thread_times()
    how = ["--seconds", str(bench.args.seconds)]
    connections = mode.connections if mode.per == modes.GIGABYTE else CONNECTIONS * count
    result = bench.load(mode, proxy, *how, connections=connections)
    return result | {"uneven": _workers(before, proxy.thread_times(), bench.cores)} if result else None


def _summary(mode, results, count):
    """The round with the lowest cost; how busy the proxy was then."""
    best = min(results, key=lambda result: report.cost(mode, result))
    return {
        "cost": report.cost(mode, best),
        "rate": max(report.rate(mode, result) for result in results),
        "busy": best["cpu_seconds"] / best["seconds"] / count,
        "uneven": best["uneven"],
    }


def _rows(mode, name, found):
    lines = []
    for count, by_cores in found.items():
        if count not in by_cores or 1 not in by_cores:
            continue
        s, one = _summary(mode, by_cores[count], count), _summary(mode, by_cores[1], 1)
        share = s["cost"] / one["cost"]
        verdict = "" if count == 1 or name != "certferry" else (
            f"  cost {report.judge(share, modes.GROWTH)}, even {report.judge(s['uneven'], modes.EVEN)}")
        limit = "proxy" if s["busy"] >= FULL else "load"
        lines.append(
            f"  {name if count == 1 else '':15}{count:>5}{report.number(s['cost']):>9}{share:>9.2f}"
            f"{report.number(s['rate']):>9}{s['rate'] / one['rate']:>9.2f}{100 * s['busy']:>8.0f}%"
            f"{s['uneven']:>10.2f}{limit:>7}{verdict}"
        )
    return lines


def _table(mode, found):
    unit = ("s/GB", "GB/s") if mode.per == modes.GIGABYTE else ("us CPU", "ops/s")
    lines = [
        f"{mode.name} over processors: {mode.title}",
        f"  {'':15}{'cpus':>5}{unit[0]:>9}{'of one':>9}{unit[1]:>9}{'times':>9}{'busy':>9}{'uneven':>10}{'limit':>7}",
    ]
    for name, of_name in found.items():
        lines += _rows(mode, name, of_name)
    return lines


def cores(bench):
    """(lines, measurements) of the modes over processors."""
    counts = range(1, min(AT_MOST, max(1, os.cpu_count() - 1)) + 1)
    those = [m for m in modes.MODES if m.name in MODES]
    found = {m.name: {} for m in those}
    if not bench.args.chosen:
        bench.args.against = list(AGAINST)
    for number in range(bench.args.rounds):
        for count, own in [(count, own) for count in counts for own in sorted({1, count})]:
            print(f"bench: round {number + 1} of {bench.args.rounds}, {own} of {count} processors", file=sys.stderr,
                  flush=True)
            bench.stop()
            bench.use_cores(own, together=count)
            bench.start_origins()
            running = [p for p in bench.proxies if p.command and not p.name.startswith("certferry-") and bench.start(p)]
            for mode in those:
                for proxy in [p for p in running if mode.through(p)]:
                    result = _measure(bench, mode, proxy, count)
                    if result:
                        by_cores = found[mode.name].setdefault(proxy.name, {}).setdefault(count, {})
                        by_cores.setdefault(own, []).append(result)
    bench.stop()
    lines = []
    for mode in those:
        lines += _table(mode, found[mode.name]) + [""]
    return lines + [
        "of one, times: cost and rate as a share of those on one processor beside the same load. busy: processor time of",
        "the proxy in a second, as a share of its processors. uneven: the busiest worker as a share of the mean. limit:",
        "who had no time left.",
    ], found
