"""The figures as a picture: for each mode one panel with a bar for each proxy, the cheapest at the top."""

import html

from modes import GIGABYTE, IDLE
from proxies import FORWARD

COLUMNS = 3
PANEL, LABEL, BAR, ROW, HEAD, GAP = 330, 92, 180, 17, 34, 18
COLOURS = {"certferry": "#c2410c", FORWARD: "#475569", "other": "#a8b4c4"}


def _value(mode, figure):
    return figure["kib"] if mode is IDLE else figure["cost"]


def _unit(mode):
    return "KiB each" if mode is IDLE else "s of CPU for a GB" if mode.per == GIGABYTE else "µs of CPU"


def _text(x, y, words, **style):
    attributes = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    return f'<text x="{x:.0f}" y="{y:.0f}"{attributes}>{html.escape(words)}</text>'


def _colour(proxy):
    if proxy.name.startswith("certferry"):
        return COLOURS["certferry"]
    return COLOURS[FORWARD] if proxy.kind == FORWARD else COLOURS["other"]


def _panel(x, y, mode, figures, proxies):
    shown = [(p, _value(mode, figures[p.name])) for p in proxies if p.name in figures and p.command is not None]
    shown.sort(key=lambda pair: pair[1])
    most = max(value for _, value in shown) or 1
    parts = [
        _text(x, y + 12, f"{mode.name}: {_unit(mode)}", font_weight="bold"),
        _text(x, y + 26, mode.title, font_size=9, fill="#666"),
    ]
    for row, (proxy, value) in enumerate(shown):
        top = y + HEAD + row * ROW
        width = max(1, BAR * value / most)
        parts += [
            _text(x + LABEL - 6, top + 11, proxy.name, text_anchor="end"),
            f'<rect x="{x + LABEL}" y="{top + 2}" width="{width:.1f}" height="{ROW - 5}" fill="{_colour(proxy)}"/>',
            _text(x + LABEL + width + 4, top + 11, f"{value:.3f}" if value < 10 else f"{value:.0f}"),
        ]
    return parts, HEAD + len(shown) * ROW + GAP


def svg(modes, figures, proxies, caption):
    """The whole picture as text."""
    parts, y = [], 30
    for at in range(0, len(modes), COLUMNS):
        heights = []
        for column, mode in enumerate(modes[at : at + COLUMNS]):
            panel, height = _panel(10 + column * PANEL, y, mode, figures[mode.name], proxies)
            parts += panel
            heights.append(height)
        y += max(heights)
    width = 10 + min(COLUMNS, len(modes)) * PANEL
    key = "orange: certferry; dark: forward proxies; light: ceilings and limits that do less"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 20}" font-family="sans-serif"'
        f' font-size="11"><rect width="100%" height="100%" fill="white"/>'
        + _text(10, 16, caption, font_size=10, fill="#666")
        + "\n".join(parts)
        + _text(10, y + 8, key, font_size=10, fill="#666")
        + "</svg>\n"
    )
