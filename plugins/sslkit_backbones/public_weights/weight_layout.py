"""What a layout of weights is: how it is recognized, and its names in timm."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from sslkit_backbones.timm_types import TimmModule

State: TypeAlias = dict[str, Tensor]
Rules: TypeAlias = Sequence[tuple[str, str]]
"""Regular expressions of a part of a name, each with what stands there in timm; all are applied, in order."""


class Target(NamedTuple):
    """The network that is to take the weights."""

    net: TimmModule
    names: Collection[str]
    """Of its parameters and buffers."""
    remarks: list[str]
    """What a reader did beside renaming, for people; readers add to it."""


class Layout(NamedTuple):
    """One way in which files name the weights of networks."""

    title: str
    """What people call it."""
    fits: Callable[[Collection[str]], bool]
    """Whether names, without what stands before all of them, are of this layout."""
    convert: Callable[[State, Target], State]
    """The same weights under timm's names; those that no network takes keep theirs."""
    component: str = ""
    """Part of a name that has to stand before all of them, as `base_encoder`."""
    heads: int | None = None
    """Attention heads of its vision transformers, where they are always as many."""


def has(*names: str) -> Callable[[Collection[str]], bool]:
    """A test for all of `names`."""
    return lambda keys: all(name in keys for name in names)


def renamed(state: Mapping[str, Tensor], rules: Rules) -> State:
    """`state` with `rules` applied to each name."""
    return {_renamed(name, rules): value for name, value in state.items()}


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def unchanged(state: State, target: Target) -> State:
    """For layouts whose names are timm's."""
    return state
