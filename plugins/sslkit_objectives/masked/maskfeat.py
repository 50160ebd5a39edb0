"""MaskFeat: a preset of the engine."""

from __future__ import annotations

from functools import partial

from sslkit.nn.token_head import TokenHead
from sslkit.plugin import Env
from sslkit_objectives.masked.masked_prediction import MaskedPredictionObjective, Masking, mean_of_hidden
from sslkit_objectives.specs.masked import MaskFeat

STD = 0.02  # SlowFast `head_helper.py`, `MSSeparateHead`


def masked_feature_prediction(spec: MaskFeat, env: Env) -> MaskedPredictionObjective:
    """As SimMIM, with a head that starts small. The layer norm before it is the encoder's last one."""
    head = partial(TokenHead, env.nets["student"].dim, std=STD)
    return MaskedPredictionObjective(
        Masking(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, spec.regularize), env
    )
