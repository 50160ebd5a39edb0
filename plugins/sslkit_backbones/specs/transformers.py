"""Specs of `vit` and `swin`: transformers by timm's names, or by width, depth and heads. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import BackboneSpec, Problem, Size, SpecError
from sslkit_backbones.patch_grid import grid_of_last_stage, grid_of_patches
from sslkit_backbones.specs.timm_names import TimmName
from sslkit_backbones.specs.weights_file import weights_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Backbone
    from sslkit.plugin import Grid, RunSpec, View


@final
class ViT(BackboneSpec):
    """A vision transformer of timm, for any image and patch size."""

    oblong: ClassVar[bool] = True
    kind: Literal["vit"] = "vit"
    name: TimmName = "vit_base_patch16_224"
    """Its name in timm (https://huggingface.co/docs/timm)."""
    patch: int | None = Field(None, ge=1)
    """Side of a patch, in pixels. Default: the one in the name."""
    width: int | None = Field(None, ge=4)
    """Width of the tokens. Default: the named network's."""
    depth: int | None = Field(None, ge=1)
    """Blocks. Default: the named network's."""
    heads: int | None = Field(None, ge=1)
    """Attention heads; they divide the width. Default: the named network's."""
    positions: Literal["sincos", "learned", "relative", "rotary"] = "sincos"
    """Fixed sin-cos in MAE's order (column first); learned ones (DINO); a bias by distance that all blocks share (BEiT,
    SimMIM; of timm's `beit_...` and `vit_relpos_...`); or rotation by place (EVA-02, DINOv3; of timm's `eva02_...`,
    `vit_..._rope_...` and `vit_..._dinov3`, with learned ones beside it where those have them). Other sizes are
    interpolated or made anew, as timm does."""
    layer_scale: float | None = Field(None, gt=0)
    """First value of the learned scale of each branch (BEiT-B, SimMIM: 0.1). Default: the named network's."""
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] | None = None
    """What the perceptrons apply, of names `vit_...` (OpenAI's CLIP: `quick_gelu`; SigLIP: `gelu_tanh`). Default: the
    named network's."""
    registers: int | None = Field(None, ge=0)
    """Learned tokens beside the class token that no objective reads (DINOv2: 4). Default: the named network's."""
    init: Literal["mae", "beit", "timm"] = "mae"
    """Xavier-uniform linear layers (MAE, MoCo v3); N(0, 0.02) cut off at one deviation, the last weights of block l
    divided by sqrt(2 l) (BEiT, SimMIM); or what timm draws (DINO)."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Stochastic depth at the last block, rising linearly from 0 at the first (MAE: 0; BEiT-B, SimMIM: 0.1)."""
    checkpoint: Path | None = None
    """Weights to start from: a file that `sslkit export` wrote, or a public one of timm, DINOv2, MAE and others, or a
    folder of Hugging Face (docs/weights.md)."""
    pretrained: bool = False
    """Whether timm loads the weights that it has for this name; it may download them."""

    @classmethod
    def example(cls) -> Self:
        return cls(name="vit_tiny_patch16_224", patch=8, width=16, depth=1, heads=2)

    @property
    def patch_size(self) -> int | None:
        """The patch, where the spec or the name says it."""
        named = re.search(r"patch(\d+)", self.name)
        return self.patch or (int(named[1]) if named else None)

    @property
    def blocks(self) -> int | None:
        return self.depth

    def grid(self, size: Size) -> Grid | None:
        patch = self.patch_size
        return None if patch is None else grid_of_patches(size, patch)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The patch must divide every view; the weights must exist; the heads must divide the width."""
        yield from _common_problems(self, self.checkpoint, run)
        if self.width and self.heads and self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")
        if self.width and self.positions == "sincos" and self.width % 4:
            yield Problem("width", f"sin-cos positions need a multiple of 4, found {self.width}")
        if self.width and self.heads and self.positions == "rotary" and self.width % (4 * self.heads):
            yield Problem("width", f"rotary positions need a multiple of 4 for each head, found {self.width}")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.frozen_in(run):
            yield Problem("drop_path", "has no effect, as this net is frozen; leave it out")
        if self.checkpoint is not None:
            yield Problem(
                "pretrained", "has no effect, as the weights of `checkpoint` replace timm's; keep one of them"
            )

    def build(self, view: View) -> Backbone:
        from sslkit_backbones.timm_networks import ViTShape
        from sslkit_backbones.vit import ViTBackbone

        shape = ViTShape(
            name=self.name,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            positions=self.positions,
            layer_scale=self.layer_scale,
            registers=self.registers,
            drop_path=self.drop_path,
            activation=self.activation,
        )
        return ViTBackbone(shape, self.init, self.checkpoint, view, self.pretrained)


@final
class Swin(BackboneSpec):
    """A Swin transformer of timm, first or second version, for objectives in `token` mode (SimMIM)."""

    oblong: ClassVar[bool] = True
    tells_attention: ClassVar[bool] = False
    kind: Literal["swin"] = "swin"
    name: TimmName = "swin_base_patch4_window7_224"
    """Its name in timm (https://huggingface.co/docs/timm): a `swin_...` or `swinv2_...` (not `swinv2_cr_...`)."""
    patch: int = Field(4, ge=1)
    """Side of a patch before the first stage, in pixels (Swin, SimMIM: 4)."""
    width: int | None = Field(None, ge=4)
    """Width of the first stage; every later one doubles it. Default: the named network's."""
    depths: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, min_length=1)
    """Blocks of each stage. Default: the named network's, of four stages."""
    heads: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, min_length=1)
    """Attention heads of each stage. Default: the named network's."""
    window: int | None = Field(None, ge=1)
    """Side of the attention windows, in tokens of a stage (SimMIM at 192 pixels: 6). They divide every stage that is
    larger than one window. Default: the named network's."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Stochastic depth at the last block, rising linearly from 0 at the first (SimMIM's pre-training of Swin-B: 0)."""
    checkpoint: Path | None = None
    """Weights to start from: a file that `sslkit export` wrote, or a public one of timm, DINOv2, MAE and others, or a
    folder of Hugging Face (docs/weights.md)."""

    @classmethod
    def example(cls) -> Self:
        """Two narrow stages with windows of 2, the second one shifting them."""
        return cls(name="swin_tiny_patch4_window7_224", width=8, depths=(1, 2), heads=(1, 2), window=2)

    @property
    def stride(self) -> int:
        """Pixels along the side of a token of the last stage."""
        stages = 4 if self.depths is None else len(self.depths)
        return int(self.patch * 2 ** (stages - 1))

    @property
    def blocks(self) -> int | None:
        """Those of the last stage, where they are set."""
        return None if self.depths is None else self.depths[-1]

    def grid(self, size: Size) -> Grid:
        """Tokens of the last stage; they are what is hidden and predicted."""
        return grid_of_last_stage(size, self.stride)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The last stage's tokens must divide every view; the weights must exist; stages must agree."""
        yield from _common_problems(self, self.checkpoint, run)
        stages = 4 if self.depths is None else len(self.depths)
        if (self.heads is not None or stages != 4) and len(self.heads or ()) != stages:
            yield Problem("heads", f"{len(self.heads or ())} numbers for {stages} stages; give one for each")
        for stage, heads in enumerate(self.heads or ()):
            if self.width and self.width * 2**stage % heads:
                width = self.width * 2**stage
                yield Problem("heads", f"{heads} heads do not divide the width {width} of stage {stage}")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.frozen_in(run):
            yield Problem("drop_path", "has no effect, as this net is frozen; leave it out")

    def build(self, view: View) -> Backbone:
        from sslkit_backbones.swin import SwinBackbone, SwinShape

        shape = SwinShape(
            name=self.name,
            patch=self.patch,
            stride=self.stride,
            width=self.width,
            depths=self.depths,
            heads=self.heads,
            window=self.window,
            drop_path=self.drop_path,
        )
        return SwinBackbone(shape, self.checkpoint, view)


def _common_problems(spec: BackboneSpec, checkpoint: Path | None, run: RunSpec) -> Iterator[Problem]:
    for name, view in run.views.items():
        if view.type_in(run.data) != spec.takes:
            continue
        try:
            spec.grid(view.size)
        except SpecError as error:
            yield Problem("patch", f"{error} (view {name!r})")
    yield from weights_problems(checkpoint)
