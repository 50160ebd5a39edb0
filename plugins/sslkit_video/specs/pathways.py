"""Spec of `slowfast`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    BackboneSpec,
    BatchNormMode,
    Count,
    Grid,
    Problem,
    group_problems,
)
from sslkit_video.specs.cubes import maps

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import RunSpec, Size, View


@final
class SlowFast(BackboneSpec):
    """SlowFast (Feichtenhofer et al. 2019): residual networks on few frames, and thinner on all, which joins the first.

    Both pathways' last maps side by side are the patches. The mean of those, as the reference's classifier reads it, is
    the class token. For objectives without masks.
    """

    takes: ClassVar[str] = "clip"
    oblong: ClassVar[bool] = True
    tells_attention: ClassVar[bool] = False
    kind: Literal["slowfast"] = "slowfast"
    alpha: int = Field(8, ge=2)
    """Frames of the fast pathway for each one of the slow (paper: 8; recipes: 4 or 8). It divides the clip's."""
    beta_inv: int = Field(8, ge=1)
    """Channels of the slow pathway for each one of the fast (the paper: 8). It divides `width`."""
    width: int = Field(64, ge=1)
    """Channels of the slow pathway's stem (ResNet-50: 64). Every stage but the first has twice those before it."""
    depths: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)] = (3, 4, 6, 3)
    """Blocks of each stage (ResNet-50: 3, 4, 6, 3)."""
    block: Literal["bottleneck", "basic"] = "bottleneck"
    """Three convolutions, the last four times as wide (ResNet-50), or two of one width (ResNet-18)."""
    stem: Literal["large", "small"] = "large"
    """First layers: 7 x 7 with stride 2 and pooling, which make one place of 4 x 4 pixels, or, for frames of about 32
    pixels, 3 x 3 alone."""
    lateral_kernel: int = Field(5, ge=1)
    """Frames that one value from the fast pathway to the slow is made of, odd (the paper: 5; some recipes: 7)."""
    lateral_ratio: int = Field(2, ge=1)
    """Channels that go over, in those of the fast pathway (the paper: 2)."""
    batch_norm: BatchNormMode = "sync"
    """Clips that share statistics, as those of `cnn`."""
    splits: Count = 1
    """Groups of `split` and `shuffled`."""
    views_apart: bool = True
    """Whether each crop of a view is a batch of its own to batch norm, as those of `cnn`."""

    @classmethod
    def example(cls) -> Self:
        return cls(alpha=2, beta_inv=4, width=8, depths=(1, 1), block="basic", stem="small")

    @property
    def stride(self) -> int:
        """Height and width of a place of the last maps, in pixels."""
        return (4 if self.stem == "large" else 1) << (len(self.depths) - 1)

    def grid(self, size: Size) -> Grid:
        return maps(size, self.alpha, self.stride)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Widths and groups divide, and the lateral kernel has a middle."""
        if self.width % self.beta_inv:
            yield Problem("beta_inv", f"{self.beta_inv} does not divide the width {self.width}")
        if self.lateral_kernel % 2 == 0:
            yield Problem("lateral_kernel", f"is odd, so that it has a middle; found {self.lateral_kernel}")
        yield from group_problems(self.batch_norm, self.splits)
        rows = run.images_per_forward()
        groups = self.splits**2 if self.batch_norm == "shuffled" else self.splits
        if self.views_apart and rows % groups:
            text = f"{self.splits} with {self.batch_norm!r} needs batches of a multiple of {groups}, found {rows}"
            yield Problem("splits", text)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.frozen_in(run):
            for field in ("batch_norm", "views_apart"):
                yield Problem(field, "has no effect, as this net is frozen; leave it out")

    def build(self, view: View) -> Backbone:
        from sslkit_video.slowfast import Pathways, SlowFastBackbone

        shape = Pathways(**{name: getattr(self, name) for name in Pathways._fields})
        return SlowFastBackbone(shape, view, views_apart=self.views_apart)
