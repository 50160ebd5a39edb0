"""`nn.ModuleDict` whose modules are of one type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

if TYPE_CHECKING:
    from collections.abc import ItemsView, Mapping, ValuesView

    T = TypeVar("T", bound=nn.Module)

    class Modules(nn.ModuleDict, Generic[T]):
        """Modules by name; what comes out is typed as what went in."""

        def __init__(self, modules: Mapping[str, T]) -> None: ...
        def __getitem__(self, key: str) -> T: ...
        def values(self) -> ValuesView[T]: ...
        def items(self) -> ItemsView[str, T]: ...

else:
    Modules = nn.ModuleDict  # the types alone differ: compilers and checkpoints know torch's own
