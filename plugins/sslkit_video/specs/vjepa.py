"""Spec of V-JEPA. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import MaskerField, ObjectiveSpec, Problem, Spec, TargetField, ViewName, slot_default

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

LEAST = 12
"""Width of a head, below which the reference's rotations have no two numbers an axis."""
BLOCKS = {"aspect": (0.75, 1.5), "context": (1.0, 1.0), "edges": True, "joined": True}


@final
class ClipPredictor(Spec):
    """The transformer that predicts hidden patches. Defaults: V-JEPA's."""

    depth: int = Field(12, ge=0)
    """Blocks (V-JEPA: 12)."""
    width: int = Field(384, ge=4, multiple_of=2)
    """Width of its tokens (V-JEPA: 384)."""
    heads: int = Field(12, ge=1)
    """Attention heads (V-JEPA 2: 12); they divide the width."""
    positions: Literal["sincos", "rope"] = "sincos"
    """Fixed sines along each axis (V-JEPA), or rotations of queries and keys in every block (V-JEPA 2)."""
    mlp_ratio: float = Field(4.0, gt=0)
    """Width of the perceptrons, in widths of the tokens, with `rope` (V-JEPA 2: 4)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Heads divide the width, and are wide enough to be rotated along three axes."""
        if self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")
        elif self.positions == "rope" and self.width // self.heads < LEAST:
            yield Problem(
                "heads", f"have {self.width // self.heads} numbers each; `rope` needs {LEAST} or more"
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.positions == "sincos":
            yield Problem("mlp_ratio", "is for `positions: rope`; leave it out")


@final
class VJEPA(ObjectiveSpec):
    """V-JEPA (Bardes et al. 2024): from some patches of a clip, predict what a moving average has for hidden blocks.

    Two masks of each clip, of small and of large blocks that reach over all moments; the student sees the clip once for
    each. The run needs the net that the target reads: `nets: {teacher: {momentum: 0.99925}}`.
    """

    scores_patches: ClassVar[bool] = False

    kind: Literal["vjepa"] = "vjepa"
    view: ViewName = "global"
    """View whose clips are masked."""
    masker: MaskerField = slot_default("multi_block", ratio=0.75, targets=8, scale=(0.15, 0.15), **BLOCKS)
    """The first mask (V-JEPA: 8 blocks of 0.15, all predicted as one); the visible count must be fixed."""
    second: MaskerField | None = slot_default("multi_block", ratio=0.9, targets=2, scale=(0.7, 0.7), **BLOCKS)
    """The second one (V-JEPA: 2 blocks of 0.7); null for one only."""
    target: TargetField = slot_default("teacher_feature", layers="final", normalize=False, loss="l1")
    """What to predict (V-JEPA: the teacher's last tokens, layer-normed, l1)."""
    predictor: ClipPredictor = ClipPredictor()
    """The transformer that predicts hidden patches, one for both masks."""

    @classmethod
    def example(cls) -> Self:
        return cls(
            masker={"kind": "random", "ratio": 0.5},
            second=None,
            predictor=ClipPredictor(depth=1, width=24, heads=2),
        )

    def build(self, env: Env) -> Objective:
        """The encoder sees each mask's visible patches; every mask weighs the same."""
        from sslkit_video.vjepa import PredictorSizes, VJEPAObjective

        of = self.predictor
        sizes = PredictorSizes(of.width, of.depth, of.heads, of.positions, of.mlp_ratio)
        masks = (self.masker,) if self.second is None else (self.masker, self.second)
        return VJEPAObjective(self.view, masks, self.target, sizes, env)
