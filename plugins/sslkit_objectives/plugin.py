"""Specs of the built-in objectives. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Problem, Spec, slot_default
from sslkit.spec.families import Masker, ObjectiveSpec, Target
from sslkit_objectives.regularizer import Regularizer

if TYPE_CHECKING:
    from sslkit.core.env import Env
    from sslkit.core.objective import Objective
    from sslkit.spec.run import RunSpec


@final
class Decoder(Spec):
    """The transformer that predicts hidden patches. Defaults: MAE's."""

    depth: int = Field(8, ge=0)
    """Blocks (MAE: 8)."""
    width: int = Field(512, ge=4, multiple_of=4)
    """Width of its tokens (MAE: 512)."""
    heads: int = Field(16, ge=1)
    """Attention heads (MAE: 16); they divide the width."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The heads must divide the width."""
        if self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")


@final
class MAE(ObjectiveSpec):
    """Masked autoencoder (He et al. 2021): encode the visible patches, predict the hidden ones."""

    kind: Literal["mae"] = "mae"
    view: str = "global"
    """View whose crops are masked."""
    masker: Masker = slot_default("random")
    """Which patches to hide; the visible count must be fixed (MAE: random, 0.75)."""
    target: Target = slot_default("normalized_pixel")
    """What to predict (MAE's recipe: pixels normalized by patch; its code's default is plain pixels)."""
    decoder: Decoder = Decoder()
    """The transformer that predicts hidden patches."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        """A decoder of one narrow block."""
        return cls(decoder=Decoder(depth=1, width=16, heads=2))

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The view must exist."""
        yield from _view_problems(self.view, run)

    def build(self, env: Env) -> Objective:
        """The loss module."""
        from sslkit_objectives.mae import masked_autoencoder

        return masked_autoencoder(self, env)


@final
class SimMIM(ObjectiveSpec):
    """SimMIM (Xie et al. 2021): mask tokens in the encoder, one linear layer after it."""

    kind: Literal["simmim"] = "simmim"
    view: str = "global"
    """View whose crops are masked."""
    masker: Masker = slot_default("unit", ratio=0.6)
    """Which patches to hide; the count may vary (SimMIM: units of 32 pixels, 0.6)."""
    target: Target = slot_default("pixel", loss="l1")
    """What to predict (SimMIM: plain pixels, l1)."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        """Half of the patches hidden at random."""
        return cls(masker={"kind": "random", "ratio": 0.5})

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The view must exist."""
        yield from _view_problems(self.view, run)

    def build(self, env: Env) -> Objective:
        """The loss module."""
        from sslkit_objectives.simmim import simple_masked_modelling

        return simple_masked_modelling(self, env)


@final
class MaskFeat(ObjectiveSpec):
    """MaskFeat (Wei et al. 2021): SimMIM's engine with histograms of gradients as target and blocks as masks."""

    kind: Literal["maskfeat"] = "maskfeat"
    view: str = "global"
    """View whose crops are masked."""
    masker: Masker = slot_default("block", ratio=0.4, min_block=15)
    """Which patches to hide (MaskFeat: blocks, 0.4 of 196 patches; the smallest a fifth of that)."""
    target: Target = slot_default("hog")
    """What to predict (MaskFeat: histograms of oriented gradients, l2)."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        """Half of the patches hidden at random."""
        return cls(masker={"kind": "random", "ratio": 0.5})

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The view must exist."""
        yield from _view_problems(self.view, run)

    def build(self, env: Env) -> Objective:
        """The loss module."""
        from sslkit_objectives.maskfeat import masked_feature_prediction

        return masked_feature_prediction(self, env)


def _view_problems(view: str, run: RunSpec) -> Iterator[Problem]:
    if view not in run.views:
        yield Problem("view", f"{view!r} is not a view of this run. Known: {', '.join(run.views)}")


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The objectives of this package."""
    return [MAE, SimMIM, MaskFeat]
