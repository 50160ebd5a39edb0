"""SVG line charts in the colors of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sslkit.report.page.html import Child, Html, tag

WIDTH, HEIGHT = 340, 216
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 36
"""Margins."""
COLORS = 10
MOST = 300
"""Points of a curve; of more, means over equal stretches are drawn, above a faint line of what they average."""
FAINT = 1500
"""Points of the faint line."""
FEW = 12
"""Points up to which each has a mark."""


class Line(NamedTuple):
    """One curve."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: int = 0
    dots: bool = False
    """Marks alone, without the line between them."""
    level: bool = False
    """Dashed and without marks: a value to compare with, from side to side."""


class _Frame(NamedTuple):
    """The transform from values to positions in the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position of a point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        low, high, value = (math.log10(v) if self.log else v for v in (*self.y, y))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - (value - low) / (high - low) * (
            HEIGHT - TOP - BOTTOM
        )


def chart(
    title: str,
    lines: Sequence[Line],
    x: str = "step",
    log: bool = False,
    whole: bool = True,
    legend: bool = True,
) -> Html:
    """A figure of curves, with their last values in the legend.

    Args:
        title: what is shown.
        lines: each with at least one finite point, and with `log` all above 0.
        x: what runs along the bottom.
        log: whether the upright axis is logarithmic.
        whole: whether values of `x` are whole numbers.
        legend: whether to name the curves.
    """
    frame = _frame(lines, log)
    drawn = [*_axes(frame, x, whole), *(mark for line in lines for mark in _curve(line, frame))]
    summary = "; ".join(
        f"{line.name}: {number(line.ys[0])} to {number(line.ys[-1])}" for line in lines if not line.dots
    )
    named = [line for line in lines if not line.dots]
    entries = ((line.name if len(lines) > 1 else "last", line.color, number(line.ys[-1])) for line in named)
    return figure(title, svg(f"{title}. {summary}", drawn), names(entries) if legend else None)


def figure(title: str, *children: Child) -> Html:
    """A drawing under its title."""
    return tag("figure", tag("figcaption", title), children, class_="chart")


def svg(description: str, children: Child, width: int = WIDTH, height: int = HEIGHT) -> Html:
    """A drawing, with `description` as its accessible name."""
    box = f"0 0 {width} {height}"
    return tag("svg", children, viewBox=box, width=width, height=height, role="img", aria_label=description)


def names(entries: Iterator[tuple[str, int, str]]) -> Html:
    """A legend: (name, color, value) of each curve."""
    items = (
        tag(
            "li",
            tag("i", class_=f"c{color % COLORS}"),
            tag("span", name),
            [" ", tag("b", value)] if value else None,
        )
        for name, color, value in entries
    )
    return tag("ul", items, class_="legend")


def number(value: float) -> str:
    """`value` for people: four digits at most, thousands apart."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not finite"
    size = abs(value)
    if 1e-3 <= size < 1e6:
        return f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{value:.3g}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, `most` or fewer steps apart."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _frame(lines: Sequence[Line], log: bool) -> _Frame:
    xs, ys = [x for line in lines for x in line.xs], [y for line in lines for y in line.ys]
    x = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
    low, high = min(ys), max(ys)
    if log:
        return _Frame(x, (low / 1.3, high * 1.3), log)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return _Frame(x, (0.0 if 0 <= low < 0.25 * high else low - room, high + room), log)


def _axes(frame: _Frame, x: str, whole: bool) -> Iterator[Html]:
    for value in _decades(*frame.y) if frame.log else ticks(*frame.y):
        _, y = frame.at(frame.x[0], value)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="rule")
        yield tag("text", number(round(value, 12)), x=LEFT - 7, y=y + 4, text_anchor="end")
    for value in ticks(*frame.x):
        if whole and value != int(value):
            continue
        across, _ = frame.at(value, frame.y[1])
        yield tag("text", number(round(value, 12)), x=across, y=HEIGHT - BOTTOM + 17, text_anchor="middle")
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")
    yield tag("text", x, x=WIDTH - RIGHT, y=HEIGHT - 3, text_anchor="end", class_="unit")


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten; where there is hardly one, round numbers."""
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(powers) < 2:
        return [value for value in ticks(low, high, 4) if value > 0]
    return [10.0**p for p in powers[:: math.ceil(len(powers) / 6)]]


def _curve(line: Line, frame: _Frame) -> Iterator[Html]:
    color = f"c{line.color % COLORS}"
    if line.level:
        yield tag(
            "polyline",
            points=_points(list(zip(line.xs, line.ys, strict=True)), frame),
            class_=f"level {color}",
        )
        return
    if line.dots or len(line.xs) <= FEW:
        places = (frame.at(x, y) for x, y in zip(line.xs, line.ys, strict=True))
        yield tag("path", d="".join(f"M{a:.1f} {b:.1f}h0" for a, b in places), class_=f"dots {color}")
    if line.dots:
        return
    if len(line.xs) > MOST:
        yield tag("polyline", points=_points(_means(line, FAINT), frame), class_=f"faint {color}")
    yield tag("polyline", points=_points(_means(line, MOST), frame), class_=f"curve {color}")


def _means(line: Line, most: int) -> list[tuple[float, float]]:
    """`most` points or fewer: each the mean over an equal stretch."""
    stretch = math.ceil(len(line.xs) / most)
    starts = range(0, len(line.xs), stretch)
    parts = ((line.xs[i : i + stretch], line.ys[i : i + stretch]) for i in starts)
    return [(sum(xs) / len(xs), sum(ys) / len(ys)) for xs, ys in parts]


def _points(points: Sequence[tuple[float, float]], frame: _Frame) -> str:
    places = (frame.at(x, y) for x, y in points)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
