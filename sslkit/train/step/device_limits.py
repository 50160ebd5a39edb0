"""What a device without float64 cannot train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit.core.system import System
from sslkit.errors import SpecError

if TYPE_CHECKING:
    from sslkit.train.step.masking import Masking


def require_possible(system: System, masking: Masking, balance_path: str) -> None:
    """Pass where a device without float64 can train `system`.

    Raises:
        SpecError: the balancer weighs gradients, or a masker reads a network or learns.
    """
    if system.balancer.weighs_gradients:
        raise SpecError(
            f"{balance_path}: weighs products of gradients in float64, which the device `mps` does not have; balance "
            "the losses, or use `device=cpu`"
        )
    if masking.guides or next(masking.buffers(), None) is not None:
        raise SpecError(
            "masker: this one reads a network or learns, in float64, which the device `mps` does not have; use one "
            "that does neither, or `device=cpu`"
        )
