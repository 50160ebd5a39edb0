"""BEiT: a preset of the engine."""

from __future__ import annotations

from functools import partial

from sslkit.nn.token_head import TokenHead
from sslkit.plugin import Env
from sslkit_objectives.masked.masked_prediction import MaskedPredictionObjective, Masking, mean_of_hidden
from sslkit_objectives.specs.masked import BEiT

STD = 0.02  # unilm `beit/modeling_pretrain.py:70-76`, `lm_head`


def masked_token_prediction(spec: BEiT, env: Env) -> MaskedPredictionObjective:
    """As MaskFeat: each hidden patch of the batch weighs the same, and one linear layer gives a logit for each code."""
    head = partial(TokenHead, env.nets["student"].dim, std=STD)
    return MaskedPredictionObjective(
        Masking(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, spec.regularize), env
    )
