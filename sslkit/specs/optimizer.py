"""The optimizer: name, rate, decay, groups, clipping. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec
from sslkit.specs.error_text import suggest
from sslkit.specs.schedule import Value, ends

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


_WITHOUT = {
    "adamw": ("momentum",),
    "lars": ("betas", "eps"),
    "sgd": ("betas", "eps"),
    "momentum": ("betas", "eps"),
    "nesterov": ("betas", "eps"),
}
"""Optimizer -> fields that it does not read. Before the first step, runs ask timm about the others."""


@final
class TowerRates(Spec):
    """How a tower is trained, where it is not as the heads are."""

    layer_decay: float | None = Field(None, gt=0, le=1)
    """Learning rate of a layer over the next one's. Default: all alike."""
    patch_embed_rate: float = Field(1.0, ge=0)
    """Share of its learning rate that the embedding, its layer 0, gets."""
    freeze_steps: int = Field(0, ge=0, lt=2**31)
    """Steps at the beginning in which the tower stays as it is."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """A tower that never moved would be a frozen net."""
        if run.steps is not None and self.freeze_steps >= run.steps:
            text = f"{self.freeze_steps:,} of {run.steps:,} steps: the tower would never train; give fewer"
            yield Problem("freeze_steps", text)


@final
class OptimizerSpec(Spec):
    """The optimizer, its learning rate and its exclusions. Defaults: MAE's (`main_pretrain.py`)."""

    name: str = Field("adamw", min_length=1)
    """`adamw` is torch's fused one, `lars` BYOL's, any other timm's: `momentum` (plain SGD), `sgd` (Nesterov), ..."""
    lr: float = Field(1.5e-4, gt=0)
    """Base learning rate, before `scale`."""
    scale: Literal["/256", "/512", "sqrt/1024", "absolute"] = "/256"
    """lr x batch / 256 (MAE, DINO, BYOL), / 512 (SimMIM), x sqrt(batch / 1024) (DINOv2), or lr as it is."""
    betas: tuple[Value, Value] | None = None
    """Adam's moments (SimMIM and BEiT: 0.9, 0.999). Default: 0.9, 0.95 for `adamw` (MAE), else the optimizer's own."""
    momentum: Value | None = None
    """Momentum of SGD-like optimizers, possibly on a schedule. Default: 0.9, or the optimizer's own (Muon: 0.95)."""
    trust: float = Field(1e-3, gt=0)
    """Trust coefficient of `lars` (BYOL, SimCLR, Barlow Twins, MoCo v3, MAE: 0.001). Refused with others."""
    eps: float | None = Field(None, gt=0)
    """Denominator term. Default: the optimizer's own."""
    weight_decay: Value = 0.05
    """Weight decay, possibly on a schedule (DINO: 0.04 to 0.4)."""
    decay_one_dimensional: bool = False
    """Also decay biases and norm scales, and let `lars` adapt them (MoCo, SimSiam; nearly all others do not)."""
    no_decay: tuple[str, ...] = ()
    """Further parameters without decay, by the end of their names (BEiT: pos_embed, cls_token)."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Learning rate of a layer over the next one's (MAE fine-tuning: 0.65 or 0.75, DINOv2: 0.9). Default: all alike."""
    patch_embed_rate: float = Field(1.0, ge=0)
    """Share of its learning rate that the patch embedding gets (DINOv2, DINOv3: 0.2; MoCo v3 freezes it: 0)."""
    freeze_steps: int = Field(0, ge=0, lt=2**31)
    """Steps at the beginning in which the backbone stays as it is, so that new heads fit its `checkpoint` first."""
    towers: Mapping[str, TowerRates] = {}
    """The same three for networks under `towers`, by name."""
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm; none by default (MAE). SimMIM 5, BEiT 3, DINO 3 per tensor."""
    clip_per: Literal["global", "tensor"] = "global"
    """Norm over all gradients together, or of each parameter tensor on its own (DINO, iBOT)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Decay shrinks weights."""
        if min(ends(self.weight_decay)) < 0:
            yield Problem("weight_decay", f"must not be below 0, found {self.weight_decay}")
        betas = {f"betas.{i}": beta for i, beta in enumerate(self.betas or ())}
        for name, value in {"momentum": self.momentum, **betas}.items():
            if value is not None and not all(0 <= end < 1 for end in ends(value)):
                yield Problem(name, f"must stay from 0 to below 1, found {value}")
        for name in self.towers:
            if name not in run.towers:
                hint = suggest(name, run.towers) if run.towers else "The run has none."
                yield Problem(f"towers.{name}", f"is not a name under `towers` of this run. {hint}")
        if run.steps is not None and self.freeze_steps >= run.steps:
            text = f"{self.freeze_steps:,} of {run.steps:,} steps: the backbone would never train; give fewer"
            yield Problem("freeze_steps", text)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """Fields of other optimizers, as far as that is known without timm, and of what is switched off."""
        for field in _WITHOUT.get(self.name, ()):
            yield Problem(
                field, f"{self.name!r} has no `{field}`; leave it out, or take an optimizer that has it"
            )
        if self.name != "lars":
            yield Problem("trust", f"is for `lars`, found {self.name!r}; leave it out")
        if self.clip is None:
            yield Problem("clip_per", "says how to clip, and `clip` is not set; set it, or leave this out")
        if max(ends(self.weight_decay)) == 0 and self.name != "lars":
            for field in ("decay_one_dimensional", "no_decay"):
                yield Problem(field, "has no effect, as `weight_decay` is 0", note=True)

    def peak_lr(self, batch_size: int) -> float:
        """Learning rate at the end of warm-up for an effective batch of `batch_size` images."""
        factors = {
            "/256": batch_size / 256,
            "/512": batch_size / 512,
            "sqrt/1024": math.sqrt(batch_size / 1024),
        }
        return self.lr * factors.get(self.scale, 1.0)
