"""SimMIM: a preset of the engine."""

from __future__ import annotations

from functools import partial

from sslkit.nn.token_head import TokenHead
from sslkit.plugin import Env
from sslkit_objectives.masked.masked_prediction import MaskedPredictionObjective, Masking, mean_of_hidden
from sslkit_objectives.specs.masked import SimMIM


def simple_masked_modeling(spec: SimMIM, env: Env) -> MaskedPredictionObjective:
    """Mask tokens stand for hidden patches in the encoder; one linear layer predicts; each patch weighs the same."""
    head = partial(TokenHead, env.nets["student"].dim)
    return MaskedPredictionObjective(
        Masking(spec.view, spec.masker, spec.target, "token", head, mean_of_hidden, spec.regularize), env
    )
