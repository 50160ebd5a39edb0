"""The weights of one network in what a checkpoint holds: which entry, and which of several networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from sslkit.plugin import CheckpointError
from sslkit_backbones.public_weights.weight_layout import State

ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "teacher",
    "target_encoder",
    "state_dict",
    "model",
    "module",
    "student",
    "encoder",
)
"""Entries that hold weights, moving averages first (timm, DINO, I-JEPA)."""
_NETWORKS = ("teacher_backbone", "base_encoder", "encoder_q", "backbone", "student_backbone", "visual")
"""Names of networks of which one is taken, each before those after it: what their authors evaluate."""
_HALF = 2
"""Bytes of a number in half precision."""


class Weights(NamedTuple):
    """The arrays of one network, in at least float32."""

    state: State
    entries: tuple[str, ...]
    """Where they stood, from the outside."""
    prefix: str
    """What preceded their names."""
    beside: tuple[str, ...]
    """What else the file holds, as people may read it."""


def weights_in(checkpoint: Mapping[str, object], roots: Collection[str]) -> Weights:
    """The network in `checkpoint`, which has one of `roots` among its names.

    Raises:
        CheckpointError: it holds no weights.
    """
    entries: list[str] = []
    beside: list[str] = []
    state = tensors(checkpoint)
    while not state:
        inner = {name: value for name, value in checkpoint.items() if isinstance(value, Mapping) and value}
        name = next((name for name in ENTRIES if name in inner), None) or _only(inner)
        if name is None:
            raise CheckpointError(f"it holds no weights, but {_first(tuple(checkpoint)) or 'nothing'}")
        beside += [other for other in checkpoint if other != name]
        entries.append(name)
        checkpoint = inner[name]
        state = tensors(checkpoint)
    prefix = _prefix(state, roots)
    rest = Counter(_owner(name, prefix) for name in state if not name.startswith(prefix))
    beside += [f"{owner} ({count} arrays)" for owner, count in rest.items()]
    taken = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    return Weights(taken, tuple(entries), prefix, tuple(beside))


def tensors(values: Mapping[str, object]) -> State:
    """The arrays among `values`; half precision as float32, in which sizes are changed."""
    return {
        name: value.float() if value.is_floating_point() and value.element_size() <= _HALF else value
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def _only(inner: Mapping[str, object]) -> str | None:
    return next(iter(inner)) if len(inner) == 1 else None


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _prefix(names: Collection[str], roots: Collection[str]) -> str:
    """What precedes the names of the network to take; of several, the first of `_NETWORKS`."""
    prefixes = {
        name[: -len(root)] for root in roots for name in names if name == root or name.endswith(f".{root}")
    }
    return min(prefixes, key=_rank, default="")


def _rank(prefix: str) -> tuple[int, int, str]:
    parts = prefix.split(".")
    networks = [_NETWORKS.index(part) for part in parts if part in _NETWORKS]
    return (0 if not prefix else min(networks, default=len(_NETWORKS)) + 1, len(parts), prefix)


def _owner(name: str, prefix: str) -> str:
    """The part of `name` that differs from `prefix`, up to its dot."""
    parts, shared = name.split("."), prefix.split(".")
    at = next((i for i, part in enumerate(parts) if i >= len(shared) or part != shared[i]), 0)
    return parts[at]
