"""Tokenizer training: vector quantization, and prediction of a target of every patch from the codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.functional.resize import enlarged
from sslkit.interfaces import Encode, Objective, Output, Part, Pictures, Target, Tokens
from sslkit.nn.codebook import Codebook, Quantized, Rules
from sslkit.nn.pixel_statistics import PixelNormalization
from sslkit.nn.token_colors import code_colors, token_image
from sslkit.plugin import Env, TargetSpec
from sslkit_tokenizers.token_decoder import TokenDecoder

PART = "tokenizer"


class Sizes(NamedTuple):
    """Sizes of a codebook and of the transformer that reads its codes."""

    codes: int
    dim: int
    """Width of a code."""
    sample: int
    """Patches of each image that k-means and revived codes take their vectors from."""
    depth: int
    width: int
    heads: int


def projection(width: int, dim: int) -> nn.Sequential:
    """From tokens to vectors (BEiT v2 `modeling_vqkd.py`: `encode_task_layer`)."""
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, dim))


@final
class TokenizerObjective(Objective):
    """Loss of a decoder's predictions of all patches from their codes, plus the commitment loss."""

    def __init__(self, view: str, target: TargetSpec, sizes: Sizes, rules: Rules, env: Env) -> None:
        super().__init__()
        self.view, self.grid = view, env.grid(view)
        info = env.view(view)
        self.target: Target = target.build(env, view)
        self.passes = (Encode(view), *self.target.passes)
        self.compares = self.target.compares
        self.crops = {view: 1}
        self.schedules = {"step": float}
        self.patches = self.grid.patches
        self.sample = min(sizes.sample, self.patches)
        self.project = projection(env.nets["student"].dim, sizes.dim)
        self.codebook = Codebook(sizes.codes, sizes.dim, rules)
        self.decoder = TokenDecoder(
            sizes.dim, sizes.width, sizes.depth, sizes.heads, self.grid, self.target.dim
        )
        self.normalize = PixelNormalization(info.mean, info.std)
        self._step = 0

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The loss of all patches."""
        seen, *more = tokens
        with torch.no_grad():
            goal = self.target(seen, *more)
        quantized = self.codebook(self.project(seen.patch))
        guess = self.decoder(quantized.values)
        loss = self.target.score(guess.flatten(0, 2), goal.flatten(0, 2)).mean()
        metrics = {
            "told": loss,
            "commitment": quantized.commitment,
            **self.codebook.metrics(quantized.counts),
        }
        return Output(loss + quantized.commitment, metrics, self._carry(quantized, now["step"]))

    def before_update(self, step: int) -> None:
        """Keep the number of the step for `commit`."""
        self._step = step

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Move the codes by what the whole batch chose."""
        sample = carry["sample"].flatten(0, 1)
        self.codebook.commit(carry["counts"].sum(0), carry["sums"].sum(0), sample, self._step)

    def parts(self) -> Mapping[str, Part]:
        """The tokenizer: all that turns patch tokens into code ids."""
        state = {f"project.{name}": value for name, value in self.project.state_dict().items()}
        settings = {"metric": self.codebook.rules.metric}
        return {PART: Part(self.view, {**state, "codes": self.codebook.codes}, settings)}

    def pictures(self, *tokens: Tokens) -> Mapping[str, Pictures]:
        """Input, target, prediction from the codes, and the tokens, alike in color where codes are."""
        seen, *more = tokens
        quantized = self.codebook(self.project(seen.patch))
        reconstruction = self.target.to_image(self.decoder(quantized.values), seen, *more)
        goal = self.target.goal_image(self.target(seen, *more), seen)
        colors = code_colors(self.codebook.codes, seen.image.shape[2])
        tokens_image = self.normalize(token_image(quantized.ids, colors, self.grid))
        columns = {
            "input": seen.image,
            "target": goal,
            "told by codes": reconstruction,
            "tokens": tokens_image,
        }
        shown = {name: image for name, image in columns.items() if image is not None}
        largest = max(image.shape[-1] for image in shown.values())
        images = [enlarged(x[0].to(seen.image.dtype), largest // x.shape[-1]) for x in shown.values()]
        return {"tokens": Pictures(tuple(shown), torch.stack(images, dim=1))}

    def _carry(self, quantized: Quantized, step: Tensor) -> dict[str, Tensor]:
        """One row of counts and sums, and `sample` patches of each image, others in each step."""
        stride = torch.arange(self.sample, device=step.device) * (self.patches // self.sample)
        places = (stride + step.long()) % self.patches
        sample = quantized.vectors[:, :, places].transpose(0, 1).flatten(1, 2)
        return {"counts": quantized.counts[None], "sums": quantized.sums[None], "sample": sample}
