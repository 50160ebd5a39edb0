"""Training and evaluation mode of modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(*nets: nn.Module | None) -> Iterator[None]:
    """Evaluation mode for the block; every module gets its own mode back."""
    present = [net for net in nets if net is not None]
    modes = [(module, module.training) for net in present for module in net.modules()]
    try:
        for net in present:
            net.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
