"""From measurements to figures: medians over the rounds, tables and ratios."""

import statistics

from modes import GIGABYTE, IDLE_RIVAL_KIB, THROUGHPUT
from proxies import CEILING, FORWARD


def cost(mode, result):
    """Processor time: microseconds of an operation, or seconds of a GB."""
    if mode.per == GIGABYTE:
        return result["cpu_seconds"] / (result["octets"] / 1e9) if result["octets"] else float("nan")
    return result["cpu_seconds"] / result["operations"] * 1e6 if result["operations"] else float("nan")


def rate(mode, result):
    """Operations, or GB, in a second."""
    done = result["octets"] / 1e9 if mode.per == GIGABYTE else result["operations"]
    return done / result["seconds"]


def idle_kib(result):
    return (result["memory_after"] - result["memory_before"]) / result["tunnels"] / 1024


def merge(results):
    """One result of load processes that ran at the same time; each has seen all of the proxy's processor time."""
    if len(results) == 1:
        return results[0]
    sums = {key: sum(r[key] for r in results) for key in ("operations", "octets", "failures")}
    means = {key: statistics.mean(r[key] for r in results) for key in ("seconds", "cpu_seconds", "p50_us")}
    return sums | means | {"p99_us": max(r["p99_us"] for r in results)}


def lowest(mode, results):
    """The lowest of each figure, and the highest rate: what the rounds were with the least disturbance."""
    return {
        "cost": min(cost(mode, r) for r in results),
        "rate": max(rate(mode, r) for r in results),
        "p50_us": min(r["p50_us"] for r in results),
        "p99_us": min(r["p99_us"] for r in results),
    }


def summary(mode, results):
    """Medians of one proxy's rounds in one mode."""
    if mode.idles():
        return {"kib": statistics.median(map(idle_kib, results))}
    return {
        "cost": statistics.median(cost(mode, r) for r in results),
        "rate": statistics.median(rate(mode, r) for r in results),
        "p50_us": statistics.median(r["p50_us"] for r in results),
        "p99_us": statistics.median(r["p99_us"] for r in results),
        "failures": sum(r["failures"] for r in results),
    }


def own_name(figures):
    return next((name for name in ("certferry", "certferry-raw") if name in figures), "certferry-down")


def best_rival(figures, proxies, key):
    rivals = [p.name for p in proxies if p.kind == FORWARD and not p.name.startswith("certferry") and p.name in figures]
    if not rivals:
        return None
    return (max if key == "rate" else min)(rivals, key=lambda name: figures[name][key])


def share(figures, name, other, key="cost"):
    """name's figure as a share of other's; None when one is not there."""
    if name not in figures or other not in figures or not figures[other].get(key):
        return None
    return figures[name][key] / figures[other][key]


def _text(number, digits=2):
    return "-" if number is None else f"{number:.{digits}f}"


def number(value):
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def mode_table(mode, figures, proxies):
    """Lines: each one's figures, and certferry's cost as a share of its."""
    own = own_name(figures)
    lines = [f"{mode.name}: {mode.title}"]
    if mode.idles():
        lines.append(f"  {'':15}{'KiB':>9}  certferry / this")
        for p in proxies:
            if p.name in figures:
                ratio = _text(share(figures, own, p.name, "kib"))
                lines.append(f"  {p.name:15}{figures[p.name]['kib']:9.2f}{ratio:>12}")
        return lines
    unit = ("s/GB", "GB/s") if mode.per == GIGABYTE else ("us CPU", "ops/s")
    lines.append(f"  {'':15}{unit[0]:>9}{unit[1]:>9}{'p50 us':>9}{'p99 us':>9}{'failed':>8}  certferry / this")
    for p in proxies:
        if p.name not in figures:
            continue
        f = figures[p.name]
        lines.append(
            f"  {p.name:15}{number(f['cost']):>9}{number(f['rate']):>9}{f['p50_us']:9.0f}{f['p99_us']:9.0f}"
            f"{f['failures']:8d}{_text(share(figures, own, p.name)):>12}"
        )
    return lines


def judge(value, target):
    if value is None:
        return "-"
    if not target:
        return f"{value:.2f}"
    return f"{value:.2f} of {target:g} {'ok' if value <= target else 'MISSED'}"


def targets_table(figures, modes, proxies):
    """Markdown lines: certferry against the targets, a row for each mode."""
    lines = [
        "| mode | certferry | best rival | share of it (target) | share of ceilings (target) | throughput (target) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for mode in modes:
        got = figures.get(mode.name, {})
        own = own_name(got)
        if own not in got:
            continue
        if mode.idles():
            lines.append(_idle_row(got, proxies))
            continue
        rival = best_rival(got, proxies, "cost")
        fastest = best_rival(got, proxies, "rate")
        faster = share(got, own, fastest, "rate") if fastest else None
        ceilings = "; ".join(f"{name} {judge(share(got, own, name), at)}" for name, at in mode.ceilings if name in got)
        unit = "s/GB" if mode.per == GIGABYTE else "us"
        lines.append(
            f"| {mode.name} | {number(got[own]['cost'])} {unit} | "
            + (f"{rival} {number(got[rival]['cost'])} {unit} | {judge(share(got, own, rival), mode.rival)} | " if rival
               else "- | - | ")
            + f"{ceilings or '-'} | "
            + (f"{faster:.2f}x of {fastest} {'ok' if faster >= THROUGHPUT else 'MISSED'} |"
               if faster and mode.rival else "- |")
        )
    return lines


def readme_table(figures, modes, proxies, head):
    """Markdown lines ready to paste: processor time of all proxies, with date and machine below."""
    names = [p.name for p in proxies if p.kind in (FORWARD, CEILING) and not p.name.startswith("certferry-")]
    lines = [
        f"| processor time (or memory) of | {' | '.join(names)} |",
        "| --- |" + " ---: |" * len(names),
    ]
    for mode in modes:
        got = figures.get(mode.name, {})
        if "certferry-down" in got:
            got = got | {"certferry": got["certferry-down"]}
        if "certferry" not in got:
            continue
        unit, key = ("KiB", "kib") if mode.idles() else ("s/GB" if mode.per == GIGABYTE else "µs", "cost")
        cells = [_short(got[name][key]) if name in got else "-" for name in names]
        lines.append(f"| {mode.short}, {unit} | {' | '.join(cells)} |")
    return lines + ["", f"{head['date'][:10]}, {head['machine']}; {head['how']}."]


def _short(value):
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"


def _idle_row(got, proxies):
    rival = best_rival(got, proxies, "kib")
    own = got["certferry"]["kib"]
    verdict = "ok" if own <= IDLE_RIVAL_KIB else "MISSED"
    best = f"{rival} {got[rival]['kib']:.1f} KiB" if rival else "-"
    ceiling = judge(share(got, "certferry", "haproxy", "kib"), 0.5)
    return f"| idle | {own:.2f} KiB | {best} | {own:.2f} KiB of {IDLE_RIVAL_KIB} {verdict} | haproxy {ceiling} | - |"
