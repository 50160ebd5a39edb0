"""Scaling laws as they were fitted: of one quantity, and of parameters and images together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, final

import numpy as np

from sslkit.analysis.scaling.estimates import Estimate, Optimum, Prediction, Support, band, beyond, estimate
from sslkit.analysis.scaling.gauss_newton import Array, predict
from sslkit.errors import SpecError


class Sample(NamedTuple):
    """The estimate and its resamples, in the units of the solver."""

    theta: Array
    """[1 + R, 1 + 2 T]: the estimate first."""
    center: Array
    """[T]: mean log of every variable."""
    scale: float
    """Geometric mean of y."""

    def offset(self) -> Array:
        """E in units of y, [1 + R]. Resamples may fall below 0, where no loss is, so they are cut there."""
        return np.asarray(np.maximum(self.theta[:, 0], 0.0) * self.scale)

    def exponent(self, variable: int) -> Array:
        """The exponent of a variable, [1 + R]."""
        return self.theta[:, 2 + 2 * variable]

    def coefficient(self, variable: int) -> Array:
        """The factor of a variable's power, in units of y times the variable to its exponent, [1 + R]."""
        log = self.theta[:, 1 + 2 * variable] + self.exponent(variable) * self.center[variable]
        return np.asarray(np.exp(log) * self.scale)

    def curve(self, places: Array) -> Array:
        """The law at `places` [T, m], [1 + R, m]."""
        return np.asarray(np.exp(predict(self.theta, np.log(places) - self.center[:, None])) * self.scale)


