"""Batch norm of groups, in the terms of MoCo's CIFAR-10 notebook: groups become channels of a smaller batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SplitBatchNorm(nn.BatchNorm2d):
    def __init__(self, features: int, splits: int) -> None:
        super().__init__(features)
        self.splits = splits

    def forward(self, x: Tensor) -> Tensor:
        statistics = [buffer.repeat(self.splits) for buffer in (self.running_mean, self.running_var)]
        scale, shift = (p.repeat(self.splits) for p in (self.weight, self.bias))
        grouped = x.reshape(-1, self.splits * x.shape[1], *x.shape[2:])
        out = F.batch_norm(grouped, *statistics, scale, shift, True, self.momentum, self.eps)
        for buffer, split in zip((self.running_mean, self.running_var), statistics, strict=True):
            buffer.copy_(split.view(self.splits, -1).mean(0))
        return out.view_as(x)
