"""Specs of the built-in targets. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from sslkit.errors import SpecError
from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec
from sslkit.spec.families import TargetSpec

if TYPE_CHECKING:
    from sslkit.core.env import Env, Grid
    from sslkit.core.target import Target

Loss = Literal["l2", "l1", "smooth_l1"]


@final
class Pixel(TargetSpec):
    """The patch's own pixels, as the view normalizes them (MAE without `--norm_pix_loss`)."""

    kind: Literal["pixel"] = "pixel"
    loss: Loss = "l2"
    """Error of a pixel, averaged over the patch (MAE: l2; SimMIM: l1)."""

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`."""
        from sslkit_targets.pixel import PixelTarget

        return PixelTarget(env.grid(view), env.view(view).channels, self.loss, normalized=False)


@final
class NormalizedPixel(TargetSpec):
    """The patch's pixels with the patch's mean removed and its scale divided out (MAE with `--norm_pix_loss`)."""

    kind: Literal["normalized_pixel"] = "normalized_pixel"
    loss: Loss = "l2"
    """Error of a pixel, averaged over the patch (MAE: l2)."""

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`."""
        from sslkit_targets.pixel import PixelTarget

        return PixelTarget(env.grid(view), env.view(view).channels, self.loss, normalized=True)


@final
class HOG(TargetSpec):
    """Histograms of oriented gradients of the patch's cells (MaskFeat; Dalal and Triggs 2005).

    They are computed on the whole normalized crop, for each channel, so that a cell's border pixels see beyond the
    patch. `slowfast` is MaskFeat's reference implementation: Sobel gradients, reflected borders, and the angle
    taken from the vertical axis. `conventional` is scikit-image's: central differences that are 0 at the
    border, and the angle taken from the horizontal axis.
    """

    kind: Literal["hog"] = "hog"
    bins: int = Field(9, ge=2)
    """Orientations, without a sign: opposite directions share a bin (MaskFeat: 9)."""
    cell: int = Field(8, ge=1)
    """Side of a cell, in pixels; it divides the patch (MaskFeat: 8 for patches of 16)."""
    variant: Literal["slowfast", "conventional"] = "slowfast"
    """Arithmetic of MaskFeat's reference, or scikit-image's."""
    loss: Loss = "l2"
    """Error of a value, averaged over the patch (MaskFeat: l2)."""

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`. Raises SpecError where the cell does not divide the patch."""
        self._check(env.grid(view))
        from sslkit_targets.hog import HOGTarget

        return HOGTarget(self, env.grid(view), env.view(view))

    def _check(self, grid: Grid) -> None:
        if grid.patch % self.cell:
            fitting = [str(n) for n in range(2, grid.patch + 1) if grid.patch % n == 0] or ["1"]
            raise SpecError(
                f"target.cell: cells of {self.cell} pixels do not divide patches of {grid.patch}; "
                f"use a cell of {' or '.join(fitting)}"
            )


@final
class Frequency(TargetSpec):
    """The patch's pixels after the crop's high frequencies are removed by an ideal low-pass filter (PixMIM)."""

    kind: Literal["frequency"] = "frequency"
    cutoff: float = Field(round(40 / 112, 6), gt=0)
    """Radius kept in the spectrum, as a share of the Nyquist frequency (PixMIM: 40 of 112 for crops of 224)."""
    normalized: bool = False
    """Remove each filtered patch's mean and divide out its deviation, as `normalized_pixel` does (PixMIM: true)."""
    loss: Loss = "l2"
    """Error of a pixel, averaged over the patch (PixMIM: l2)."""

    def build(self, env: Env, view: str) -> Target:
        """The target for the patches of `view`."""
        from sslkit_targets.frequency import FrequencyTarget

        return FrequencyTarget(self, env.grid(view), env.view(view))


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The targets of this package."""
    return [Pixel, NormalizedPixel, HOG, Frequency]
