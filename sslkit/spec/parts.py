"""Specs that every method shares: views, nets, optimizer, readout, checkpoints, logging, compilation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypedDict, final

from pydantic import AfterValidator, Field, model_validator

from sslkit import catalog
from sslkit.errors import SpecError
from sslkit.spec.base import Count, Problem, Spec
from sslkit.spec.families import Augment, AugmentSpec, Backbone, Logger
from sslkit.spec.metrics import refusal
from sslkit.spec.recipes import RECIPES, Recipe, Step
from sslkit.spec.schedule import Period, Value, ends

if TYPE_CHECKING:
    from sslkit.spec.run import RunSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def byte_count(size: str) -> int:
    """Bytes of a `Size`: 2147483648 of `2 GiB`."""
    number, unit = size.split()
    return int(float(number) * _UNITS[unit])


def _size(value: str) -> str:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})? (MiB|GiB)", value):
        raise ValueError("must be a number and its unit, as in '2 GiB' or '500 MiB'")
    return value


Size = Annotated[str, AfterValidator(_size)]
"""An amount of memory: `2 GiB`, `500 MiB`."""


@final
class Normalize(Spec):
    """Channel statistics that bring pixels in [0, 1] to zero mean and unit scale. Default: ImageNet's."""

    mean: tuple[float, ...] = Field(IMAGENET_MEAN, min_length=1)
    """Mean of each channel, for pixels in [0, 1]."""
    std: tuple[float, ...] = Field(IMAGENET_STD, min_length=1)
    """Standard deviation of each channel, for pixels in [0, 1]."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The two lists must match and no deviation may be 0."""
        if len(self.mean) != len(self.std):
            yield Problem("std", f"has {len(self.std)} channels where `mean` has {len(self.mean)}")
        if any(s <= 0 for s in self.std):
            yield Problem("std", f"must be above 0 in every channel, found {list(self.std)}")


@final
class ViewSpec(Spec):
    """A named group of crops of one size."""

    size: Count
    """Side of a crop, in pixels."""
    crops: Count = 1
    """Crops of each image."""
    augment: tuple[Augment, ...] = ()
    """Random changes of every crop, in order. Without one that fixes the size, images are first cut at the center."""
    by_crop: tuple[tuple[Augment, ...], ...] = ()
    """Lists of changes instead: crop i takes list i, and begins again with the first where there are more crops."""
    recipe: Recipe | None = None
    """A published set of such lists instead, by its name: `simclr`, `byol`, `dino_global`, ... (see Views)."""
    normalize: Normalize = Normalize()
    """Channel statistics, applied last."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("augment", "by_crop", "recipe") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(
                f"gives {' and '.join(f'`{name}`' for name in ways)}; they exclude each other: keep one"
            )
        return self

    @property
    def chains(self) -> tuple[tuple[AugmentSpec, ...], ...]:
        """The changes of each crop, one list a crop.

        Raises:
            SpecError: the recipe needs a kind that no plugin offers.
        """
        lists = self._recipe_lists() if self.recipe else self.by_crop or (self.augment,)
        return tuple(lists[i % len(lists)] for i in range(self.crops))

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Every list belongs to a crop, and the kinds that a recipe needs are there."""
        if len(self.by_crop) > self.crops:
            yield Problem(
                "by_crop",
                f"has {len(self.by_crop)} lists but `crops` is {self.crops}; set `crops`",
            )
        try:
            lists = self._recipe_lists() if self.recipe else ()
        except SpecError as error:
            yield Problem("recipe", str(error))
        else:
            if len(lists) > self.crops:
                text = f"{self.recipe!r} has lists for {len(lists)} crops, but `crops` is {self.crops}; set `crops`"
                yield Problem("recipe", text)

    def _recipe_lists(self) -> tuple[tuple[AugmentSpec, ...], ...]:
        assert self.recipe is not None, "only views with a recipe are asked for it"
        return tuple(
            tuple(_augmentation(step, self.recipe) for step in chain) for chain in RECIPES[self.recipe]
        )


def _augmentation(step: Step, recipe: str) -> AugmentSpec:
    """The spec of one step of a recipe, of whatever class a plugin registered for its kind."""
    kind = str(step["kind"])
    cls = catalog.kinds("augment").get(kind)
    if cls is None:
        unknown = f"{recipe!r} needs the augmentation {kind!r}, which no plugin that is loaded offers"
        raise SpecError(catalog.missing("augment", kind, unknown))
    spec = cls(**step)
    assert isinstance(spec, AugmentSpec), "the catalog's families hold specs of theirs"
    return spec


