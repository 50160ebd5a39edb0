"""Spec of `video_vit`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import BackboneSpec, Grid, Problem
from sslkit_video.specs.cubes import cubes

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import RunSpec, Size, View


@final
class VideoViT(BackboneSpec):
    """A vision transformer on cubelets of clips (VideoMAE, MAE-ST; divided attention: TimeSformer)."""

    takes: ClassVar[str] = "clip"
    oblong: ClassVar[bool] = True
    tells_attention: ClassVar[bool] = False
    kind: Literal["video_vit"] = "video_vit"
    tubelet: int = Field(2, ge=1)
    """Frames of a cubelet (VideoMAE: 2)."""
    patch: int = Field(16, ge=1)
    """Height and width of a cubelet, in pixels (VideoMAE: 16)."""
    width: int = Field(384, ge=6)
    """Width of the tokens (ViT-S: 384)."""
    depth: int = Field(12, ge=1)
    """Blocks."""
    heads: int = Field(6, ge=1)
    """Attention heads; they divide the width (ViT-S: 6)."""
    mlp_ratio: float = Field(4.0, gt=0)
    """Width of the perceptrons, in widths of the tokens."""
    class_token: bool = False
    """Whether a class token stands for the clip (MAE-ST); otherwise the mean of the patches does (VideoMAE)."""
    attention: Literal["joint", "divided"] = "joint"
    """Among all tokens, or first along time and then within each moment (TimeSformer). Divided attention needs every
    token, so no objective may leave hidden ones out."""
    positions: Literal["sincos", "flat", "learned", "separable"] = "sincos"
    """Fixed sines along each axis; VideoMAE's along all patches (`flat`); a learned table; or learned tables of places
    and of moments (MAE-ST `sep_pos_embed`)."""
    checkpoint: Path | None = None
    """Weights of a ViT of images to begin with, a safetensors file with timm's names: patch embeddings are inflated
    over the frames of a cubelet, positions repeated in every moment."""
    inflate: Literal["mean", "center"] = "mean"
    """How: each frame gets an equal share, or the middle one gets all (I3D; ViViT's central frame)."""

    @classmethod
    def example(cls) -> Self:
        return cls(tubelet=4, patch=8, width=24, depth=2, heads=2)

    @property
    def blocks(self) -> int:
        return self.depth

    def grid(self, size: Size) -> Grid:
        return cubes(size, self.tubelet, self.patch)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The heads divide the width, and weights are there and have somewhere to go."""
        if self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")
        if self.checkpoint is not None and not self.checkpoint.expanduser().is_file():
            yield Problem("checkpoint", f"there is no file {str(self.checkpoint)!r}")
        if self.checkpoint is not None and self.attention == "divided":
            yield Problem("checkpoint", "has no attention along time; use `attention: joint`")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.checkpoint is None and "inflate" in self.model_fields_set:
            yield Problem("inflate", "is for a `checkpoint`; give that too, or leave this out")

    def build(self, view: View) -> Backbone:
        from sslkit_video.video_vit import VideoShape, VideoViTBackbone

        shape = VideoShape(**{name: getattr(self, name) for name in VideoShape._fields})
        checkpoint = None if self.checkpoint is None else self.checkpoint.expanduser()
        return VideoViTBackbone(shape, view, checkpoint, self.inflate)
