"""Shares in one figure."""

from __future__ import annotations

import pytest

from sslkit.report.page.radar import HEIGHT, RADIUS, WIDTH, shares
from tests.report.parsed import Page


def ring(page: Page) -> list[tuple[float, float]]:
    """Places of the one area."""
    (area,) = [a["points"] for a in page.all("polygon") if "area" in a["class"]]
    return [tuple(map(float, place.split(","))) for place in area.split()]


def test_a_share_is_a_distance_from_the_center():
    page = Page(shares("Protocols", ["a", "b", "c", "d"], {"run": [1.0, 0.5, 0.25, 0.0]}))
    far = [((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) ** 0.5 for x, y in ring(page)]
    assert far == pytest.approx([RADIUS, RADIUS / 2, RADIUS / 4, 0], abs=0.1)
    (x, y), (x2, _), *_ = ring(page)
    assert x == WIDTH / 2
    assert y < HEIGHT / 2, "the first axis goes up"
    assert x2 > WIDTH / 2, "and the next one clockwise"


def test_numbers_stand_beside():
    page = Page(shares("Protocols", ["a", "b", "c"], {"run": [0.5, 0.25, 1.0], "raw": [None, 0.123, None]}))
    assert page.tables["In percent"] == [
        ["", "run", "raw"],
        ["a", "50.0", "–"],
        ["b", "25.0", "12.3"],
        ["c", "100.0", "–"],
    ]
    assert page.all("svg")[0]["aria-label"] == (
        "Protocols. run: a 50.0 %, b 25.0 %, c 100.0 %; raw: b 12.3 %"
    )


def test_unknown_shares_are_not_zeros():
    page = Page(shares("Protocols", ["a", "b", "c", "d"], {"raw": [0.5, 0.6, None, None]}))
    assert not [a for a in page.all("polygon") if "area" in a["class"]]
    edges = [a for a in page.all("line") if "curve" in a["class"]]
    assert len(edges) == 1, "between a and b"
    assert page.all("path")[0]["d"].count("M") == 2


@pytest.mark.parametrize("axes", [["a"], ["a", "b"]])
def test_fewer_than_three_axes_are_bars(axes):
    page = Page(shares("Protocols", axes, {"run": [0.5] * len(axes), "raw": [None] * len(axes)}))
    assert not page.all("polygon")
    assert len(page.all("rect")) == len(axes)
    widths = {a["width"] for a in page.all("rect")}
    assert len(widths) == 1
    assert page.text.count("50.0 %") == len(axes)
    assert int(page.all("svg")[0]["height"]) > 0
