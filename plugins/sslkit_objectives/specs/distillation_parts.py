"""Temperatures, centering and heads that the specs of self-distillation share. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, final

from pydantic import Field

from sslkit.plugin import Count, Problem, Spec

if TYPE_CHECKING:
    from sslkit.nn.dino_head import PrototypeHead
    from sslkit.plugin import Env, RunSpec

Positive = Annotated[float, Field(gt=0)]


Centering = Literal["center", "sinkhorn", "none"]
"""What keeps the teacher from choosing one prototype for all images."""


@final
class Warmup(Spec):
    """A temperature that rises linearly from `start` to `end`, epoch by epoch."""

    start: Positive
    """Temperature of the first epoch."""
    end: Positive
    """Temperature of the last epoch of the warm-up, and from then on."""
    epochs: Count
    """Epochs of the warm-up, the first and the last included: with 1 only the first one is at `start`."""
    after: int = Field(0, ge=0)
    """Epochs at `start` before the warm-up begins (iBOT's patches: the epochs without masks)."""
    per: Literal["epoch", "step"] = "epoch"
    """What it changes with: each epoch (DINO, iBOT) or each step (DINOv2)."""

    def at(self, step: int, steps_per_epoch: int) -> float:
        """The temperature at `step`: `linspace(start, end, epochs)` by epoch, or by step as many as those have."""
        unit = steps_per_epoch if self.per == "epoch" else 1
        last = self.epochs * (steps_per_epoch // unit) - 1
        place = step // unit - self.after * (steps_per_epoch // unit)
        if place > last:
            return self.end
        return self.start + (self.end - self.start) * max(0, place) / max(1, last)


Temperature = Positive | Warmup
"""A constant, or a `Warmup`."""


def temperature_at(value: Temperature, step: int, steps_per_epoch: int) -> float:
    """`value` at `step`."""
    return value.at(step, steps_per_epoch) if isinstance(value, Warmup) else value


@final
class Perceptron(Spec):
    """The part of a head before its prototypes. Defaults: DINO's."""

    layers: Count = 3
    """Linear layers, with GELU between them (DINO: 3)."""
    hidden: Count = 2048
    """Width between layers (DINO: 2048)."""
    bottleneck: Count = 256
    """Width of the last one's output, which is brought to length 1 (DINO: 256)."""


class WithHead(Protocol):
    """What a head is built of."""

    @property
    def prototypes(self) -> int:
        """Outputs."""

    @property
    def head(self) -> Perceptron:
        """The head before its prototypes."""

    @property
    def norm_last_layer(self) -> bool:
        """Whether prototypes stay at length 1."""


def schedule_of(value: Temperature, env: Env) -> Callable[[int], float]:
    """`value` as a function of the step."""
    return partial(temperature_at, value, steps_per_epoch=env.length.steps_per_epoch)


def prototype_head(
    spec: WithHead,
    env: Env,
    *,
    batch_norm: bool = False,
    patch_prototypes: int | None = None,
) -> PrototypeHead:
    """The student's head: a multilayer perceptron and prototypes, those of patches apart where they are given."""
    from sslkit.nn.dino_head import PrototypeHead

    return PrototypeHead(
        env.net("student").dim,
        spec.prototypes,
        layers=spec.head.layers,
        hidden=spec.head.hidden,
        bottleneck=spec.head.bottleneck,
        norm_last_layer=spec.norm_last_layer,
        batch_norm=batch_norm,
        patch_prototypes=patch_prototypes,
    )


def crop_problems(view: str, local: str | None, run: RunSpec) -> Iterator[Problem]:
    """What methods need that compare crops of `view` with each other and with those of `local`."""
    if run.views[view].crops < 2:
        yield Problem("view", f"needs at least 2 crops; set `views.{view}.crops` to 2")
    if local == view:
        yield Problem("local", f"is {local!r}, as `view` is; name another view, or null")


def without_center(centering: Centering, *fields: str) -> Iterator[Problem]:
    """Those of `fields`, which are of a center, where there is none."""
    if centering != "center":
        for field in fields:
            yield Problem(field, f"is for `centering: center`, found {centering!r}; leave it out")
