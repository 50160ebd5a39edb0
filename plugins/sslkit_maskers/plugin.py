"""Specs of the built-in maskers. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from sslkit.errors import SpecError
from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec
from sslkit.spec.families import MaskerSpec

if TYPE_CHECKING:
    from sslkit.core.env import Grid
    from sslkit.core.masker import Masker


@final
class RandomMasker(MaskerSpec):
    """Hides the same number of patches in every image, uniformly at random (MAE `random_masking`)."""

    kind: Literal["random"] = "random"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (MAE: 0.75). The visible count is floor(N (1 - ratio)), computed exactly."""

    def visible(self, patches: int) -> int:
        """Patches left visible of `patches`; float products would be one too low for (100, 0.9) and its like."""
        return math.floor(patches * (1 - Fraction(repr(self.ratio))))

    def build(self, grid: Grid) -> Masker:
        """The sampler. Raises SpecError where it would hide no patch or all of them."""
        visible = self.visible(grid.patches)
        if not 0 < visible < grid.patches:
            raise SpecError(
                f"ratio {self.ratio} hides {grid.patches - visible} of {grid.patches} patches "
                f"({grid.rows} x {grid.cols}); at least one must stay and one be hidden: change the ratio or the patch"
            )
        from sslkit_maskers.random import RandomSampler

        return RandomSampler(grid.patches, visible)


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The maskers of this package."""
    return [RandomMasker]
