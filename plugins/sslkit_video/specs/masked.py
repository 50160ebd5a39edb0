"""Specs of masked autoencoders of clips, and of their target. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

from pydantic import Field, TypeAdapter

from sslkit.plugin import (
    MaskerField,
    ObjectiveField,
    ObjectiveSpec,
    Spec,
    TargetField,
    TargetSpec,
    ViewName,
    slot_default,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective, Target
    from sslkit.plugin import Env


@final
class Cubelet(TargetSpec):
    """The pixels of a cubelet, each channel with its own mean removed and deviation divided out (VideoMAE)."""

    unchecked: ClassVar[str] = "it is of clips, and the kit's targets are of images"
    kind: Literal["cubelet"] = "cubelet"
    normalized: bool = True
    """Whether mean and deviation are removed (VideoMAE's recipe); otherwise pixels in [0, 1]."""
    loss: Literal["l2", "l1", "smooth_l1"] = "l2"
    """Error of a value, averaged over the cubelet (VideoMAE: l2)."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def build(self, env: Env, view: str) -> Target:
        from sslkit_video.cubelets import CubeletTarget

        return CubeletTarget(env.grid(view), env.view(view), self.loss, normalized=self.normalized)


@final
class ClipDecoder(Spec):
    """The transformer that predicts hidden cubelets. Defaults: VideoMAE ViT-B's."""

    depth: int = Field(4, ge=0)
    """Blocks (VideoMAE: 4)."""
    width: int = Field(384, ge=6, multiple_of=2)
    """Width of its tokens (VideoMAE ViT-B: 384; half the encoder's)."""
    heads: int = Field(6, ge=1)
    """Attention heads (VideoMAE: 6); they divide the width."""


@final
class VideoMAE(ObjectiveSpec):
    """VideoMAE (Tong et al. 2022): `mae` on cubelets, with tubes hidden and a decoder without a class token."""

    kind: Literal["videomae"] = "videomae"
    view: ViewName = "global"
    """View whose clips are masked."""
    masker: MaskerField = slot_default("tube")
    """Which cubelets to hide (VideoMAE: tubes, 0.9; space-time agnostic, as MAE-ST: `random` with ratio 0.9)."""
    target: TargetField = slot_default("cubelet")
    """What to predict (VideoMAE: `cubelet`; MAE-ST: `normalized_pixel`)."""
    decoder: ClipDecoder = ClipDecoder()
    """The transformer that predicts hidden cubelets."""
    positions: Literal["axes", "flat"] = "axes"
    """Of the decoder: sines along each axis, or VideoMAE's, along all patches."""

    @classmethod
    def example(cls) -> Self:
        return cls(
            decoder=ClipDecoder(depth=1, width=16, heads=2),
            masker={"kind": "random", "ratio": 0.5},
            target={"kind": "pixel"},
        )

    def build(self, env: Env) -> Objective:
        return _mae(self, env)


def _mae(spec: VideoMAE, env: Env) -> Objective:
    """The core's masked autoencoder with these settings."""
    sizes = spec.decoder
    decoder = {"depth": sizes.depth, "width": sizes.width, "heads": sizes.heads, "positions": spec.positions}
    fields: dict[str, Any] = {
        "kind": "mae",
        "view": spec.view,
        "masker": spec.masker,
        "target": spec.target,
        "decoder": {**decoder, "class_token": False, "bias": False},
        "weight": spec.weight,
        "salt": spec.salt,
    }
    engine: ObjectiveSpec = TypeAdapter(ObjectiveField).validate_python(fields)
    return engine.build(env)
