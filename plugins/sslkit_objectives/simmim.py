"""SimMIM: a preset of the engine."""

from __future__ import annotations

from functools import partial

from sslkit.core.env import Env
from sslkit.nn.head import TokenHead
from sslkit_objectives.masked import MaskedPrediction, Masking, mean_of_hidden
from sslkit_objectives.plugin import SimMIM


def simple_masked_modelling(spec: SimMIM, env: Env) -> MaskedPrediction:
    """Mask tokens stand for hidden patches in the encoder; one linear layer predicts; each patch weighs the same."""
    head = partial(TokenHead, env.nets["student"].dim)
    return MaskedPrediction(
        Masking(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, spec.regularize), env
    )
