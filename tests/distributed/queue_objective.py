"""A small MoCo: twins, a queue, a schedule, carried rows. What an objective with state needs of the trainer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Tokens


@final
class QueueContrast(Objective):
    """InfoNCE of the first crop against a queue of keys of the second."""

    queue: Tensor
    head: Tensor

    def __init__(self, dim: int, size: int = 96) -> None:
        super().__init__()
        self.passes = (Encode("global"), Encode("global", net="teacher"))
        self.crops = {"global": 2}
        self.twins = {"online": "average"}
        self.schedules = {"temperature": lambda step: 0.2 + 0.1 * step}
        self.online = nn.Linear(dim, 8)
        self.average = copy.deepcopy(self.online).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(size, 8), dim=-1))
        self.register_buffer("head", torch.zeros((), dtype=torch.int64))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        student, teacher = tokens
        with torch.no_grad():
            keys = F.normalize(self.average(teacher.cls[1]), dim=-1)
        queries = F.normalize(self.online(student.cls[0]), dim=-1)
        positive = (queries * keys).sum(-1, keepdim=True)
        logits = torch.cat([positive, queries @ self.queue.T], dim=1) / now["temperature"]
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
        return Output(loss, {"positive": positive.mean()}, {"keys": keys})

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        places = (self.head + torch.arange(len(carry["keys"]), device=self.head.device)) % len(self.queue)
        self.queue[places] = carry["keys"]
        self.head.add_(len(places)).remainder_(len(self.queue))
