"""Spec of an anchor against forgetting. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import CopyName, ObjectiveSpec, Problem, ViewName

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class Anchor(ObjectiveSpec):
    """Features stay near those of the weights that training began with, so that they are not forgotten."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["anchor"] = "anchor"
    view: ViewName = "global"
    """View whose crops both nets see, whole."""
    net: CopyName = "start"
    """What to stay near: a copy of the first weights, or any net of the student's width and patches."""
    loss: Literal["cosine", "l2"] = "cosine"
    """1 minus the cosine, or the mean squared difference over the width."""
    class_weight: float = Field(1.0, ge=0)
    """Weight of class tokens (the mean of patches where there is none)."""
    patch_weight: float = Field(1.0, ge=0)
    """Weight of patches."""

    @classmethod
    def example(cls) -> Self:
        return cls(net="teacher")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Something must be held."""
        if not (self.class_weight or self.patch_weight):
            yield Problem("class_weight", "and `patch_weight` are 0, so that nothing is held; raise one")

    def build(self, env: Env) -> Objective:
        """The loss. Raises SpecError where the net's width or patches are not the student's."""
        from sslkit_objectives.anchors.anchor import AnchorObjective, Distance

        distance = Distance(self.loss, self.class_weight, self.patch_weight)
        return AnchorObjective(self.view, self.net, distance, env)