@final
class NetSpec(Spec):
    """A moving average of the student backbone, or a frozen network."""

    backbone: Backbone | None = None
    """A network of its own, with the weights of its `checkpoint`, that never changes. Default: a moving average."""
    momentum: Value = 0.996
    """Share of the old average kept at each step (DINO: 0.996, rising to 1)."""
    update: Literal["after_step", "before_forward"] = "after_step"
    """When the average moves: after the optimizer (DINO, BYOL, iBOT) or before the forward (MoCo v2, v3)."""
    batch_norm: Literal["batch", "average"] = "batch"
    """Batch norm of a moving average: statistics of its own batch (DINO, BYOL, MoCo), or averages of the student's."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """A share lies between 0 and 1."""
        # values and not what was set: the lock of a run sets every field
        default = type(self)()
        moving = [n for n in ("batch_norm", "momentum", "update") if getattr(self, n) != getattr(default, n)]
        if self.backbone is not None and moving:
            yield Problem(
                moving[0], "a network of its own (`backbone`) is frozen: leave this out, or `backbone`"
            )
        if not all(0 <= momentum <= 1 for momentum in ends(self.momentum)):
            yield Problem("momentum", f"must stay between 0 and 1, found {self.momentum}")


_WITHOUT = {
    "adamw": ("momentum",),
    "lars": ("betas", "eps"),
    "sgd": ("betas", "eps"),
    "momentum": ("betas", "eps"),
    "nesterov": ("betas", "eps"),
}
"""Optimizer -> fields that it does not read. Before the first step, runs ask timm about the others."""


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


@final
class Readout(Spec):
    """How a run turns its network into features. Every evaluator of the run uses this one and records it."""

    net: str = "student"
    """The student, or a name under `nets`."""
    view: str | None = None
    """View whose size and normalization images take. Default: the first."""
    layer: int = Field(-1, gt=-1000, lt=1000)
    """Block whose output is read; -1 is the last, after the final norm."""
    pool: Literal["cls", "mean"] = "cls"
    """Class token, or the mean of the patch tokens."""
    head: str | None = None
    """Head of an objective that features go through, as `moco_v2.projector` (MoCo on CIFAR-10). Default: none."""
    crop: float = Field(1.0, gt=0, le=1)
    """Share of the resized image's shorter side that the center crop keeps (ImageNet: 0.875)."""
    batch_size: Count = 256
    """Images a forward; part of the readout because float sums depend on it."""


@final
class CheckpointSpec(Spec):
    """When to save, and what to keep."""

    every: Period = "1 epochs"
    """`5 epochs` or `500 steps`. The end, SIGTERM and SIGINT save too."""
    keep: Count = 2
    """Newest checkpoints kept."""
    best: str | None = None
    """Metric whose best checkpoint is kept too (`eval/knn/accuracy`). Default: the first with a direction."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The metric must be one that an evaluation reports, and it must be known when it is better."""
        text = None if self.best is None else refusal(self.best, run.evaluate)
        if text is not None:
            yield Problem("best", text)


@final
class LogSpec(Spec):
    """What is recorded while training."""

    every: Count = 10
    """Steps between records of the loss."""
    collapse: Literal["warn", "off", "stop"] = "warn"
    """When the records show that features become alike: say so once, nothing, or say so, save and stop."""
    conflict: Period | None = None
    """How often the gradients of the objectives are compared (`100 steps`), at a backward for each. Default: never."""
    flops: bool = True
    """Count the floating-point operations of a step before the first, for the summary; takes about half a second."""
    loggers: tuple[Logger, ...] = ()
    """Further places for metrics: `tensorboard`, `wandb`, or a plugin's."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """Gradients are compared with each other."""
        if len(run.terms) == 1:
            yield Problem(
                "conflict", "compares the gradients of several objectives, and there is one; leave it out"
            )


class CompileOptions(TypedDict):
    """Arguments of `torch.compile`."""

    backend: str
    fullgraph: bool
    dynamic: bool
    mode: str | None


@final
class CompileSpec(Spec):
    """`torch.compile` of the whole forward as one graph."""

    enabled: bool | None = None
    """Default: on where the device is CUDA, off on a CPU."""
    backend: str = "inductor"
    """Compiler backend; `aot_eager` traces without generating code."""
    mode: str | None = None
    """Inductor mode, such as `max-autotune`."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """How to compile, where nothing is compiled."""
        if self.enabled is False or (self.enabled is None and run.device == "cpu"):
            switch = (
                "`compile.enabled` is false"
                if self.enabled is False
                else "runs on a CPU compile nothing by default"
            )
            for field in ("backend", "mode"):
                yield Problem(field, f"has no effect, as {switch}", note=True)

    def options(self) -> CompileOptions:
        """Arguments of `nn.Module.compile`."""
        return {"backend": self.backend, "fullgraph": True, "dynamic": False, "mode": self.mode}
