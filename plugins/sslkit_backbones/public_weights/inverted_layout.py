"""Weights of timm's networks under the names of a public file: what reads that file, the other way around.

A reader only renames, joins and cuts arrays. So numbers instead of weights, sent through it, tell where each goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.plugin import SpecError
from sslkit_backbones.public_weights.attention_names import with_biases_of, with_layer_scale_of
from sslkit_backbones.public_weights.layout_table import layout_of
from sslkit_backbones.public_weights.weight_layout import State, Target
from sslkit_backbones.timm_types import TimmModule

SHOWN = 3
"""Names that a message shows."""


class Places(NamedTuple):
    """Where the numbers of a file's arrays come to stand, and where each array has its own."""

    reached: State
    """timm's name -> for each of its elements its place in the file, from 1; 0: the file has none."""
    starts: Mapping[str, int]
    """The file's name -> the place of its first element."""
    shapes: Mapping[str, torch.Size]


def numbered(shapes: Mapping[str, torch.Size]) -> State:
    """Arrays of `shapes` whose elements count on from 1, through all of them."""
    arrays, start = {}, 1
    for name, shape in shapes.items():
        arrays[name] = torch.arange(start, start + shape.numel()).reshape(shape)
        start += shape.numel()
    return arrays


def places_of(shapes: Mapping[str, torch.Size], net: TimmModule) -> Places:
    """Where the layout of a file with arrays of `shapes` puts each of its elements in `net`."""
    arrays = numbered(shapes)
    target = Target(net, net.state_dict().keys(), [])
    state = layout_of(arrays.keys(), "").convert(dict(arrays), target)
    reached = with_layer_scale_of(with_biases_of(state, target), target)
    return Places(reached, {name: int(value.min()) for name, value in arrays.items()}, shapes)


def inverted(state: Mapping[str, Tensor], defaults: Mapping[str, Tensor], places: Places) -> State:
    """`state` under the names of the file.

    Args:
        state: weights under timm's names.
        defaults: what the file holds and timm's network does not, under the names of the file.
        places: of the file's layout.

    Raises:
        SpecError: the file has no place for some of `state`, or nothing is known of some of its own.
    """
    total = sum(shape.numel() for shape in places.shapes.values())
    flat, filled = torch.zeros(total + 1), torch.zeros(total + 1, dtype=torch.bool)
    for name, value in state.items():
        where = places.reached.get(name)
        if where is None or where.shape != value.shape or bool((value[where == 0] != 0).any()):
            raise SpecError(f"has no place for {name}")
        flat[where.flatten()] = value.detach().float().flatten().cpu()
        filled[where.flatten()] = True
    arrays, unknown = {}, []
    for name, shape in places.shapes.items():
        part = slice(places.starts[name], places.starts[name] + shape.numel())
        whole = name.endswith("num_batches_tracked")  # the only one that counts
        arrays[name] = flat[part].reshape(shape).to(torch.int64 if whole else torch.float32, copy=True)
        if not bool(filled[part].all()):
            arrays[name] = defaults[name].reshape(shape).clone() if name in defaults else arrays[name]
            unknown += [name] if name not in defaults else []
    if unknown:
        raise SpecError(f"needs {', '.join(unknown[:SHOWN])}, which this network does not have")
    return arrays
