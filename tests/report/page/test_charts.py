"""Curves."""

from __future__ import annotations

import itertools
import math

import pytest

from sslkit.report.page.charts import FAINT, FEW, HEIGHT, MOST, WIDTH, Line, chart, names, number, ticks
from tests.report.parsed import Page

MANY = [float(i) for i in range(5000)]


def points(page: Page, kind: str) -> list[tuple[float, float]]:
    """Places of the one polyline of a kind."""
    (line,) = [a["points"] for a in page.all("polyline") if a["class"].split()[0] == kind]
    return [tuple(map(float, place.split(","))) for place in line.split()]


def test_points_keep_their_order_and_stay_inside():
    page = Page(chart("Loss", [Line("loss", [0, 10, 20], [3.0, 1.0, 2.0])]))
    (x0, y0), (x1, y1), (x2, y2) = points(page, "curve")
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 < y2 < y1, "more is further up"
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(page, "curve"))
    assert len(page.all("path")) == 1, "few points have marks"


def test_it_is_said_in_words():
    page = Page(chart("Loss", [Line("a", [0, 1], [3.0, 1.0]), Line("b", [0, 1], [2.0, 0.5], 1)]))
    assert page.all("svg")[0]["aria-label"] == "Loss. a: 3 to 1; b: 2 to 0.5"
    assert "a 1 b 0.5" in page.text
    assert [a["class"] for a in page.all("i")] == ["c0", "c1"]


def test_one_curve_has_its_last_value_and_no_legend_where_unwanted():
    assert "last 1" in Page(chart("Loss", [Line("loss", [0, 1], [3.0, 1.0])])).text
    assert not Page(chart("Loss", [Line("loss", [0, 1], [3.0, 1.0])], legend=False)).all("ul")


def test_long_curves_are_means_over_a_faint_line():
    page = Page(chart("Loss", [Line("loss", MANY, [math.sin(x) for x in MANY])]))
    assert len(points(page, "curve")) <= MOST
    assert MOST < len(points(page, "faint")) <= FAINT
    heights = [y for _, y in points(page, "curve")]
    spread = [y for _, y in points(page, "faint")]
    assert max(heights) - min(heights) < 0.5 * (max(spread) - min(spread)), "the waves are averaged"
    assert not page.all("path"), "many points have no marks"


def test_dots_have_no_line():
    page = Page(chart("Heads", [Line("heads", [0, 0, 1], [1.0, 2.0, 3.0], dots=True)], "block"))
    assert not page.all("polyline")
    assert page.all("path")[0]["d"].count("M") == 3
    assert page.all("ul")[0] == {"class": "legend"}


def test_logarithms_are_evenly_spaced():
    page = Page(chart("Spectrum", [Line("s", [1, 2, 3], [1.0, 0.1, 0.01])], "axis", log=True))
    (_, a), (_, b), (_, c) = points(page, "curve")
    assert b - a == pytest.approx(c - b, abs=0.11)
    assert {"1", "0.1", "0.01"} <= set(page.texts)


def test_a_log_axis_of_less_than_a_decade_has_round_numbers():
    page = Page(chart("Spectrum", [Line("s", [1, 2], [2.0, 3.0])], "axis", log=True))
    assert {"2", "2.5", "3"} & set(page.texts)


@pytest.mark.parametrize("values", [[0.0], [5.0], [2.0, 2.0, 2.0], [-1e9, 1e9], [1e-12, 2e-12]])
def test_whatever_the_range_there_is_a_picture(values):
    page = Page(chart("Any", [Line("x", list(range(len(values))), values)]))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(page, "curve"))
    assert "nan" not in str(page.elements)


def test_steps_are_whole():
    page = Page(chart("Loss", [Line("loss", [0, 1, 2], [3.0, 2.0, 1.0])], legend=False))
    across = [
        t for t, a in zip(page.texts[1:], page.all("text"), strict=False) if a.get("text-anchor") == "middle"
    ]
    assert "0.5" not in across
    assert FEW > 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (1.0, "1"), (0.97222, "0.9722"), (1234.5, "1,234"), (25000.0, "25,000"), (1.5e-7, "1.5e-07"),
        (3.2e9, "3.2e+09"), (-0.5, "-0.5"), (math.nan, "not finite"), (math.inf, "not finite"),
    ],
)  # fmt: skip
def test_numbers_for_people(value, said):
    assert number(value) == said


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.03, 0.07), (-5, 12345), (1e-9, 2e-9), (17, 18)])
def test_ticks_are_few_round_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-12 <= value <= high * (1 + 1e-9) for value in found)
    gaps = {round((b - a) / (high - low), 9) for a, b in itertools.pairwise(found)}
    assert len(gaps) == 1


def test_colors_come_again():
    assert 'class="c1"' in names(iter([("eleventh", 11, "")]))
