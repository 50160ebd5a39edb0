"""MaskFeat: a preset of the engine."""

from __future__ import annotations

from functools import partial

from sslkit.core.env import Env
from sslkit.nn.head import TokenHead
from sslkit_objectives.masked import MaskedPrediction, Masking, mean_of_hidden
from sslkit_objectives.plugin import MaskFeat

STD = 0.02  # SlowFast `head_helper.py`, `MSSeparateHead`


def masked_feature_prediction(spec: MaskFeat, env: Env) -> MaskedPrediction:
    """As SimMIM, with a head that starts small. The layer norm before it is the encoder's last one."""
    head = partial(TokenHead, env.nets["student"].dim, std=STD)
    return MaskedPrediction(
        Masking(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, spec.regularize), env
    )
