"""Radar and bar charts of shares of several networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from sslkit.report.page.charts import COLORS, figure, names, svg
from sslkit.report.page.html import Html, table, tag

WIDTH, HEIGHT, RADIUS = 400, 280, 105
FEWEST = 3
"""Axes of a radar; fewer are drawn as bars."""
BAR, ROW, EDGE = 12, 22, 400
"""Height of a bar, of the line above the bars of an axis, and the width of all."""

Series = Mapping[str, Sequence[float | None]]
"""Name -> its share on each axis, 0 to 1; None where it is unknown."""


def shares(title: str, axes: Sequence[str], series: Series) -> Html:
    """A radar of three axes or more, or bars; every axis runs from 0 to 1. The numbers stand beside it."""
    description = "; ".join(
        f"{name}: "
        + ", ".join(f"{a} {_percent(v)}" for a, v in zip(axes, values, strict=True) if v is not None)
        for name, values in series.items()
    )
    if len(axes) < FEWEST:
        drawn, height = _bars(axes, series)
    else:
        drawn, height = _radar(axes, series), HEIGHT
    legend = names((name, i, "") for i, name in enumerate(series))
    numbers = table("In percent", ["", *series], _rows(axes, series))
    return tag(
        "div",
        figure(title, svg(f"{title}. {description}", drawn, WIDTH, height), legend),
        numbers,
        class_="beside",
    )


def _rows(axes: Sequence[str], series: Series) -> Iterator[list[str]]:
    for i, axis in enumerate(axes):
        values = (values[i] for values in series.values())
        yield [axis, *("–" if v is None else f"{100 * v:.1f}" for v in values)]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _place(i: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * i / count - math.pi / 2
    return WIDTH / 2 + RADIUS * share * math.cos(angle), HEIGHT / 2 + RADIUS * share * math.sin(angle)


def _radar(axes: Sequence[str], series: Series) -> list[Html]:
    count = len(axes)
    drawn = [
        tag("polygon", points=_ring([share] * count), class_="rule hollow") for share in (0.25, 0.5, 0.75, 1)
    ]
    for i, axis in enumerate(axes):
        (x, y), (tx, ty) = _place(i, count, 1), _place(i, count, 1.12)
        side = "middle" if abs(tx - WIDTH / 2) < 20 else "start" if tx > WIDTH / 2 else "end"
        drawn.append(tag("line", x1=WIDTH / 2, y1=HEIGHT / 2, x2=x, y2=y, class_="rule"))
        drawn.append(tag("text", axis, x=tx, y=ty + 4, text_anchor=side))
    for place, values in enumerate(series.values()):
        drawn += _one(values, f"c{place % COLORS}")
    return drawn


def _one(values: Sequence[float | None], color: str) -> Iterator[Html]:
    """An area; where a share is unknown, only the edges between known ones."""
    count = len(values)
    points = [_place(i, count, v) for i, v in enumerate(values) if v is not None]
    if len(points) == count:
        yield tag("polygon", points=_ring([v or 0.0 for v in values]), class_=f"area {color}")
    else:
        for i, (one, two) in enumerate(zip(values, [*values[1:], values[0]], strict=True)):
            if one is not None and two is not None:
                (x1, y1), (x2, y2) = _place(i, count, one), _place((i + 1) % count, count, two)
                yield tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"curve {color}")
    yield tag("path", d="".join(f"M{x:.1f} {y:.1f}h0" for x, y in points), class_=f"dots {color}")


def _ring(values: Sequence[float]) -> str:
    places = (_place(i, len(values), v) for i, v in enumerate(values))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _bars(axes: Sequence[str], series: Series) -> tuple[list[Html], int]:
    drawn, y = list[Html](), 0
    for i, axis in enumerate(axes):
        drawn.append(tag("text", axis, x=0, y=y + 14))
        y += ROW
        for place, values in enumerate(series.values()):
            share = values[i]
            if share is None:
                continue
            width = max(1.0, share * (EDGE - 60))
            drawn.append(
                tag("rect", x=0, y=y, width=width, height=BAR, rx=2, class_=f"bar c{place % COLORS}")
            )
            drawn.append(tag("text", _percent(share), x=width + 6, y=y + BAR - 2))
            y += BAR + 5
        y += 8
    return drawn, y
