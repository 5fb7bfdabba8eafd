"""
The figures as a picture: for each mode one panel with a bar for each proxy, the cheapest at the top.

One SVG without scripts, links or fonts of its own, so that a README may embed it. It has a ground of its own, and
another one where the reader prefers it dark.
"""

import html

import report
from modes import GIGABYTE
from proxies import CEILING, FORWARD

COLUMNS = 3
MARGIN, TOP = 24, 76  # TOP: title and caption
PANEL, LABEL, BAR = 306, 86, 158
ROW, HEAD, GAP = 17, 46, 22
KINDS = {FORWARD: "rival", CEILING: "ceiling"}
LEGEND = (
    ("own", "certferry, with allowlist, limits, log and seccomp"),
    ("rival", "forward proxies: the rivals"),
    ("ceiling", "ceilings: parse no CONNECT, one fixed origin"),
    ("limit", "limit: a bare relay that understands nothing"),
)
STYLE = (
    "svg{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:11px}"
    "text{fill:#1f2937}.ground{fill:#fff;stroke:#d0d7de}.quiet{fill:#57606a}.title{font-size:17px;font-weight:600}"
    ".name{font-size:12.5px;font-weight:600}.number{font-variant-numeric:tabular-nums}"
    ".own{fill:#d9480f}text.own{font-weight:700}.rival{fill:#64748b}.ceiling{fill:#a9b8cb}.limit{fill:#dbe2ea}"
    "text.rival,text.ceiling,text.limit{fill:#1f2937}"
    "@media(prefers-color-scheme:dark){text,text.rival,text.ceiling,text.limit{fill:#e6edf3}"
    ".ground{fill:#0d1117;stroke:#30363d}.quiet{fill:#9198a1}.own,text.own{fill:#ff8f4a}"
    ".rival{fill:#8b98a9}.ceiling{fill:#566273}.limit{fill:#363f4b}}"
)


def _value(mode, figure):
    return figure["kib"] if mode.idles() else figure["cost"]


def _unit(mode):
    return "KiB of memory" if mode.idles() else "s of CPU for each GB" if mode.per == GIGABYTE else "µs of CPU for each"


def _number(value):
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"


def _text(x, y, words, kind="", more=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{kind}{more}>{html.escape(words)}</text>'


def _bar(x, y, width, kind):
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{ROW - 5}" rx="2" class="{kind}"/>'


def _kind(proxy):
    return "own" if proxy.name.startswith("certferry") else KINDS.get(proxy.kind, "limit")


def _shown(mode, figures, proxies):
    """[(proxy, name, value)], cheapest first. Of both relays the one that has as many packets as a proxy."""
    names = {"certferry-raw": "certferry", "relay": "bare relay", "relay-200": "bare relay"}
    hidden = "relay" if "relay-200" in figures else ""
    those = [p for p in proxies if p.name in figures and p.name != hidden and p.command is not None]
    return sorted(((p, names.get(p.name, p.name), _value(mode, figures[p.name])) for p in those), key=lambda s: s[2])


def _compared(mode, figures, proxies):
    own = report.own_name(figures)
    key = "kib" if mode.idles() else "cost"
    rival = report.best_rival(figures, proxies, key)
    ratio = report.share(figures, own, rival, key) if rival else None
    return f"; certferry: {ratio:.2f} of {rival}" if ratio else ""


def _panel(x, y, mode, figures, proxies):
    """Parts and height."""
    shown = _shown(mode, figures, proxies)
    most = max(value for _, _, value in shown) or 1
    parts = [
        _text(x, y + 12, mode.short, "name"),
        _text(x, y + 28, _unit(mode) + _compared(mode, figures, proxies), "quiet"),
    ]
    for row, (proxy, name, value) in enumerate(shown):
        top, kind = y + HEAD + row * ROW - 6, _kind(proxy)
        width = max(1.5, BAR * value / most)
        parts += [
            _text(x + LABEL - 6, top + 10, name, kind, ' text-anchor="end"'),
            _bar(x + LABEL, top, width, kind),
            _text(x + LABEL + width + 5, top + 10, _number(value), f"number {kind}"),
        ]
    return parts, HEAD + len(shown) * ROW + GAP


def _legend(x, y):
    parts = [_text(x, y + 12, "Shorter is better", "name")]
    for row, (kind, words) in enumerate(LEGEND):
        top = y + HEAD + row * (ROW + 3) - 18
        parts += [_bar(x, top, 14, kind), _text(x + 22, top + 10, words)]
    return parts, HEAD + len(LEGEND) * (ROW + 3) + GAP


def _describe(modes, figures, proxies):
    """The same in words, for those who do not see it."""
    said = []
    for mode in modes:
        bars = ", ".join(f"{name} {_number(value)}" for _, name, value in _shown(mode, figures[mode.name], proxies))
        said.append(f"{mode.short}, {_unit(mode)}: {bars}.")
    return " ".join(said)


def svg(modes, figures, proxies, caption):
    """The whole picture as text."""
    parts, y, row_height = [], TOP, 0
    for at in range(len(modes) + 1):
        x = MARGIN + at % COLUMNS * PANEL
        if at % COLUMNS == 0:
            y, row_height = y + row_height, 0
        panel, height = (
            _panel(x, y, modes[at], figures[modes[at].name], proxies) if at < len(modes) else _legend(x, y)
        )
        parts += panel
        row_height = max(row_height, height)
    columns = min(COLUMNS, len(modes) + 1)
    width, height = 2 * MARGIN + columns * PANEL - 20, y + row_height
    title = "What an operation costs: certferry beside other proxies"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-labelledby="title desc"><title id="title">{title}</title>'
        f'<desc id="desc">{html.escape(_describe(modes, figures, proxies))}</desc><style>{STYLE}</style>\n'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" class="ground"/>\n'
        + "\n".join([_text(MARGIN, 34, title, "title"), _text(MARGIN, 54, caption, "quiet"), *parts])
        + "\n</svg>\n"
    )
