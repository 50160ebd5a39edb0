"""Apple's GPUs (`mps`): they have no float64, so what needs it is computed on the CPU or refused by name.

Tested by simulation only; not verified: no such machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from sslkit.core.ranks import ranks
from sslkit.errors import SpecError

if TYPE_CHECKING:
    pass

CPU = torch.device("cpu")


def mps_device() -> torch.device:
    """The device of a process that asks for `mps`.

    Raises:
        SpecError: torch sees none, or several processes share the training.
    """
    if not torch.backends.mps.is_available():
        raise SpecError(
            "device: mps is asked for but torch sees no such GPU (a Mac with Apple silicon and torch built for it has "
            "one); use `device=cpu` or `device=auto`"
        )
    if ranks().world > 1:
        raise SpecError("device: mps is for one process; start it once, or use `device=cpu`")
    return torch.device("mps")


def has_float64(device: torch.device) -> bool:
    """Whether `device` computes in double precision."""
    return device.type != "mps"


def exact_device(device: torch.device) -> torch.device:
    """Where crops, masks and scores are computed, which need float64: `device`, or the CPU beside it."""
    return device if has_float64(device) else CPU


def narrowed(module: nn.Module) -> None:
    """Bring buffers in float64 to float32, in place: they cannot be moved to the device as they are."""
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.dtype == torch.float64:
                setattr(part, name, buffer.float())
