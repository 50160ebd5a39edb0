"""LoRA on the student: what of it is trained. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from sslkit.core.problem import Problem
from sslkit.specs.base import Count, Spec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec

LayerName = Literal["qkv", "proj", "mlp"]


@final
class LoraSpec(Spec):
    """Low-rank changes of a frozen student (Hu et al., 2021): they and the heads are all that is trained."""

    rank: Count = 8
    """Rank of the change of a weight (Hu et al., RoBERTa: 8)."""
    alpha: float = Field(8.0, gt=0)
    """A change is multiplied by alpha / rank (Hu et al., RoBERTa: 8)."""
    targets: tuple[LayerName, ...] = Field(("qkv", "proj", "mlp"), min_length=1)
    """Layers of every block that change: the attention's `qkv` or `proj`, `mlp` (QLoRA: all of them)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """What is frozen has no rate of its own."""
        if run.optimizer.patch_embed_rate != 1:
            yield Problem("", "freezes the patch embedding, so leave `optimizer.patch_embed_rate` out")
