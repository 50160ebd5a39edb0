"""Spec of I-JEPA. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import MaskerField, ObjectiveSpec, Problem, Spec, TargetField, ViewName, slot_default
from sslkit_objectives.specs.head_widths import transformer_problems, without_blocks
from sslkit_objectives.specs.regularizer_terms import Regularizer

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class Predictor(Spec):
    """The transformer that predicts target blocks. Defaults: I-JEPA's code."""

    depth: int = Field(6, ge=0)
    """Blocks (I-JEPA's code: 6; its recipes for ViT-H and ViT-G: 12 and 16)."""
    width: int = Field(384, ge=4, multiple_of=4)
    """Width of its tokens (I-JEPA: 384)."""
    heads: int = Field(12, ge=1)
    """Attention heads (I-JEPA: as many as the encoder has, ViT-B 12); they divide the width."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from transformer_problems(self.width, self.heads)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from without_blocks(self.depth)


@final
class IJEPA(ObjectiveSpec):
    """I-JEPA (Assran et al. 2023): from a context block, predict what a moving average has for other blocks.

    The run needs the net that the target reads, as in
    `nets: {teacher: {momentum: {start: 0.996, end: 1.0, shape: linear}}}`.
    """

    kind: Literal["ijepa"] = "ijepa"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("multi_block")
    """What the encoder sees and which blocks are predicted, each apart (I-JEPA: multi_block). Others hide one block;
    the visible count must be fixed."""
    target: TargetField = slot_default("teacher_feature", layers="final", normalize=False, beta=1.0)
    """What to predict (I-JEPA: the teacher's last tokens, layer-normed, smooth l1)."""
    predictor: Predictor = Predictor()
    """The transformer that predicts target blocks."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        return cls(masker={"kind": "random", "ratio": 0.5}, predictor=Predictor(depth=1, width=16, heads=2))

    def build(self, env: Env) -> Objective:
        """The encoder sees the context only; every patch of a target block weighs the same."""
        from sslkit.interfaces import Mask
        from sslkit.nn.block_predictor import BlockPredictor
        from sslkit_objectives.masked.masked_prediction import MaskedPrediction, MaskedPredictionObjective

        grid, width, sizes = env.grid(self.view), env.nets["student"].dim, self.predictor

        def predictor(dim: int) -> BlockPredictor:
            return BlockPredictor(width, sizes.width, sizes.depth, sizes.heads, grid, dim)

        term = None if self.regularize is None else self.regularize.build()
        settings = MaskedPrediction(
            self.view, self.masker, self.target, "drop", predictor, Mask.mean, term, by_block=True
        )
        return MaskedPredictionObjective(settings, env)
