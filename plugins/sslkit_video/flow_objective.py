"""Motion from tokens. V crops, B clips, N patches, T frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Encode, Objective, Output, Pictures, Target, Tokens
from sslkit.nn.token_head import TokenHead
from sslkit.plugin import Env, TargetSpec
from sslkit_video.flow_target import OpticalFlowTarget


@final
class FlowObjective(Objective):
    """A linear layer on every patch of whole clips, against a target of patches."""

    def __init__(self, view: str, target: TargetSpec, env: Env) -> None:
        super().__init__()
        self.target: Target = target.build(env, view)
        self.passes = (Encode(view), *self.target.passes)
        self.crops = {view: 1}
        self.compares = self.target.compares
        self.head = TokenHead(env.net("student").dim, self.target.dim, std=0.02)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over all patches."""
        seen, *more = tokens
        with torch.no_grad():
            goal = self.target(seen, *more).flatten(0, 2)
        guess = self.head(seen).flatten(0, 2)
        with torch.no_grad():
            real = torch.ones(len(goal), dtype=torch.bool, device=goal.device)
            metrics = self.target.metrics(guess, goal, real)
        return Output(self.target.score(guess, goal).mean(), metrics)

    def pictures(self, *tokens: Tokens) -> Mapping[str, Pictures]:
        """Clips, their flow, and the one that is predicted, of the first crop; nothing of other targets."""
        seen, *more = tokens
        target = self.target
        if not isinstance(target, OpticalFlowTarget):
            return {}
        fields = [target.colors(flow)[0] for flow in (target(seen, *more), self.head(seen))]
        clips = seen.image[0].float()
        clips = clips[:, :3] if clips.shape[1] >= 3 else clips[:, :1].expand(-1, 3, -1, -1, -1)
        mean, std = (x[:3] if len(x) >= 3 else x[:1] for x in (target.mean, target.std))
        columns = [clips, *((field - mean) / std for field in fields)]
        return {"flow": Pictures(("input", "flow", "prediction"), torch.stack(columns, dim=1))}
