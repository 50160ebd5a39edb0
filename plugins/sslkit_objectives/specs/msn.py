"""Spec of MSN. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import AverageName, Count, MaskerField, ObjectiveSpec, Problem, ViewName, slot_default
from sslkit_objectives.specs.distillation_parts import Perceptron

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class MSN(ObjectiveSpec):
    """MSN (Assran et al. 2022): masked crops predict the prototypes that a moving average gives another crop.

    The run needs the net that it names, as in `nets: {teacher: {momentum: {start: 0.996, end: 1, shape: linear}}}`.
    """

    scores_patches: ClassVar[bool] = False

    kind: Literal["msn"] = "msn"
    view: ViewName = "global"
    """View of masked anchors (MSN: 1 crop of 224 pixels). Its last crop is the target, unless `target_view` is set."""
    target_view: ViewName | None = None
    """View of the target, of 1 crop; then all crops of `view` are anchors, and no pass is wasted."""
    local: ViewName | None = "local"
    """View of anchors that are not masked (MSN: 10 crops of 96 pixels); null for none."""
    masker: MaskerField | None = slot_default("random", ratio=0.15)
    """What hides patches of anchors, which are left out (MSN: random, 0.15 with ViT-S, 0.7 with ViT-L); null: none."""
    teacher: AverageName = "teacher"
    """The moving average under `nets` that encodes targets."""
    prototypes: Count = 1024
    """Prototypes (MSN: 1024)."""
    head: Perceptron = Perceptron()
    """The head before them, with batch norm (MSN: 3 layers of 2048, 256 out)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines with prototypes are divided by (MSN: 0.1)."""
    sharpen: float = Field(0.25, gt=0, le=1)
    """T: targets are probabilities to the power of 1 / T, of sum 1 (MSN: 0.25)."""
    iterations: int = Field(3, ge=0)
    """Rounds of Sinkhorn-Knopp on sharpened targets (MSN's recipes: 3); 0 for none."""
    me_max: float = Field(1.0, ge=0)
    """Weight of ln K less the entropy of the mean prediction (MSN: 1)."""
    entropy: float = Field(0.0, ge=0)
    """Weight of the mean entropy of predictions (MSN's recipes: 0)."""

    @classmethod
    def example(cls) -> Self:
        perceptron = Perceptron(layers=2, hidden=16, bottleneck=8)
        return cls(prototypes=12, head=perceptron, masker={"kind": "random", "ratio": 0.5})

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.target_view == self.view:
            yield Problem("target_view", "is `view` itself; leave it out")
        elif self.target_view is None and run.views[self.view].crops < 2:
            yield Problem(
                "view",
                f"needs at least 2 crops, of which the last is the target; set `views.{self.view}.crops` to 2, or give "
                "`target_view`",
            )
        elif self.target_view is not None and run.views[self.target_view].crops != 1:
            yield Problem("target_view", f"needs 1 crop; set `views.{self.target_view}.crops` to 1")
        if self.local is not None and self.local in (self.view, self.target_view):
            yield Problem("local", f"is {self.local!r}, which is read already; name another view, or null")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.msn import Anchors, Assignment, MSNObjective
        from sslkit_objectives.sides import Sides

        sides = Sides(self.view, self.target_view, self.masker, "drop", self.teacher)
        weights = {"prediction": 1.0, "me_max": self.me_max, "entropy": self.entropy}
        assignment = Assignment(self.prototypes, self.temperature, self.sharpen, self.iterations)
        return MSNObjective(Anchors(sides, self.local), self.head, assignment, weights, env)
