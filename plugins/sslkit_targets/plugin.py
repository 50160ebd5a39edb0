"""Specs of the built-in targets. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, final

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec
from sslkit.spec.families import TargetSpec

if TYPE_CHECKING:
    from sslkit.core.env import Env
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


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The targets of this package."""
    return [Pixel, NormalizedPixel]
