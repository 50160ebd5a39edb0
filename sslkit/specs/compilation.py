"""`torch.compile` of a run. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from sslkit.core.compile_options import CompileOptions
from sslkit.core.problem import Problem
from sslkit.specs.base import Spec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


@final
class CompileSpec(Spec):
    """`torch.compile` of the whole forward as one graph."""

    enabled: bool | None = None
    """Default: on where the device is CUDA, off on a CPU."""
    backend: str = "inductor"
    """Compiler backend; `aot_eager` traces without generating code."""
    mode: str | None = None
    """Inductor mode, such as `max-autotune`."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """How to compile, where nothing is compiled."""
        if self.enabled is False or (self.enabled is None and run.device == "cpu"):
            switch = (
                "`compile.enabled` is false"
                if self.enabled is False
                else "runs on a CPU compile nothing by default"
            )
            for field in ("backend", "mode"):
                yield Problem(field, f"has no effect, as {switch}", note=True)

    def options(self) -> CompileOptions:
        """Arguments of `nn.Module.compile`."""
        return {"backend": self.backend, "fullgraph": True, "dynamic": False, "mode": self.mode}
