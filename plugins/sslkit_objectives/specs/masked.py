"""Specs of masked image modeling. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import MaskerField, ObjectiveSpec, Problem, Spec, TargetField, ViewName, slot_default
from sslkit_objectives.specs.head_widths import transformer_problems, without_blocks
from sslkit_objectives.specs.regularizer_terms import Regularizer

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class Decoder(Spec):
    """The transformer that predicts hidden patches. Defaults: MAE's."""

    depth: int = Field(8, ge=0)
    """Blocks (MAE: 8)."""
    width: int = Field(512, ge=4, multiple_of=4)
    """Width of its tokens (MAE: 512)."""
    heads: int = Field(16, ge=1)
    """Attention heads (MAE: 16); they divide the width."""
    class_token: bool = True
    """Whether the class token takes part (MAE: yes; VideoMAE has none)."""
    bias: bool = True
    """Of the layer between the widths of encoder and decoder (MAE: yes; VideoMAE: no)."""
    positions: Literal["axes", "flat"] = "axes"
    """Sin-cos positions along each axis (MAE), or one along all patches, sines and cosines in turns (VideoMAE)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from transformer_problems(self.width, self.heads)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from without_blocks(self.depth)


@final
class MAE(ObjectiveSpec):
    """Masked autoencoder (He et al. 2021): encode the visible patches, predict the hidden ones."""

    kind: Literal["mae"] = "mae"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("random")
    """Which patches to hide; the visible count must be fixed (MAE: random, 0.75)."""
    target: TargetField = slot_default("normalized_pixel")
    """What to predict (MAE's recipe: pixels normalized by patch; its code's default is plain pixels)."""
    decoder: Decoder = Decoder()
    """The transformer that predicts hidden patches."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        return cls(decoder=Decoder(depth=1, width=16, heads=2))

    def build(self, env: Env) -> Objective:
        """Hidden patches are left out of the encoder and predicted by a transformer; each image weighs the same."""
        from sslkit.interfaces import Mask
        from sslkit.nn.mae_decoder import PatchDecoder
        from sslkit.nn.sincos import flat_positions
        from sslkit_objectives.masked.masked_prediction import MaskedPrediction, MaskedPredictionObjective

        grid, width, sizes = env.grid(self.view), env.nets["student"].dim, self.decoder

        def decoder(dim: int) -> PatchDecoder:
            table = flat_positions(sizes.width, grid.patches) if sizes.positions == "flat" else None
            return PatchDecoder(
                width,
                sizes.width,
                sizes.depth,
                sizes.heads,
                grid,
                dim,
                class_token=sizes.class_token,
                bias=sizes.bias,
                positions=table,
            )

        term = None if self.regularize is None else self.regularize.build()
        settings = MaskedPrediction(self.view, self.masker, self.target, "drop", decoder, Mask.mean, term)
        return MaskedPredictionObjective(settings, env)


@final
class SimMIM(ObjectiveSpec):
    """SimMIM (Xie et al. 2021): mask tokens in the encoder, one linear layer after it."""

    kind: Literal["simmim"] = "simmim"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("unit", ratio=0.6)
    """Which patches to hide; the count may vary (SimMIM: units of 32 pixels, 0.6)."""
    target: TargetField = slot_default("pixel", loss="l1")
    """What to predict (SimMIM: plain pixels, l1)."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        return cls(masker={"kind": "random", "ratio": 0.5})

    def build(self, env: Env) -> Objective:
        """Mask tokens stand for hidden patches in the encoder; a linear layer predicts; each patch weighs the same."""
        return _linear(self, env)


@final
class MaskFeat(ObjectiveSpec):
    """MaskFeat (Wei et al. 2021): SimMIM's engine with histograms of gradients as target and blocks as masks."""

    kind: Literal["maskfeat"] = "maskfeat"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("block", ratio=0.4, min_block=15)
    """Which patches to hide (MaskFeat: blocks, 0.4 of 196 patches; the smallest a fifth of that)."""
    target: TargetField = slot_default("hog")
    """What to predict (MaskFeat: histograms of oriented gradients, l2)."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        return cls(masker={"kind": "random", "ratio": 0.5})

    def build(self, env: Env) -> Objective:
        """As SimMIM, with a head that starts small. The layer norm before it is the encoder's last one."""
        return _linear(self, env, std=0.02)  # SlowFast `head_helper.py`, `MSSeparateHead`


@final
class Data2Vec(ObjectiveSpec):
    """data2vec (Baevski et al. 2022): SimMIM's engine with the features of a moving average of the student as target.

    The run needs the net that the target reads, as in
    `nets: {teacher: {momentum: {start: 0.999, end: 0.9998, shape: linear}}}`.
    """

    kind: Literal["data2vec"] = "data2vec"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("block", ratio=0.6123, min_block=16)
    """Which patches to hide (data2vec: BEiT's blocks, 120 of 196 patches at most, the smallest 16)."""
    target: TargetField = slot_default("teacher_feature")
    """What to predict (data2vec: the mean of the top half of the teacher's blocks, smooth l1 with beta 2)."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        return cls(masker={"kind": "random", "ratio": 0.5})

    def build(self, env: Env) -> Objective:
        """As SimMIM, with a head that starts small. The layer norm before it is the encoder's last one."""
        return _linear(self, env, std=0.02)  # data2vec_vision `modeling_cyclical.py`, `_init_weights`


@final
class BEiT(ObjectiveSpec):
    """BEiT (Bao et al. 2021; v2: Peng et al. 2022): SimMIM's engine with the codes of a frozen tokenizer as target."""

    kind: Literal["beit"] = "beit"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("block")
    """Which patches to hide (BEiT: blocks, 75 of 196 patches at most, the smallest 16)."""
    target: TargetField
    """What to predict (BEiT: `vq_token` with DALL-E's codes; v2: with those of a tokenizer trained by `vq_kd`)."""
    regularize: Regularizer | None = None
    """A term that keeps the features of different images apart, added to the loss."""

    @classmethod
    def example(cls) -> Self:
        """Half of the patches hidden at random; pixels, which need no tokenizer."""
        return cls(masker={"kind": "random", "ratio": 0.5}, target={"kind": "pixel"})

    def build(self, env: Env) -> Objective:
        """As SimMIM, with a head that starts small and gives a logit for each code."""
        return _linear(self, env, std=0.02)  # unilm `beit/modeling_pretrain.py:70-76`, `lm_head`


def _linear(spec: SimMIM | MaskFeat | Data2Vec | BEiT, env: Env, std: float | None = None) -> Objective:
    """Mask tokens in the encoder and one linear layer after it; every hidden patch of the batch weighs the same."""
    from sslkit.nn.token_head import TokenHead
    from sslkit_objectives.masked.masked_prediction import (
        MaskedPrediction,
        MaskedPredictionObjective,
        mean_of_hidden,
    )

    head = partial(TokenHead, env.net("student").dim, std=std)
    term = None if spec.regularize is None else spec.regularize.build()
    settings = MaskedPrediction(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, term)
    return MaskedPredictionObjective(settings, env)
