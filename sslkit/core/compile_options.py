"""Arguments of `torch.compile`. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    pass


class CompileOptions(TypedDict):
    """Arguments of `torch.compile`."""

    backend: str
    fullgraph: bool
    dynamic: bool
    mode: str | None
