"""Specs of balancers. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import BalancerSpec, Count, Problem, ends

if TYPE_CHECKING:
    from sslkit.interfaces import Balancer
    from sslkit.plugin import RunSpec


Space = Literal["parameters", "features"]


MOST = 10
"""Objectives whose 2^K - 1 subsets a solver can look at in a step."""


@final
class FixedWeights(BalancerSpec):
    """A weighted sum with constant weights."""

    kind: Literal["fixed"] = "fixed"
    weights: Mapping[str, Annotated[float, Field(ge=0)]] = {}
    """Weight of each objective by name. Default: 1."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        for name in self.weights:
            if name not in run.terms:
                yield Problem(
                    f"weights.{name}", f"is not an objective of this run. Known: {', '.join(run.terms)}"
                )

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.fixed import FixedWeightsBalancer

        return FixedWeightsBalancer([self.weights.get(name, 1.0) for name in names])


@final
class UncertaintyWeighting(BalancerSpec):
    """Divides each loss by a variance that is learned (Kendall, Gal and Cipolla 2018)."""

    kind: Literal["uncertainty"] = "uncertainty"
    form: Literal["regression", "positive", "doubled"] = "regression"
    """L / (2 e^s) + s / 2 (the paper), the same with ln(1 + e^s) (Liebel and Koerner), or twice it (its notebook)."""
    initial: float = 0.0
    """First log-variance s of every loss (the paper's notebook: 0; LibMTL: -0.5)."""
    bound: float | None = Field(10.0, gt=0)
    """Log-variances stay within minus and plus this, whatever a loss near 0 asks for; null: no bound, as the paper."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.bound is not None and abs(self.initial) > self.bound:
            yield Problem("initial", f"must lie within -{self.bound} and {self.bound}, found {self.initial}")

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.uncertainty import UncertaintyBalancer

        return UncertaintyBalancer(len(names), self.form, self.initial, self.bound)


@final
class DWA(BalancerSpec):
    """Dynamic weight average: the slower a loss falls from epoch to epoch, the more it weighs (Liu et al. 2019)."""

    kind: Literal["dwa"] = "dwa"
    temperature: float = Field(2.0, gt=0)
    """Softness of the weights (the paper: 2); the higher, the more alike they are."""
    steps: Count | None = None
    """Steps whose mean losses are compared. Default: those of an epoch (the paper)."""

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.dwa import DWABalancer

        return DWABalancer(len(names), self.temperature, self.steps)


@final
class PCGrad(BalancerSpec):
    """Takes from each gradient its part against each other gradient, in random order (Yu et al. 2020)."""

    kind: Literal["pcgrad"] = "pcgrad"
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens: cheaper, and one micro-batch only."""

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.gram import GramBalancer, pcgrad

        return GramBalancer(pcgrad, self.space)


@final
class GradNorm(BalancerSpec):
    """Trains the weights so that gradients are of one length, longer where a loss lags (Chen et al. 2018)."""

    kind: Literal["gradnorm"] = "gradnorm"
    alpha: float = Field(1.5, ge=0)
    """How strongly a loss that lags is helped (the paper: 1.5 on NYUv2, 0.12 on its toy); 0: lengths become equal."""
    lr: float = Field(0.025, gt=0)
    """Learning rate of the weights' own Adam (the paper: 0.025)."""
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens: cheaper, and one micro-batch only."""

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.gradnorm import GradNormBalancer

        return GradNormBalancer(len(names), self.alpha, self.lr, self.space)


@final
class CAGrad(BalancerSpec):
    """Near the mean gradient, the direction that helps the loss that gains least the most (Liu et al. 2021)."""

    kind: Literal["cagrad"] = "cagrad"
    c: float = Field(0.5, ge=0, lt=1)
    """Radius around the mean gradient, by its length (its code: 0.5; the paper: 0.4 on NYUv2, 0.2 on Cityscapes)."""
    rescale: bool = True
    """Divide by 1 + c^2, as its code does; the paper's algorithm does not."""
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens: cheaper, and one micro-batch only."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The solver looks at every subset of the objectives."""
        yield from _too_many(run)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """1 + c^2 is 1."""
        if self.c == 0:
            yield Problem("rescale", "has no effect where `c` is 0", note=True)

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.gram import GramBalancer, cagrad

        return GramBalancer(partial(cagrad, c=self.c, rescale=self.rescale), self.space)


@final
class MGDA(BalancerSpec):
    """The shortest convex combination of the gradients: no loss gets worse by it (Sener and Koltun 2018)."""

    kind: Literal["mgda"] = "mgda"
    normalize: bool = False
    """Of gradients at length 1 (`l2` of the paper's code), so that the shortest one does not take it all."""
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens (MGDA-UB): cheaper, and one micro-batch only."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The solver looks at every subset of the objectives, and a gradient of 0 is the shortest of them."""
        yield from _too_many(run)
        for name, term in run.terms.items():
            if ends(term.weight)[1] == 0:
                yield Problem(
                    "",
                    f"would train nothing that objectives share once the weight of {name!r} is 0, as no combination "
                    "of gradients is shorter than its 0; let the weight stay above 0, or take another balancer",
                )

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.gram import GramBalancer, mgda

        return GramBalancer(partial(mgda, normalize=self.normalize), self.space)


@final
class IMTLG(BalancerSpec):
    """The direction whose projections onto all gradients are equally long (Liu et al. 2021, IMTL-G)."""

    kind: Literal["imtl_g"] = "imtl_g"
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens (the paper): cheaper, one micro-batch only."""

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.gram import GramBalancer, imtl_g

        return GramBalancer(imtl_g, self.space)


@final
class NashMTL(BalancerSpec):
    """The Nash bargaining solution: every loss gains in proportion (Navon et al. 2022)."""

    kind: Literal["nash"] = "nash"
    max_norm: float | None = Field(1.0, gt=0)
    """Largest length of the direction, on what is compared (its code: 1); null: as it is."""
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens: cheaper, and one micro-batch only."""

    def build(self, names: Sequence[str]) -> Balancer:
        from sslkit_balancers.gram import GramBalancer, nash

        return GramBalancer(partial(nash, max_norm=self.max_norm), self.space)


@final
class TorchJD(BalancerSpec):
    """An aggregator of the torchjd package (Quinton and Rey 2024), by its name."""

    kind: Literal["torchjd"] = "torchjd"
    aggregator: str = "AlignedMTL"
    """Name of a class in `torchjd.aggregation` that weighs by products of gradients and keeps no state."""
    options: Mapping[str, float | int | bool | str] = {}
    """Its arguments."""
    space: Space = "parameters"
    """Compare gradients on the backbone's parameters, or on its tokens: cheaper, and one micro-batch only."""

    @classmethod
    def example(cls) -> Self | None:
        """The default, where the package is installed."""
        return cls() if find_spec("torchjd") else None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if find_spec("torchjd") is None:
            yield Problem("", 'needs the package torchjd; install it with `pip install "sslkit[torchjd]"`')

    def build(self, names: Sequence[str]) -> Balancer:
        """The aggregator. Raises SpecError where torchjd has none of that name and kind."""
        from sslkit_balancers.gram import GramBalancer
        from sslkit_balancers.torchjd import rule

        return GramBalancer(rule(self.aggregator, self.options, len(names)), self.space)


def _too_many(run: RunSpec) -> Iterator[Problem]:
    if len(run.terms) > MOST:
        yield Problem(
            "", f"takes at most {MOST} objectives, and the run has {len(run.terms)}; nest some of them"
        )
