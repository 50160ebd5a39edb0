"""`torch.compile` of a run. Torch-free."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, final

from sslkit.core.compile_options import CompileOptions
from sslkit.core.problem import Problem
from sslkit.specs.base import Spec
from sslkit.specs.error_text import suggest

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


BACKENDS = (
    "inductor", "eager", "aot_eager", "aot_eager_decomp_partition", "cudagraphs", "openxla", "tvm", "ts", "aot_ts",
)  # fmt: skip
"""Those of torch 2.9 to 2.15, without the ones for its own tests."""
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Of Inductor."""


def _added_backends() -> Iterator[str]:
    """What installed packages add, and what was registered in this process."""
    yield from (point.name for point in entry_points(group="torch_dynamo_backends"))
    registered = sys.modules.get("torch._dynamo")
    if registered is not None:
        yield from registered.list_backends(exclude_tags=())


@final
class CompileSpec(Spec):
    """`torch.compile` of the whole forward as one graph."""

    enabled: bool | None = None
    """Default: on where the device is CUDA, off on a CPU."""
    backend: str = "inductor"
    """Compiler backend: torch's or an installed package's; `aot_eager` traces without generating code."""
    mode: str | None = None
    """Inductor mode, such as `max-autotune`."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Names that torch would refuse at the first step."""
        if self.backend not in BACKENDS and self.backend not in (added := list(_added_backends())):
            backends = [*BACKENDS, *added]
            yield Problem(
                "backend", f"{self.backend[:40]!r} is no backend. {suggest(self.backend, backends)}"
            )
        elif self.backend == "inductor" and self.mode is not None and self.mode not in MODES:
            yield Problem("mode", f"{self.mode[:40]!r} is no mode of Inductor. {suggest(self.mode, MODES)}")

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
