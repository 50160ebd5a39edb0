"""Pictures of laws."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sslkit.analysis.scaling.fit import fit_joint, fit_power_law
from sslkit.analysis.scaling.law_figure import LAW, Labels, draw_joint_law, draw_law, draw_power_law
from tests.analysis.scaling import planted


@pytest.fixture
def saved(monkeypatch):
    """Figures as they are saved."""
    figures = []
    original = Figure.savefig

    def savefig(self, *args, **kwargs):
        figures.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


@pytest.fixture(scope="module")
def law():
    return fit_power_law(*planted.single(9, 0.01, seed=1), resamples=100)


@pytest.fixture(scope="module")
def joint():
    return fit_joint(*planted.grid(noise=0.01, seed=1), resamples=100)


def styles(axes):
    return [line.get_linestyle() for line in axes.lines]


def test_a_law_is_drawn_with_its_points(tmp_path, saved, law):
    draw_power_law(tmp_path / "law.png", law, Labels("parameters", "loss"))
    with Image.open(tmp_path / "law.png") as image:
        assert image.size == (1120, 736)
        colors = image.convert("RGB").getcolors(2**20)
    blue = tuple(int(LAW[i : i + 2], 16) for i in (1, 3, 5))
    assert any(color == blue for _, color in colors)
    (axes,) = saved[0].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("parameters", "loss")
    points = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(points.get_xydata(), np.stack([law.x, law.y], axis=1))
    assert axes.get_title(loc="left").startswith(f"α = {law.exponent.value:.3g}  [")


def test_the_law_is_solid_over_the_data_and_dashed_beyond(tmp_path, saved, law):
    draw_power_law(tmp_path / "law.png", law, Labels("parameters", "loss"), [1e9])
    (axes,) = saved[0].axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 200]
    assert [line.get_linestyle() for line in curves] == ["--", "-", "--"]
    solid = curves[1].get_xdata()
    assert (solid[0], solid[-1]) == (pytest.approx(law.x.min()), pytest.approx(law.x.max()))
    assert curves[2].get_xdata()[-1] == pytest.approx(1e9)
    x = curves[2].get_xdata()[100]
    assert curves[2].get_ydata()[100] == pytest.approx(law.predict(x).value.value)
    assert len(axes.collections) >= 3, "a band under each part"


def test_the_offset_is_a_line_where_it_is_near(tmp_path, saved, law):
    draw_power_law(tmp_path / "near.png", law, Labels("x", "y"))
    assert ":" in styles(saved[0].axes[0])
    pure = fit_power_law(*planted.single(9, 0.01, seed=2, offset=0.0), resamples=100)
    draw_power_law(tmp_path / "far.png", pure, Labels("x", "y"))
    assert ":" not in styles(saved[1].axes[0])


def test_extrapolation_to_smaller_x(tmp_path, saved, law):
    draw_power_law(tmp_path / "law.png", law, Labels("x", "y"), [1e3])
    curves = [line for line in saved[0].axes[0].lines if len(line.get_xdata()) == 200]
    assert curves[0].get_xdata()[0] == pytest.approx(1e3)


@pytest.mark.parametrize("scale", [0.2, 1.0, 2e4])
def test_ticks_can_be_read(tmp_path, saved, scale):
    x, y = planted.single(9, 0.01, seed=1)
    draw_power_law(tmp_path / "law.png", fit_power_law(x, y * scale, resamples=100), Labels("x", "y"))
    axes = saved[0].axes[0]
    low, high = axes.get_ylim()
    inside = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert 2 <= len(inside) <= 14


def test_a_joint_law_has_a_curve_for_every_size(tmp_path, saved, joint):
    draw_joint_law(tmp_path / "joint.png", joint, "loss", [1e18])
    left, right = saved[0].axes[:2]
    curves = [line for line in left.lines if len(line.get_xdata()) == 200]
    assert len(curves) == 4
    assert len({line.get_color() for line in curves}) == 4
    assert (left.get_xlabel(), left.get_ylabel()) == ("images seen", "loss")
    assert sum(len(line.get_xdata()) for line in left.lines if line.get_marker() == "o") == 16
    assert right.get_xlabel() == "compute C (FLOPs)"
    with Image.open(tmp_path / "joint.png") as image:
        assert image.size == (1760, 736)


def test_the_frontier_is_dashed_beyond_the_data(tmp_path, saved, joint):
    draw_joint_law(tmp_path / "joint.png", joint, "loss", [1e6, 1e18])
    right = saved[0].axes[1]
    assert sorted(styles(right)) == ["-", "-", "--", "--", "--", "--"]
    ends = [line.get_xdata() for line in right.lines if line.get_linestyle() == "--"]
    assert max(x.max() for x in ends) == pytest.approx(1e18)
    assert min(x.min() for x in ends) == pytest.approx(1e6)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["parameters", "images"]


def test_without_extrapolation_nothing_is_dashed(tmp_path, saved, joint):
    draw_joint_law(tmp_path / "joint.png", joint, "loss")
    assert styles(saved[0].axes[1]) == ["-", "-"]
    sizes = saved[0].axes[1].lines[0]
    compute = sizes.get_xdata()[50]
    assert sizes.get_ydata()[50] == pytest.approx(joint.optimum(compute).parameters.value)


def test_every_law_has_a_figure(tmp_path, saved, law, joint):
    draw_law(law, tmp_path / "one.png", "parameters", "loss")
    draw_law(joint, tmp_path / "two.png", "parameters, images", "loss")
    assert [len(figure.axes) for figure in saved] == [1, 3], "two panels and a color bar"
    assert [axes.get_xlabel() for axes in saved[0].axes] == ["parameters"]
    with pytest.raises(TypeError, match="no figure of a str"):
        draw_law("law", tmp_path / "three.png", "x", "y")


def test_laws_answer_for_themselves(law, joint):
    assert (law.kind, joint.kind) == ("power_law", "joint")
    assert law.estimates == {"exponent": law.exponent, "coefficient": law.coefficient, "offset": law.offset}
    assert list(joint.estimates) == list(joint.fields)
    assert law.title("N", "loss").startswith("loss = E + A x^-alpha, x = N from ")
    assert joint.columns("x", "loss") == ["compute", "best parameters", "best images", "loss"]
    assert (law.constants(), joint.constants()) == ({}, {"flops_per_parameter_and_image": joint.cost})
    assert law.predict(1e9).estimates == {"y": law.predict(1e9).value}
    assert joint.optimum(1e18).place == 1e18
