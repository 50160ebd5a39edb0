"""Batch norm synchronized over ranks, local, split or shuffled. M rows, C channels, n groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Literal, final

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.errors import SpecError
from sslkit.functional.all_gather import all_rows
from sslkit.functional.precision import at_least_float32

Mode = Literal["sync", "local", "split", "shuffled"]


@final
class BatchNorm(_BatchNorm):
    """Batch norm over `[M, C, ...]`, on any device, compiled or not; state and defaults are torch's.

    Modes:
        sync: the rows of all ranks share statistics, as one process would have them. torch's `SyncBatchNorm` does
            the same, but on GPUs only.
        local: the rows of a rank share statistics; two ranks then differ from one process.
        split: `splits` groups of rows, of all ranks together; row i is in group i mod `splits`. Such small groups
            are what several GPUs with `local` make of a batch (`SplitBatchNorm` of MoCo's CIFAR-10 notebook).
        shuffled: as `split`, but a copy without gradients (a moving average) groups rows by (i div `splits`) mod
            `splits`. Of the rows that share a group in the trained net, each group of the copy then has as many. So
            statistics do not tell which key belongs to which query, which is what MoCo shuffles keys for. Rows
            are in random order anyway, so that fixed groups do what a random permutation does, exactly balanced,
            with no state and no exchange of images.

    All means of a step are over rows of one forward: a micro-batch has its own statistics.

    Raises:
        SpecError: `shuffled` without scale and shift, by which it tells a copy.
    """

    def __init__(
        self,
        features: int,
        mode: Mode = "sync",
        splits: int = 1,
        *,
        scale: bool = True,
        shift: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        if mode == "shuffled" and not (scale or shift):
            raise SpecError(
                "batch norm: `shuffled` tells a copy by its frozen scale and shift, and this one has neither; "
                "use `split`"
            )
        super().__init__(features, eps, momentum, affine=scale or shift)
        if not scale:
            self.register_parameter("weight", None)
        if not shift:
            self.register_parameter("bias", None)
        self.mode, self.splits = mode, splits

    def forward(self, input: Tensor) -> Tensor:
        """`[M, C, ...]` -> the same shape and type.

        Raises:
            SpecError: the rows do not divide into the groups.
        """
        assert self.running_mean is not None, "torch makes it"
        assert self.running_var is not None, "torch makes it"
        if not self.training:
            return self._plain(input, self.running_mean, self.running_var)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        if self.splits == 1 and (self.mode == "local" or ranks() == 1):
            return self._plain(input, self.running_mean, self.running_var)
        return self._grouped(input, self.running_mean, self.running_var)

    def _plain(self, x: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
        """As torch has it."""
        statistics = running_mean, running_var, self.weight, self.bias
        return F.batch_norm(x, *statistics, self.training, self.momentum or 0.0, self.eps)

    def _grouped(self, x: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
        """Statistics of groups of rows, or of all ranks' rows."""
        inner = self.splits if self._crosses() else 1
        if x.shape[0] % (self.splits * inner):
            raise SpecError(
                f"batch norm: {x.shape[0]} rows on a rank do not divide into {self.splits * inner}, as "
                f"{self.splits} splits in mode {self.mode!r} need; change the batch size or `splits`"
            )
        parts = at_least_float32(x).reshape(-1, self.splits, inner, x.shape[1], math.prod(x.shape[2:]))
        var, mean = torch.var_mean(parts, dim=(0, 2, 4), correction=0)  # [n, C]
        mean, var = over_ranks(mean, var)
        self._follow(running_mean, running_var, mean, var, parts.numel() // mean.numel() * ranks())
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        out = (parts - mean[:, None, :, None]) * scale[:, None, :, None]
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out.reshape(x.shape).to(x.dtype)

    def _crosses(self) -> bool:
        """Whether this is the copy, whose groups cross those of the trained net."""
        trained = any(p is not None and p.requires_grad for p in (self.weight, self.bias))
        return self.mode == "shuffled" and not trained

    @torch.no_grad()
    def _follow(
        self, running_mean: Tensor, running_var: Tensor, mean: Tensor, var: Tensor, count: int
    ) -> None:
        """Running statistics: those that torch would have, mean over groups."""
        if count == 1:
            raise ValueError(f"batch norm: one value per channel has no variance; found {tuple(mean.shape)}")
        share = self.momentum or 0.0
        unbiased = var.mean(0) * (count / (count - 1))
        running_mean.lerp_(mean.mean(0).to(running_mean.dtype), share)
        running_var.lerp_(unbiased.to(running_var.dtype), share)

    def extra_repr(self) -> str:
        return f"{self.num_features}, mode={self.mode!r}, splits={self.splits}"


@singledispatch
def mode_of(norm: nn.Module) -> Mode | None:
    """The mode of a batch norm of this module; None for one of torch."""
    return None


@mode_of.register(BatchNorm)
def _(norm: BatchNorm) -> Mode | None:
    return norm.mode


@singledispatch
def is_per_rank(norm: nn.Module) -> bool:
    """Whether each rank makes the statistics of `norm` of its own images."""
    return mode_of(norm) in (None, "local")


@is_per_rank.register(nn.SyncBatchNorm)
def _(norm: nn.SyncBatchNorm) -> bool:
    return False


Extend = Callable[[nn.Module, BatchNorm], nn.Module | None]
"""A subclass of torch's batch norm that does more, and the batch norm in its place -> what does the same with it."""


def convert(net: nn.Module, mode: Mode, splits: int = 1, extend: Extend = lambda old, new: None) -> int:
    """Put batch norm of `mode` where `net` has torch's, with its values.

    Args:
        net: is changed in place; itself it must not be a batch norm.
        mode: which images share statistics.
        splits: groups of `split` and `shuffled`.
        extend: for subclasses with a `forward` of their own, which are left alone where it gives None.

    Returns:
        How many there were.
    """
    count = 0
    for name, child in list(net.named_children()):
        new = _converted(child, mode, splits, extend) if isinstance(child, _BatchNorm) else None
        if new is not None:
            setattr(net, name, new)
        count += convert(child, mode, splits, extend) if new is None else 1
    return count


def _converted(norm: _BatchNorm, mode: Mode, splits: int, extend: Extend) -> nn.Module | None:
    momentum = 0.1 if norm.momentum is None else norm.momentum
    new = BatchNorm(
        norm.num_features, mode, splits, scale=norm.affine, shift=norm.affine, eps=norm.eps, momentum=momentum
    )
    values = {key: value for key, value in norm.state_dict().items() if key in new.state_dict()}
    new.load_state_dict(values)
    plain = type(norm).forward is _BatchNorm.forward
    return new if plain else extend(norm, new)


def ranks() -> int:
    """Ranks that train together; 1 in one process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def over_ranks(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the values of all ranks from those of this one; each rank has as many. With gradient."""
    if ranks() == 1:
        return mean, var
    means, variances = all_rows(torch.stack([mean, var])[None]).unbind(1)
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


def batch_norm(features: int, kind: str, mode: Mode = "sync", splits: int = 1) -> nn.Module:
    """Batch norm by name: `none`, `plain` (neither scale nor shift), `scale` (no shift) or `affine`."""
    if kind == "none":
        return nn.Identity()
    return BatchNorm(features, mode, splits, scale=kind != "plain", shift=kind == "affine")
