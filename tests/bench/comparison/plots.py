"""Bar charts as SVG."""

from __future__ import annotations

import dataclasses
from typing import List, Sequence
from xml.sax.saxutils import escape

LABELS, BARS, VALUES = 300, 380, 80  # pixels of the three columns
ROW, TITLE, MARGIN = 22, 34, 12
COLOURS = {"ours": "#1f6feb", "peer": "#8b949e", "reference": "#d0d7de"}


@dataclasses.dataclass
class Bar:
    name: str
    value: float
    kind: str  # a key of COLOURS


@dataclasses.dataclass
class Panel:
    title: str
    bars: List[Bar]


def text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    return '<text x="%g" y="%g" text-anchor="%s" font-weight="%s">%s</text>\n' % (
        x, y, anchor, weight, escape(words))


def draw_panel(panel: Panel, top: float) -> str:
    longest = max(bar.value for bar in panel.bars) or 1
    drawn = text(MARGIN, top + TITLE - 14, panel.title, weight="bold")
    for row, bar in enumerate(panel.bars):
        y = top + TITLE + row * ROW
        width = max(1.0, BARS * bar.value / longest)
        value = "%.0f" % bar.value if bar.value >= 100 else "%.3g" % bar.value
        drawn += text(LABELS - 8, y + 15, bar.name, "end", "bold" if bar.kind == "ours" else "normal")
        drawn += '<rect x="%d" y="%g" width="%.1f" height="%d" fill="%s"/>\n' % (
            LABELS, y + 3, width, ROW - 6, COLOURS[bar.kind])
        drawn += text(LABELS + width + 6, y + 15, value)
    return drawn


def write_plot(path: str, panels: Sequence[Panel]) -> None:
    """The panels below one another."""
    body, top = "", float(MARGIN)
    for panel in panels:
        body += draw_panel(panel, top)
        top += TITLE + ROW * len(panel.bars) + MARGIN
    width = LABELS + BARS + VALUES
    with open(path, "w") as file:
        file.write('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%g" '
                   'viewBox="0 0 %d %g" font-family="sans-serif" font-size="13">\n'
                   '<rect width="100%%" height="100%%" fill="white"/>\n%s</svg>\n'
                   % (width, top, width, top, body))
