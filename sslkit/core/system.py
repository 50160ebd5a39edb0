"""All of one step's forward: the only module that DDP and `torch.compile` wrap."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
        self._wanted = {name: [self.plan.index(p) for p in o.passes] for name, o in objectives.items()}
        self.guided_by(())

    def guided_by(self, guides: Sequence[Encode]) -> None:
        """Set the passes without a mask that `look` runs, before masks are drawn."""
        self.guides = tuple(guides)
        # what the student sees is encoded again where a loss needs its gradients
        self.known = {
            i: self.guides.index(p) for i, p in enumerate(self.plan) if p in guides and p.net != "student"
        }
        """Pass of `plan` -> the guide that answers it already."""
        self._look = self._calls(self.guides, ())
        self._encode = self._calls(self.plan, self.known)

    def _calls(self, plan: Sequence[Encode], known: Collection[int]) -> dict[str, list[int]]:
        """The passes of `plan` that each net has to make."""
        return {net: [i for i, p in enumerate(plan) if p.net == net and i not in known] for net in self.nets}

    @torch.no_grad()
    def look(self, images: Mapping[str, Tensor]) -> list[Tokens]:
        """The answers to `guides`. `images`: view -> `[V, B, C, H, W]`."""
        answers = self._answer(self._look, self.guides, images, [None] * len(self.guides))
        return [answers[i] for i in range(len(self.guides))]

    def encode(
        self, images: Mapping[str, Tensor], masks: Sequence[Mask | None], looked: Sequence[Tokens]
    ) -> dict[int, Tokens]:
        """The answer to every pass of `plan`, by its index. `looked`: what `look` answered."""
        tokens = self._answer(self._encode, self.plan, images, masks)
        return tokens | {i: looked[guide] for i, guide in self.known.items()}

    def _answer(
        self,
        calls: Mapping[str, Sequence[int]],
        plan: Sequence[Encode],
        images: Mapping[str, Tensor],
        masks: Sequence[Mask | None],
    ) -> dict[int, Tokens]:
        """Call each net once with all that is asked of it."""
        tokens: dict[int, Tokens] = {}
        for net, own in calls.items():
            if not own:
                continue
            requests = [
                Request(images[plan[i].view], masks[i], plan[i].mode, plan[i].layers, plan[i].attention)
                for i in own
            ]
            with torch.set_grad_enabled(net == "student" and torch.is_grad_enabled()):
                tokens.update(zip(own, self.nets[net](requests), strict=True))
        return tokens

    def forward(
        self,
        images: Mapping[str, Tensor],
        masks: Sequence[Mask | None],
        now: Now,
        looked: Sequence[Tokens] = (),
    ) -> Stepped:
        """The losses of one micro-batch. `masks`: one for each pass of `plan`; `looked`: the answers of `look`."""
        tokens = self.encode(images, masks, looked)
        outputs: dict[str, Output] = {
            name: objective(now[name], *[tokens[i] for i in self._wanted[name]])
            for name, objective in self.objectives.items()
        }
        total: Tensor = self.balancer(torch.stack([output.loss for output in outputs.values()]))
        return Stepped(total, outputs)

    def scores(self, outputs: Mapping[str, Output]) -> dict[int, Tensor]:
        """Losses of hidden patches, by the pass that masked them; of several objectives, the first one's."""
        told: dict[int, Tensor] = {}
        for name, output in outputs.items():
            masked = [i for i in self._wanted[name] if self.plan[i].mask is not None]
            if output.scores is not None and masked:
                told.setdefault(masked[0], output.scores.detach())
        return told

    def objective_tokens(self, name: str, tokens: Mapping[int, Tokens]) -> list[Tokens]:
        """The answers that objective `name` asked for, in its order."""
        return [tokens[i] for i in self._wanted[name]]
