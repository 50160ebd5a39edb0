"""The parts of a module that are of one class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def named_submodules(module: nn.Module, cls: type[M]) -> Iterator[tuple[str, M]]:
    """(full name, part) of every part of `module` that is a `cls`, `module` itself included."""
    return ((name, part) for name, part in module.named_modules() if isinstance(part, cls))


def submodules(module: nn.Module, cls: type[M]) -> Iterator[M]:
    """Every part of `module` that is a `cls`, `module` itself included."""
    return (part for _, part in named_submodules(module, cls))
