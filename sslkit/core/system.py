"""All of one step's forward: the only module that DDP and `torch.compile` wrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.balancer import Balancer
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Mask, Output, Request, Tokens

Now = Mapping[str, Mapping[str, Tensor]]
"""Objective -> scheduled name -> 0-dim tensor."""


class Stepped(NamedTuple):
    """What a forward returns."""

    total: Tensor
    """The balanced scalar to minimize."""
    outputs: dict[str, Output]


@final
class System(nn.Module):
    """Nets, objectives and balancer. Equal requests of all objectives collapse to one pass of `plan`."""

    def __init__(
        self, nets: Mapping[str, Backbone], objectives: Mapping[str, Objective], balancer: Balancer
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(nets)
        self.objectives = nn.ModuleDict(objectives)
        self.balancer: Balancer = balancer
        self.plan: tuple[Encode, ...] = tuple(dict.fromkeys(p for o in objectives.values() for p in o.passes))
        self._calls = {net: [i for i, p in enumerate(self.plan) if p.net == net] for net in nets}
        self._wanted = {name: [self.plan.index(p) for p in o.passes] for name, o in objectives.items()}

    def encode(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None]) -> dict[int, Tokens]:
        """The answer to every pass of `plan`, by its index. `images`: view -> `[V, B, C, H, W]`."""
        tokens: dict[int, Tokens] = {}
        for net, calls in self._calls.items():
            if not calls:
                continue
            requests = [
                Request(images[self.plan[i].view], masks[i], self.plan[i].mode, self.plan[i].layers)
                for i in calls
            ]
            with torch.set_grad_enabled(net == "student" and torch.is_grad_enabled()):
                tokens.update(zip(calls, self.nets[net](requests), strict=True))
        return tokens

    def forward(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None], now: Now) -> Stepped:
        """The losses of one micro-batch. `masks` has one entry for each pass of `plan`."""
        tokens = self.encode(images, masks)
        outputs: dict[str, Output] = {
            name: objective(now[name], *[tokens[i] for i in self._wanted[name]])
            for name, objective in self.objectives.items()
        }
        total: Tensor = self.balancer(torch.stack([output.loss for output in outputs.values()]))
        return Stepped(total, outputs)

    def objective_tokens(self, name: str, tokens: Mapping[int, Tokens]) -> list[Tokens]:
        """The answers that objective `name` asked for, in its order."""
        return [tokens[i] for i in self._wanted[name]]
