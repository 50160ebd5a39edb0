"""Masked autoencoders: a preset of the engine."""

from __future__ import annotations

from sslkit.core.env import Env
from sslkit.core.passes import Mask
from sslkit.nn.decoder import PatchDecoder
from sslkit_objectives.masked import MaskedPrediction, Masking
from sslkit_objectives.plugin import MAE


def masked_autoencoder(spec: MAE, env: Env) -> MaskedPrediction:
    """Hidden patches are left out of the encoder and predicted by a transformer; each image weighs the same."""
    grid, width, sizes = env.grid(spec.view), env.nets["student"].dim, spec.decoder

    def decoder(dim: int) -> PatchDecoder:
        return PatchDecoder(width, sizes.width, sizes.depth, sizes.heads, grid, dim)

    return MaskedPrediction(
        Masking(spec.view, spec.masker, spec.target, "drop", decoder, Mask.mean, spec.regularize), env
    )
