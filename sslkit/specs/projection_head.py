"""Spec of projection heads, for any joint-embedding method. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, final

from sslkit.core.problem import Problem
from sslkit.specs.base import Count, Spec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec

BatchNormMode = Literal["sync", "local", "split", "shuffled"]
"""Which images share the statistics of batch norm; see `sslkit.nn.batch_norm`."""


def group_problems(mode: BatchNormMode, splits: int) -> Iterator[Problem]:
    """What is wrong with `splits` groups of batch norm in `mode`."""
    if (splits > 1) != (mode in ("split", "shuffled")):
        yield Problem(
            "splits",
            f"is {splits} where `batch_norm` is {mode!r}; give more than 1 with `split` and `shuffled`, and leave it "
            "out otherwise",
        )


@final
class Projection(Spec):
    """Linear layers with batch norm and ReLU between them. The defaults of a method are its reference's."""

    layers: Count = 3
    """Linear layers; 1 is a linear head, which has no hidden part."""
    hidden: Count | None = None
    """Width between layers. Default: that of the features (SimCLR)."""
    out: Count = 128
    """Width of the embedding."""
    norm: bool = True
    """Batch norm after every layer but the last (all but MoCo v2, whose head has none)."""
    bias: bool = False
    """Biases of every layer but the last; without effect on the result where batch norm follows."""
    out_bias: bool = False
    """Bias of the last layer."""
    out_norm: Literal["none", "plain", "scale", "affine"] = "none"
    """Batch norm after the last layer: none; plain (MoCo v3, SimSiam); with scale (SimCLR); with scale and shift."""
    batch_norm: BatchNormMode = "sync"
    """Images that share statistics: all; those of a rank; or those of one of `splits` groups, `shuffled` for keys."""
    splits: Count = 1
    """Groups of `split` and `shuffled`."""
    init: Literal["torch", "normal"] = "torch"
    """Weights as torch draws them, or from N(0, 0.01) with biases of 0 (SimCLR)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """What is said of layers or of a batch norm that there is not."""
        if self.layers == 1:
            for field in ("hidden", "norm", "bias"):
                yield Problem(field, "is for hidden layers, and `layers` is 1; leave it out")
        if self.out_norm == "none" and (self.layers == 1 or not self.norm):
            yield Problem("batch_norm", "has no effect, as this head has no batch norm; leave it out")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Groups are of the modes that make them, and `shuffled` needs something to tell copies by."""
        yield from group_problems(self.batch_norm, self.splits)
        if self.batch_norm == "shuffled" and self.out_norm == "plain":
            yield Problem(
                "batch_norm", "`shuffled` needs a norm with scale or shift; set `out_norm` or use `split`"
            )
