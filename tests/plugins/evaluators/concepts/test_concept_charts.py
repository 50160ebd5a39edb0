"""Figures of concept bottlenecks: what is drawn, and what is left unnamed where there is no room."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from PIL import Image

from sslkit_evaluators.concepts.concept_charts import MOST_NAMED, draw_intervention, draw_weights


@pytest.fixture
def axes(monkeypatch):
    """The axes of the figures that were written, the first of each."""
    written = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda figure, *args, **kwargs: written.append(figure) or save(figure, *args, **kwargs),
    )
    return lambda: [figure.axes[0] for figure in written]


def names(labels):
    return [label.get_text() for label in labels]


def test_weights_are_named_and_white_is_zero(tmp_path, axes):
    draw_weights(
        [[1.0, -3.0, 0.0], [2.0, 0.5, 0.25]], ["cat", "dog"], ["fur", "wings", "tail"], tmp_path / "a.png"
    )
    (drawn,) = axes()
    (image,) = drawn.images
    assert image.get_array().tolist() == [[1.0, -3.0, 0.0], [2.0, 0.5, 0.25]]
    assert image.get_clim() == (-3.0, 3.0), "for and against are as dark"
    assert names(drawn.get_xticklabels()) == ["fur", "wings", "tail"]
    assert names(drawn.get_yticklabels()) == ["cat", "dog"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"


def test_weights_of_nothing_but_zeros_are_drawn(tmp_path, axes):
    draw_weights([[0.0]], ["cat"], ["fur"], tmp_path / "a.png")
    assert axes()[0].images[0].get_clim() == (-1.0, 1.0)


def test_more_concepts_than_there_is_room_for_have_no_names(tmp_path, axes):
    concepts = [f"concept {i}" for i in range(MOST_NAMED + 1)]
    draw_weights([[0.5] * len(concepts)], ["cat"], concepts, tmp_path / "a.png")
    (drawn,) = axes()
    assert not set(names(drawn.get_xticklabels())) & set(concepts)
    assert names(drawn.get_yticklabels()) == ["cat"]


@pytest.mark.parametrize(("count", "marker"), [(3, "o"), (40, "None")])
def test_an_intervention_begins_with_none_put_right(tmp_path, axes, count, marker):
    accuracies = [i / count for i in range(count)]
    draw_intervention(accuracies, tmp_path / "a.png")
    (drawn,) = axes()
    (line,) = drawn.lines
    assert line.get_xydata().tolist() == [[i, accuracy] for i, accuracy in enumerate(accuracies)]
    assert line.get_marker() == marker
    assert all(tick == int(tick) for tick in drawn.get_xticks())
