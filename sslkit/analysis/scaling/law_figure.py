"""Figures of scaling laws: the points, the law with its band, and its extrapolation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sslkit.analysis.scaling.gauss_newton import Array
from sslkit.analysis.scaling.laws import JointLaw, PowerLaw

INK, LAW, FLOOR = "#1f2937", "#2563eb", "#9ca3af"
COLORS = "viridis"
DPI = 160
_PLACES = 200


class Labels(NamedTuple):
    """What the axes say."""

    x: str
    y: str


@singledispatch
def draw_law(law: PowerLaw | JointLaw, path: Path, x: str, y: str, extrapolate: Sequence[float] = ()) -> None:
    """Write a PNG of `law`; `x` and `y` name the quantities."""
    raise TypeError(f"there is no figure of a {type(law).__name__}")


@draw_law.register
def _(law: PowerLaw, path: Path, x: str, y: str, extrapolate: Sequence[float] = ()) -> None:
    draw_power_law(path, law, Labels(x, y), extrapolate)


@draw_law.register
def _(law: JointLaw, path: Path, x: str, y: str, extrapolate: Sequence[float] = ()) -> None:
    draw_joint_law(path, law, y, extrapolate)


def draw_power_law(path: Path, law: PowerLaw, labels: Labels, extrapolate: Sequence[float] = ()) -> None:
    """Write a PNG with the data, the law and its 95 % band on log axes; dashed where there are no data."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    low, high = law.x.min(), law.x.max()
    ends = min([low / 1.3, *extrapolate]), max([high * 1.3, *extrapolate])
    for start, end, style in ((ends[0], low, "--"), (low, high, "-"), (high, ends[1], "--")):
        x = np.geomspace(start, end, _PLACES)
        curve, below, above = law.band(x)
        axes.fill_between(x, below, above, color=LAW, alpha=0.16 if style == "-" else 0.08, linewidth=0)
        axes.plot(x, curve, style, color=LAW, linewidth=1.8)
    axes.plot(
        law.x, law.y, "o", color=INK, markersize=5.5, markeredgecolor="white", markeredgewidth=0.8, zorder=3
    )
    _floor(axes, law.offset.value, float(law.y.min()))
    for place in extrapolate:
        value = law.predict(place).value
        spread = [[value.value - value.low], [value.high - value.value]]
        axes.errorbar(
            [place],
            [value.value],
            np.maximum(spread, 0),
            fmt="D",
            color=LAW,
            mfc="white",
            capsize=3,
            zorder=4,
        )
    alpha, share = law.exponent, law.noise * 100
    axes.set_title(
        f"α = {alpha.value:.3g}  [{alpha.low:.3g}, {alpha.high:.3g}],  "
        f"E = {law.offset.value:.3g},  noise {share:.2g} %",
        fontsize=10, color=INK, loc="left",
    )  # fmt: skip
    _finish(axes, labels)
    figure.savefig(path, dpi=DPI)


def draw_joint_law(path: Path, law: JointLaw, y: str, extrapolate: Sequence[float] = ()) -> None:
    """Write a PNG of two panels: y over images for every size, and the best size and images over compute."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    norm = LogNorm(law.parameters.min(), law.parameters.max())
    colors = ScalarMappable(norm, COLORS)
    images = np.geomspace(law.images.min() / 1.2, law.images.max() * 1.2, _PLACES)
    for size in np.unique(law.parameters):
        here = law.parameters == size
        curve = law.sample.curve(np.stack([np.full(_PLACES, size), images]))[0]
        left.plot(images, curve, color=colors.to_rgba(size), linewidth=1.5)
        left.plot(law.images[here], law.y[here], "o", color=colors.to_rgba(size), mec="white", mew=0.8)
    figure.colorbar(colors, ax=left, label="parameters", pad=0.02)
    left.set_title(
        f"α = {law.alpha.value:.3g} (parameters),  β = {law.beta.value:.3g} (images)", fontsize=10, loc="left"
    )
    _finish(left, Labels("images seen", y))
    _draw_frontier(right, law, extrapolate)
    figure.savefig(path, dpi=DPI)


def _draw_frontier(axes: Axes, law: JointLaw, extrapolate: Sequence[float]) -> None:
    """The best parameters and images over compute, each with its band."""
    used = law.cost * law.parameters * law.images
    parts = [(used.min(), used.max(), "-")]
    parts += [(used.max(), max(extrapolate), "--")] if extrapolate and max(extrapolate) > used.max() else []
    parts += [(min(extrapolate), used.min(), "--")] if extrapolate and min(extrapolate) < used.min() else []
    for low, high, style in parts:
        compute = np.geomspace(low, high, _PLACES)
        for values, name, color in zip(
            law.frontier(compute), ("parameters", "images"), (LAW, "#d97706"), strict=True
        ):
            _ribbon(axes, compute, values, style, color, name if style == "-" else "")
    a = law.split
    axes.set_title(
        f"best parameters ∝ $C^{{{a.value:.3g}}}$  [{a.low:.3g}, {a.high:.3g}]", fontsize=10, loc="left"
    )
    axes.legend(frameon=False)
    _finish(axes, Labels("compute C (FLOPs)", "best parameters, best images"))


def _ribbon(axes: Axes, x: Array, values: Array, style: str, color: str, name: str) -> None:
    below, above = np.quantile(values[1:], [0.025, 0.975], axis=0)
    axes.fill_between(x, below, above, color=color, alpha=0.16 if style == "-" else 0.08, linewidth=0)
    axes.plot(x, values[0], style, color=color, linewidth=1.8, label=name or None)


def _floor(axes: Axes, offset: float, lowest: float) -> None:
    """The offset as a line, where it is not far below the data."""
    if offset > 0.3 * lowest:
        axes.axhline(offset, color=FLOOR, linewidth=1, linestyle=":")
        axes.annotate(
            "E", (1, offset), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
            color=FLOOR, ha="right", va="bottom",
        )  # fmt: skip


def _finish(axes: Axes, labels: Labels) -> None:
    """Log axes with readable ticks, and no more ink than needed."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(labels.x)
    axes.set_ylabel(labels.y)
    axes.grid(which="major", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    low, high = axes.get_ylim()
    if high / low < 100:
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 3, 5) if high / low > 3 else tuple(np.arange(1, 10, 0.5)))
        )
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, at: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