@final
@dataclass(frozen=True, slots=True, eq=False)
class PowerLaw:
    """y = E + A x^-alpha, by `fit_power_law`."""

    kind: ClassVar = "power_law"
    fields: ClassVar = {"exponent": "alpha", "coefficient": "A", "offset": "E"}
    """Its estimates, and the signs of the formula."""

    exponent: Estimate
    """alpha, without a unit."""
    coefficient: Estimate
    """A, in units of y times x^alpha."""
    offset: Estimate
    """E, in units of y: what stays however large x is."""
    r2: float
    """Share of the variance of log y that the law explains."""
    noise: float
    """Standard deviation of log y around the law: 0.01 is one per cent."""
    support: Support
    """The law against simpler ones."""
    x: Array = field(repr=False)
    """The data, [n], in the unit they came in."""
    y: Array = field(repr=False)
    """The data, [n]."""
    sample: Sample = field(repr=False)
    """The estimate and its resamples."""

    def title(self, x: str, y: str) -> str:
        """The formula, and what was fitted; `x` and `y` name the quantities."""
        return f"{y} = E + A x^-alpha, x = {x} from {self.x.min():.4g} to {self.x.max():.4g}"

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Every estimate, by its field."""
        return {name: getattr(self, name) for name in self.fields}

    def columns(self, x: str, y: str) -> list[str]:
        """Headings of a table of its predictions."""
        return [x, y]

    def facts(self) -> list[str]:
        """What else it says, in sentences."""
        return []

    def constants(self) -> dict[str, float]:
        """Numbers that are not estimated, by name."""
        return {}

    def predict(self, x: float) -> Prediction:
        """The law at `x`, in the unit of the data, with the percentile interval of the resamples.

        Raises:
            SpecError: `x` is not above 0.
        """
        place = np.array([[_positive(x, "x")]])
        return Prediction((x,), estimate(self.sample.curve(place)[:, 0]), beyond(x, self.x))

    def band(self, x: Array) -> tuple[Array, Array, Array]:
        """The curve at `x` [m] and the ends of its 95 % interval, each [m]."""
        return band(self.sample.curve(x[None]))


@final
@dataclass(frozen=True, slots=True, eq=False)
class JointLaw:
    """y = E + A / N^alpha + B / D^beta, by `fit_joint`; compute is C = k N D."""

    kind: ClassVar = "joint"
    fields: ClassVar = {
        "alpha": "alpha",
        "beta": "beta",
        "parameters_coefficient": "A",
        "images_coefficient": "B",
        "offset": "E",
        "split": "split a",
    }
    """Its estimates, and the signs of the formula."""

    alpha: Estimate
    """Exponent of the parameters N, without a unit."""
    beta: Estimate
    """Exponent of the images D, without a unit."""
    parameters_coefficient: Estimate
    """A, in units of y times N^alpha."""
    images_coefficient: Estimate
    """B, in units of y times D^beta."""
    offset: Estimate
    """E, in units of y."""
    split: Estimate
    """a = beta / (alpha + beta): with compute C, the best N grows as C^a and the best D as C^(1 - a)."""
    r2: float
    """Share of the variance of log y that the law explains."""
    noise: float
    """Standard deviation of log y around the law."""
    support: Support
    """The law against simpler ones."""
    cost: float
    """k: FLOPs for each parameter and image."""
    parameters: Array = field(repr=False)
    """N of the data, [n]."""
    images: Array = field(repr=False)
    """D of the data, [n]: images seen."""
    y: Array = field(repr=False)
    """The data, [n]."""
    sample: Sample = field(repr=False)
    """The estimate and its resamples."""

    def title(self, x: str, y: str) -> str:
        """The formula, and what was fitted; `y` names the quantity on the left."""
        return f"{y} = E + A / N^alpha + B / D^beta, N parameters, D images seen"

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Every estimate, by its field."""
        return {name: getattr(self, name) for name in self.fields}

    def columns(self, x: str, y: str) -> list[str]:
        """Headings of a table of optima."""
        return ["compute", "best parameters", "best images", y]

    def facts(self) -> list[str]:
        """What else it says, in sentences."""
        a = self.split.value
        return [f"compute C = {self.cost:.4g} N D; at its best N grows as C^{a:.3f} and D as C^{1 - a:.3f}"]

    def constants(self) -> dict[str, float]:
        """Numbers that are not estimated, by name."""
        return {"flops_per_parameter_and_image": self.cost}

    def predict(self, parameters: float, images: float) -> Prediction:
        """The law at a size and a number of images seen.

        Raises:
            SpecError: one of them is not above 0.
        """
        place = np.array([[_positive(parameters, "parameters")], [_positive(images, "images")]])
        past = max(beyond(parameters, self.parameters), beyond(images, self.images))
        return Prediction((parameters, images), estimate(self.sample.curve(place)[:, 0]), past)

    def optimum(self, compute: float) -> Optimum:
        """The parameters and images that make y least for `compute` FLOPs (Hoffmann et al. 2022, equation 4).

        Raises:
            SpecError: `compute` is not above 0.
        """
        sizes, images = self.frontier(np.array([_positive(compute, "compute")]))
        # E + A / N^alpha + B / D^beta of every resample at its own optimum
        powers = self.sample.coefficient(0) * sizes[:, 0] ** -self.sample.exponent(0)
        powers += self.sample.coefficient(1) * images[:, 0] ** -self.sample.exponent(1)
        values = estimate(self.sample.offset() + powers)
        past = beyond(compute, self.cost * self.parameters * self.images)
        return Optimum(compute, estimate(sizes[:, 0]), estimate(images[:, 0]), values, past)

    def frontier(self, compute: Array) -> tuple[Array, Array]:
        """The best parameters and images for `compute` [m] FLOPs, each [1 + R, m]: the estimate first."""
        alpha, beta = self.sample.exponent(0), self.sample.exponent(1)
        total = np.maximum(alpha + beta, 1e-12)
        ratio = alpha * self.sample.coefficient(0) / np.maximum(beta * self.sample.coefficient(1), 1e-300)
        scale = np.maximum(ratio, 1e-300) ** (1 / total)
        sizes = scale[:, None] * (compute / self.cost) ** (beta / total)[:, None]
        return sizes, compute / self.cost / sizes


def _positive(value: float, name: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise SpecError(f"{name}: must be a finite number above 0, found {value:g}")
    return float(value)
