"""Masked autoencoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from sslkit.core.env import Env
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Pictures, Tokens
from sslkit.nn.decoder import PatchDecoder
from sslkit_objectives.plugin import MAE


@final
class MaskedAutoencoder(Objective):
    """Scores predictions of the hidden patches only, averaged over each image's patches, then over images."""

    def __init__(self, spec: MAE, env: Env) -> None:
        super().__init__()
        grid = env.grid(spec.view)
        self.target = spec.target.build(env, spec.view)
        self.passes = (Encode(spec.view, mask=spec.masker, mode="drop"), *self.target.passes)
        self.crops = {spec.view: 1}
        self.patch = grid.patch
        decoder = spec.decoder
        self.decoder = PatchDecoder(
            env.nets["student"].dim, decoder.width, decoder.depth, decoder.heads, grid, self.target.dim
        )

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The reconstruction loss."""
        seen, *more = tokens
        assert seen.mask is not None, "the system samples a mask for every pass in drop mode"
        with torch.no_grad():
            goal = self.target(seen, *more)
        guess = self.decoder(seen)
        scores = self.target.score(seen.mask.pick(guess), seen.mask.pick(goal))
        return Output(seen.mask.mean(scores))

    def pictures(self, *tokens: Tokens) -> Mapping[str, Pictures]:
        """Input, what the encoder saw, and the reconstruction of what it did not see."""
        seen, *_ = tokens
        assert seen.mask is not None, "the system samples a mask for every pass in drop mode"
        predicted = self.target.to_image(self.decoder(seen), seen)
        if predicted is None:
            return {}
        hidden = self._pixels(seen.mask.hidden, seen.image)
        masked = torch.where(hidden, torch.zeros_like(seen.image), seen.image)
        filled = torch.where(hidden, predicted.to(seen.image.dtype), seen.image)
        images = torch.stack([seen.image[0], masked[0], filled[0]], dim=1)
        return {"reconstruction": Pictures(("input", "masked", "reconstruction"), images)}

    def _pixels(self, hidden_VBN: Tensor, images: Tensor) -> Tensor:
        """Hidden patches as a mask of pixels, `[V, B, 1, H, W]`."""
        rows = images.shape[-2] // self.patch
        grid: Tensor = hidden_VBN.unflatten(-1, (rows, -1))[:, :, None]
        return grid.repeat_interleave(self.patch, dim=-2).repeat_interleave(self.patch, dim=-1)
