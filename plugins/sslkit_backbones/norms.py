"""Batch norm of timm's networks in the modes of `sslkit.nn.batch_norm`."""

from __future__ import annotations

from typing import final

from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from sslkit.nn.batch_norm import BatchNorm, Mode


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
    """Put batch norm of `mode` where `net` has torch's, with its values; return how many there were."""
    count = 0
    for name, child in list(net.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(net, name, _converted(child, mode, splits))
            count += 1
        else:
            count += convert(child, mode, splits)
    return count


def _converted(norm: nn.BatchNorm2d, mode: Mode, splits: int) -> nn.Module:
    momentum = 0.1 if norm.momentum is None else norm.momentum
    made = BatchNorm(
        norm.num_features, mode, splits, scale=norm.affine, shift=norm.affine, eps=norm.eps, momentum=momentum
    )
    own = {key: value for key, value in norm.state_dict().items() if key in made.state_dict()}
    made.load_state_dict(own)
    return Activated(made, norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else made


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """The values of a converted network under the names that they had before."""
    wrapped = {name for name, module in net.named_modules() if isinstance(module, Activated)}
    return {_plain(key, wrapped): value for key, value in net.state_dict().items()}


def _plain(key: str, wrapped: set[str]) -> str:
    owner, _, name = key.rpartition(".")
    outer = owner.removesuffix(".norm")
    return f"{outer}.{name}" if outer != owner and outer in wrapped else key
