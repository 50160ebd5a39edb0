"""Specs of uniformity, variance-covariance, KoLeo and SIGReg objectives. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, final

from pydantic import Field

from sslkit.plugin import Count, MaskerField, ObjectiveSpec, Problem, ViewName

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class VarianceCovariance(ObjectiveSpec):
    """VICReg's variance and covariance terms (Bardes, Ponce, LeCun 2021) on pooled features, without a projector."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["variance_covariance"] = "variance_covariance"
    view: ViewName = "global"
    """View whose images are compared, each crop on its own."""
    masker: MaskerField | None = None
    """Read the masked pass of a term with an equal masker; null for whole images."""
    mode: Literal["drop", "token"] = "drop"
    """How that pass meets hidden patches: `drop` (MAE) or `token` (SimMIM, iBOT)."""
    covariance: float = Field(0.04, ge=0)
    """Share of covariance to variance (VICReg: 1 to 25; its code halves each branch's variance: 0.08)."""

    @property
    def min_batch(self) -> int:
        return 2

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.masker is None:
            yield Problem("mode", "has no effect without `masker`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.regularizers.regularization import variance_covariance
        from sslkit_objectives.regularizers.spread import SpreadObjective

        term = partial(variance_covariance, share=self.covariance)
        return SpreadObjective(self.view, self.masker, self.mode, term, env)


@final
class Uniformity(ObjectiveSpec):
    """Wang and Isola's uniformity on the sphere (2020): features of different images repel each other."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["uniformity"] = "uniformity"
    view: ViewName = "global"
    """View whose images are compared, each crop on its own."""
    masker: MaskerField | None = None
    """Read the masked pass of a term with an equal masker; null for whole images."""
    mode: Literal["drop", "token"] = "drop"
    """How that pass meets hidden patches: `drop` (MAE) or `token` (SimMIM, iBOT)."""
    t: float = Field(2.0, gt=0)
    """Sharpness: the loss is the logarithm of the mean of exp(-t d²) over pairs (the authors' code: 2)."""

    @property
    def min_batch(self) -> int:
        return 2

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.masker is None:
            yield Problem("mode", "has no effect without `masker`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.regularizers.regularization import uniformity
        from sslkit_objectives.regularizers.spread import SpreadObjective

        return SpreadObjective(self.view, self.masker, self.mode, partial(uniformity, t=self.t), env)


@final
class KoLeo(ObjectiveSpec):
    """KoLeo (Sablayrolles et al. 2019, as in DINOv2): every image's features move away from the nearest other's."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["koleo"] = "koleo"
    view: ViewName = "global"
    """View whose images are compared, each crop on its own."""
    masker: MaskerField | None = None
    """Read the masked pass of a term with an equal masker; null for whole images."""
    mode: Literal["drop", "token"] = "drop"
    """How that pass meets hidden patches: `drop` (MAE) or `token` (SimMIM, iBOT)."""

    @property
    def min_batch(self) -> int:
        return 2

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.masker is None:
            yield Problem("mode", "has no effect without `masker`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        from sslkit.functional.koleo import koleo
        from sslkit_objectives.regularizers.spread import SpreadObjective

        return SpreadObjective(self.view, self.masker, self.mode, koleo, env)


@final
class SIGReg(ObjectiveSpec):
    """LeJEPA's SIGReg (Balestriero, LeCun 2025): features are drawn to a standard normal along random directions."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["sigreg"] = "sigreg"
    view: ViewName = "global"
    """View whose images are compared, each crop on its own."""
    masker: MaskerField | None = None
    """Read the masked pass of a term with an equal masker; null for whole images."""
    mode: Literal["drop", "token"] = "drop"
    """How that pass meets hidden patches: `drop` (MAE) or `token` (SimMIM, iBOT)."""
    directions: Count = 256
    """Random directions, new at each step (`MINIMAL.md`: 256; `README.md`: 1024)."""

    @property
    def min_batch(self) -> int:
        return 2

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.masker is None:
            yield Problem("mode", "has no effect without `masker`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.regularizers.sigreg import SIGRegObjective

        return SIGRegObjective(self.view, self.masker, self.mode, self.directions, env)
