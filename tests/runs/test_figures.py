from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from sslkit.core.passes import Pictures
from sslkit.runs import figures
from sslkit.runs.figures import GAP, TITLE, save_curves, save_pictures

BORDER = GAP // 2


def read(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def cell(picture: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """One picture of the grid, without its white frame."""
    top, left = TITLE + row * (side + GAP) + BORDER, column * (side + GAP) + BORDER
    return picture[top : top + side, left : left + side]


def test_pictures_are_exact_pixels(tmp_path):
    """Normalization is undone, and each pixel is a square of whole pixels in the right place."""
    raw = torch.randint(0, 256, (2, 3, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    shift, scale = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    save_pictures(tmp_path / "f.png", Pictures(("a", "b", "c"), (raw / 255 - shift) / scale), mean, std)
    picture = read(tmp_path / "f.png")
    assert picture.shape == (TITLE + 2 * (160 + GAP), 3 * (160 + GAP), 3)
    for row in range(2):
        for column in range(3):
            enlarged = raw[row, column].permute(1, 2, 0).numpy().repeat(20, 0).repeat(20, 1)
            assert np.array_equal(cell(picture, row, column, 160), enlarged)


def test_pictures_have_titles_above_their_columns(tmp_path):
    save_pictures(
        tmp_path / "f.png", Pictures(("input", "", "output"), torch.zeros(1, 3, 1, 16, 16)), (0.0,), (1.0,)
    )
    ink = (read(tmp_path / "f.png")[:TITLE] < 128).any(axis=(0, 2)).reshape(3, -1)
    assert ink.any(axis=1).tolist() == [True, False, True]
    center = ink.nonzero()[1][ink.nonzero()[0] == 2].mean()
    assert abs(center - ink.shape[1] / 2) < 4


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_any_number_of_channels_can_be_shown(tmp_path, channels, shown):
    values = torch.arange(1, channels + 1) * 40
    images = (values / 255).view(1, 1, -1, 1, 1).expand(1, 1, -1, 16, 16)
    save_pictures(tmp_path / "f.png", Pictures(("x",), images), (0.0,) * channels, (1.0,) * channels)
    assert cell(read(tmp_path / "f.png"), 0, 0, 160)[5, 5].tolist() == values[shown].tolist()


def test_the_channels_that_are_asked_for_are_red_green_and_blue(tmp_path):
    images = (torch.arange(13) * 19 / 255).view(1, 1, 13, 1, 1).expand(1, 1, 13, 16, 16)
    flat = (0.0,) * 13, (1.0,) * 13
    save_pictures(tmp_path / "f.png", Pictures(("x",), images), *flat, show=(3, 12, 1))
    assert cell(read(tmp_path / "f.png"), 0, 0, 160)[80, 80].tolist() == [3 * 19, 12 * 19, 19]


def test_values_outside_the_range_are_cut(tmp_path):
    images = torch.tensor([-3.0, 7.0, math.nan, 0.2]).view(1, 4, 1, 1, 1).expand(1, 4, 1, 300, 300)
    save_pictures(tmp_path / "f.png", Pictures(("a", "b", "c", "d"), images), (0.0,), (1.0,))
    picture = read(tmp_path / "f.png")
    assert [int(cell(picture, 0, column, 300)[9, 9, 0]) for column in range(4)] == [0, 255, 0, 51]


def test_pictures_may_carry_gradients_and_half_precision(tmp_path):
    images = torch.full((1, 1, 1, 16, 16), 0.5, dtype=torch.bfloat16, requires_grad=True)
    save_pictures(tmp_path / "f.png", Pictures(("x",), images), (0.0,), (1.0,))
    assert cell(read(tmp_path / "f.png"), 0, 0, 160)[0, 0].tolist() == [128, 128, 128]


def records(steps: int) -> list[dict[str, float | None]]:
    """As a run of two objectives writes them, with an evaluation every 100 steps."""
    made: list[dict[str, float | None]] = []
    for step in range(10, steps + 1, 10):
        loss = math.exp(-step / 200)
        terms = {"loss": loss, "loss/mae": loss * 0.6, "loss/dino": loss * 0.4}
        made.append({"step": step, "epoch": step / 50, **terms, "lr": 1e-3, "images_per_s": 900.0})
        if step % 100 == 0:
            made.append({"step": step, "epoch": step / 50, "eval/knn/accuracy": 0.8, "eval/knn/top5": 0.9})
    made.append({"step": steps, "eval/linear/accuracy": 0.9, "eval/linear/holdout_accuracy": 0.95})
    made.append({"step": steps, "eval/rank/effective": 30.0, "eval/rank/stable": 3.0})
    return made


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    kept: list[Figure] = []
    right = figures.save_figure
    monkeypatch.setattr(
        figures, "save_figure", lambda figure, path: (kept.append(figure), right(figure, path))
    )
    return kept


def panels(figure: Figure) -> dict[str, list[str]]:
    """The labels in the legend of each panel, without the values."""
    return {
        axes.get_title(): [text.get_text().rsplit(" ", 1)[0] for text in axes.get_legend().get_texts()]
        for axes in figure.axes
    }


def test_curves_have_a_panel_for_each_thing(tmp_path, drawn):
    save_curves(tmp_path / "curves.png", records(300))
    assert panels(drawn[0]) == {
        "loss": ["loss", "mae", "dino"],
        "learning rate": ["learning rate"],
        "knn": ["accuracy"],
        "linear": ["accuracy", "holdout accuracy"],
        "rank": ["effective"],
    }
    assert all(axes.get_xlabel() == "step" and axes.get_ylabel() for axes in drawn[0].axes)
    assert read(tmp_path / "curves.png").shape == (900, 1980, 3)


def test_curves_hold_the_recorded_points(tmp_path, drawn):
    made = records(300)
    save_curves(tmp_path / "curves.png", made)
    by_title = {axes.get_title(): axes for axes in drawn[0].axes}
    total, mae, _ = by_title["loss"].lines
    assert total.get_xdata().tolist() == list(range(10, 301, 10))
    assert mae.get_ydata().tolist() == [r["loss/mae"] for r in made if "loss/mae" in r]
    assert by_title["knn"].lines[0].get_xydata().tolist() == [[100, 0.8], [200, 0.8], [300, 0.8]]
    assert len({axes.get_xlim() for axes in drawn[0].axes}) == 1


BASELINES = {
    "baseline/raw_pixels/knn/accuracy": 0.75, "baseline/raw_pixels/knn/top5": 0.9,
    "baseline/untrained/knn/accuracy": 0.85, "baseline/untrained/linear/accuracy": float("nan"),
}  # fmt: skip


def test_what_was_scored_before_training_are_dashed_lines(tmp_path, drawn):
    """A curve that climbs below the untrained network must not look like progress."""
    save_curves(tmp_path / "curves.png", [{"step": 0, "epoch": 0.0, **BASELINES}, *records(300)])
    by_title = {axes.get_title(): axes for axes in drawn[0].axes}
    dashed = {
        title: {line.get_label(): line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"}
        for title, axes in by_title.items()
    }
    assert dashed.pop("knn") == {"untrained 0.85": 0.85, "raw pixels 0.75": 0.75}
    assert not any(dashed.values()), "linear's was not finite, and losses have none"
    low, high = by_title["knn"].get_ylim()
    assert low < 0.75 < 0.85 < high, "lines are inside"


def test_a_title_says_where_lower_is_better(tmp_path, drawn):
    save_curves(tmp_path / "curves.png", records(300), {"rank"})
    assert [axes.get_title() for axes in drawn[0].axes][-2:] == ["linear", "rank (lower is better)"]


def test_single_objective_is_one_curve(tmp_path, drawn):
    save_curves(tmp_path / "c.png", [{"step": s, "loss": 1.0 / s, "loss/mae": 1.0 / s} for s in range(1, 9)])
    assert panels(drawn[0]) == {"loss": ["loss"]}


def test_long_noisy_curve_gets_a_running_mean(tmp_path, drawn):
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0)).tolist()
    save_curves(tmp_path / "c.png", [{"step": s, "loss": 5 + x} for s, x in enumerate(noise)])
    raw, mean = drawn[0].axes[0].lines
    assert len(raw.get_xdata()) == 1000
    assert len(mean.get_xdata()) == 981
    assert mean.get_xdata()[0] == pytest.approx(9.5)
    assert mean.get_ydata()[0] == pytest.approx(5 + sum(noise[:20]) / 20)
    assert raw.get_alpha() < 1
    assert len(drawn[0].axes[0].get_legend().get_texts()) == 1


def test_values_that_are_not_numbers_leave_gaps(tmp_path, drawn):
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None}, {"step": 3, "loss": math.nan, "lr": None}]
    save_curves(tmp_path / "c.png", [*rows, {"step": 4, "loss": 0.5}])
    assert [axes.get_title() for axes in drawn[0].axes] == ["loss"]
    assert drawn[0].axes[0].lines[0].get_xydata().tolist() == [[1, 1.0], [4, 0.5]]


@pytest.mark.parametrize("rows", [[], [{"step": 5, "epoch": 1.0}], [{"step": 5, "loss": None}]])
def test_nothing_to_draw_is_said(tmp_path, drawn, rows):
    save_curves(tmp_path / "c.png", rows)
    assert drawn[0].axes == []
    assert drawn[0].texts[0].get_text() == "nothing recorded yet"
    assert (read(tmp_path / "c.png") < 128).any()


@pytest.mark.parametrize(
    ("evaluators", "grid"), [(0, (1, 1)), (1, (1, 2)), (2, (1, 3)), (3, (2, 2)), (4, (2, 3)), (6, (3, 3))]
)
def test_grid_fits_the_panels(tmp_path, drawn, evaluators, grid):
    values = {f"eval/{name}/accuracy": 0.5 for name in "abcdef"[:evaluators]}
    save_curves(tmp_path / "c.png", [{"step": 1, "loss": 1.0, **values}])
    width, height = drawn[0].get_size_inches()
    assert (round(height / figures.PANEL[1]), round(width / figures.PANEL[0])) == grid
    assert len(drawn[0].axes) == 1 + evaluators


def test_figure_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "figures" / "curves.png"
    save_curves(path, records(100))
    before = path.read_bytes()

    def broken(self, file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        save_curves(path, records(200))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["curves.png"]


def test_pyplot_and_its_global_state_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    save_curves(tmp_path / "c.png", records(100))
    save_pictures(tmp_path / "p.png", Pictures(("x",), torch.zeros(1, 1, 3, 8, 8)), (0.0,) * 3, (1.0,) * 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.png", "p.png"]


def test_evaluator_may_be_called_loss(tmp_path, drawn):
    save_curves(tmp_path / "c.png", [{"step": 1, "loss": 1.0, "eval/loss/accuracy": 0.5}])
    assert panels(drawn[0]) == {"loss": ["loss"], "eval/loss": ["accuracy"]}


def balanced(count: int) -> list[dict[str, float | None]]:
    """Records of two terms, the second inside a hybrid; gradients are measured at every other step."""
    rows: list[dict[str, float | None]] = []
    for step in range(1, count + 1):
        row = {"step": step, "loss": 1.0, "loss/mim": 2.0, "loss/in/a": 3.0, "loss/in/b": None}
        row |= {"balance/mim/weight": 1.0, "balance/in/weight": 0.5}
        if step % 2 == 0:
            row |= {"balance/mim/gradient_norm": 4.0, "balance/in/gradient_norm": 5.0}
            row |= {"balance/mim_in/cosine": -0.5 if step % 8 == 0 else 0.5, "balance/conflict": 0.0}
        rows.append(row)
    return [*rows, {"step": count, "eval/knn/accuracy": 0.5}]


def test_conflict_has_a_panel_for_each_quantity_and_tells_the_share_of_steps(tmp_path, drawn):
    assert figures.save_conflict(tmp_path / "conflict.png", balanced(16))
    assert panels(drawn[0]) == {
        "loss of each term": ["mim", "in/a"],
        "balancer's weight of each term": ["mim", "in"],
        "gradient norm of each term": ["mim", "in"],
        "cosine of gradients of two terms": ["mim_in, in conflict 25%, last"],
    }
    assert [a.get_ylabel() for a in drawn[0].axes] == ["loss", "weight", "gradient norm", "cosine"]
    cosine = drawn[0].axes[3].lines[0]
    assert cosine.get_xdata().tolist() == list(range(2, 17, 2))
    assert cosine.get_ydata().min() == -0.5
    assert read(tmp_path / "conflict.png").shape == (900, 1320, 3)


def test_weights_alone_are_drawn_alone(tmp_path, drawn):
    rows = [{"step": 1, "loss/mim": 1.0, "balance/mim/weight": 1.0, "balance/mim_in/cosine": None}]
    assert figures.save_conflict(tmp_path / "conflict.png", rows)
    assert list(panels(drawn[0])) == ["loss of each term", "balancer's weight of each term"]


def test_runs_without_a_balance_have_no_conflict(tmp_path, drawn):
    assert not figures.save_conflict(tmp_path / "conflict.png", records(20))
    assert not drawn
    assert not (tmp_path / "conflict.png").exists()


def test_all_text_is_inside_the_figure_and_no_panel_reaches_into_another(tmp_path, drawn):
    rows = [
        {
            "step": 400_000 * i,
            "loss": 1e5 + i,
            "lr": -1e-9 * i,
            "eval/knn/accuracy": i / 9,
            "eval/a/b": -2e7 * i,
        }
        for i in range(9)
    ]
    save_curves(tmp_path / "f.png", rows)
    (figure,) = drawn
    whole = figure.bbox
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert len(boxes) == 4
    for i, box in enumerate(boxes):
        inside = Bbox.intersection(whole, box)
        assert np.allclose(inside, box)
        assert not any(box.overlaps(other) for other in boxes[:i])
