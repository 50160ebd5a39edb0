"""Masked image modeling from text. V crops, B images, N patches, L tokens of a text, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Encode, Objective, Output, Target, Tokens
from sslkit.nn.token_head import TokenHead
from sslkit.plugin import Env, MaskerSpec, SpecError, TargetSpec
from sslkit_text.fusion_network import FusionNetwork


@final
class TextMIMObjective(Objective):
    """Patches, hidden ones as mask tokens, attend to words; the hidden ones' target is scored."""

    def __init__(
        self,
        view: str,
        text: tuple[str, str],
        masker: MaskerSpec,
        target: TargetSpec,
        depth: int,
        heads: int,
        env: Env,
    ) -> None:
        """`text`: view of texts and the network that reads them.

        Raises:
            SpecError: that view has no tokens.
        """
        super().__init__()
        text_view, text_net = text
        facts = env.view(text_view).facts
        if "pad" not in facts:
            raise SpecError(f"text_mim: view {text_view!r} has no words; give it `transform: {{kind: bpe}}`")
        self.pad = facts["pad"]
        self.target: Target = target.build(env, view)
        self.passes = (
            Encode(view, mask=masker, mode="token"),
            Encode(text_view, net=text_net),
            *self.target.passes,
        )
        self.compares = self.target.compares
        width = env.net("student").dim
        self.network = FusionNetwork(width, env.net(text_net).dim, depth, heads)
        self.head = TokenHead(width, self.target.dim)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Mean over images of the mean over their hidden patches."""
        seen, text, *more = tokens
        assert seen.mask is not None, "the system samples a mask for every pass that names a masker"
        with torch.no_grad():
            goal = self.target(seen, *more)
        picked = self.head(seen._replace(patch=self._guided(seen, text)), seen.mask), seen.mask.pick(goal)
        scores = self.target.score(*picked)
        with torch.no_grad():
            metrics = self.target.metrics(*picked, seen.mask.per_image > 0)
        return Output(seen.mask.mean(scores), metrics, scores=scores.detach())

    def _guided(self, seen: Tokens, text: Tokens) -> Tensor:
        """Patches `[V, B, N, D]` that have attended to the words of their image."""
        crops = len(seen.patch)
        words = text.patch[0].repeat(crops, 1, 1)
        visible = (text.image[0] != self.pad).repeat(crops, 1)
        patches = self.network(seen.patch.flatten(0, 1), None, words, visible)
        guided: Tensor = patches.unflatten(0, seen.patch.shape[:2])
        return guided
