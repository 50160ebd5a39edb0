"""BEiT: a preset of the engine."""

from __future__ import annotations

from functools import partial

from sslkit.core.env import Env
from sslkit.nn.head import TokenHead
from sslkit_objectives.masked import MaskedPrediction, Masking, mean_of_hidden
from sslkit_objectives.plugin import BEiT

STD = 0.02  # unilm `beit/modeling_pretrain.py:70-76`, `lm_head`


def masked_token_prediction(spec: BEiT, env: Env) -> MaskedPrediction:
    """As MaskFeat: each hidden patch of the batch weighs the same, and one linear layer gives a logit for each code."""
    head = partial(TokenHead, env.nets["student"].dim, std=STD)
    return MaskedPrediction(
        Masking(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, spec.regularize), env
    )
