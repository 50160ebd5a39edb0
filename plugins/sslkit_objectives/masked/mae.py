"""Masked autoencoders: a preset of the engine."""

from __future__ import annotations

from sslkit.interfaces import Mask
from sslkit.nn.mae_decoder import PatchDecoder
from sslkit.plugin import Env
from sslkit_objectives.masked.masked_prediction import MaskedPredictionObjective, Masking
from sslkit_objectives.specs.masked import MAE


def masked_autoencoder(spec: MAE, env: Env) -> MaskedPredictionObjective:
    """Hidden patches are left out of the encoder and predicted by a transformer; each image weighs the same."""
    grid, width, sizes = env.grid(spec.view), env.nets["student"].dim, spec.decoder

    def decoder(dim: int) -> PatchDecoder:
        return PatchDecoder(width, sizes.width, sizes.depth, sizes.heads, grid, dim)

    return MaskedPredictionObjective(
        Masking(spec.view, spec.masker, spec.target, "drop", decoder, Mask.mean, spec.regularize), env
    )
