"""Batch norm of timm's networks in the modes of `sslkit.nn.batch_norm`."""

from __future__ import annotations

from typing import final

from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from sslkit.nn import batch_norm
from sslkit.nn.batch_norm import BatchNorm, Mode
from sslkit.plugin import SpecError


@final
class Activated(nn.Module):
    """Batch norm, dropout and activation: timm's `BatchNormAct2d` around another batch norm."""

    def __init__(self, norm: nn.Module, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.norm, self.drop, self.act = norm, drop, act

    def forward(self, x: Tensor) -> Tensor:
        """`[M, C, H, W]` -> the same shape."""
        out: Tensor = self.act(self.drop(self.norm(x)))
        return out


def convert(net: nn.Module, mode: Mode, splits: int) -> int:
    """Put batch norm of `mode` where `net` has torch's or timm's, with its values; return how many there were."""
    return batch_norm.convert(net, mode, splits, _extended)


def _extended(norm: nn.Module, new: BatchNorm) -> nn.Module | None:
    return Activated(new, norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else None


def convert_or_refuse(net: nn.Module, name: str, mode: Mode, splits: int) -> None:
    """`convert` a timm network called `name`. Raises SpecError where a mode is asked for and it has no batch norm."""
    if not convert(net, mode, splits) and mode != "sync":
        raise SpecError(f"backbone.batch_norm: {name!r} has no batch norm; leave this out")


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """The values of a converted network under the names that they had before."""
    wrapped = {name for name, module in net.named_modules() if isinstance(module, Activated)}
    return {_plain(key, wrapped): value for key, value in net.state_dict().items()}


def _plain(key: str, wrapped: set[str]) -> str:
    owner, _, name = key.rpartition(".")
    outer = owner.removesuffix(".norm")
    return f"{outer}.{name}" if outer != owner and outer in wrapped else key
