"""The plugin `loggers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_loggers.specs import TensorBoard, WandB


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The loggers of this package."""
    return [TensorBoard, WandB]
