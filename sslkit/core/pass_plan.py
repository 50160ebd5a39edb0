"""Deduplicates backbone passes: requests that differ in what they read of the answer only share one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, final

from torch import Tensor

from sslkit.core.passes import Encode, Patches, Tokens


class SharedPass(NamedTuple):
    """Where the answer to a request is. Numbers only, which a compiled graph can read."""

    run: int
    """Index of the pass that answers."""
    layers: tuple[int, ...]
    """Places of its layers among those of the pass."""
    attention: bool
    patches: Patches = "all"

    def of(self, answers: Sequence[Tokens]) -> Tokens:
        """Its tokens, from the answers of all passes that run."""
        whole = answers[self.run]
        layers = tuple(whole.layers[place] for place in self.layers)
        attention = whole.attention if self.attention else None
        patch = read_patches(whole.patch, self.patches)
        return Tokens(whole.image, whole.cls, patch, whole.mask, layers, attention)


@final
class Plan:
    """Requests, and the passes that answer them. Those that differ only in what they read of it are one pass."""

    def __init__(self, asked: Iterable[Encode]) -> None:
        self.asked = tuple(dict.fromkeys(asked))
        groups: dict[Encode, list[int]] = {}
        for i, request in enumerate(self.asked):
            groups.setdefault(same_pass(request), []).append(i)
        self.members = tuple(tuple(group) for group in groups.values())
        """Indices of the requests that each pass answers."""
        self.runs = tuple(_joined([self.asked[i] for i in group]) for group in self.members)
        """The passes, with all layers that anyone wants."""
        self.shares = tuple(self._share(request, list(groups)) for request in self.asked)
        """One for each request."""

    def _share(self, request: Encode, passes: Sequence[Encode]) -> SharedPass:
        run = passes.index(same_pass(request))
        places = tuple(self.runs[run].layers.index(layer) for layer in request.layers)
        return SharedPass(run, places, request.attention, request.patches)


def same_pass(request: Encode) -> Encode:
    """Equal for requests that one pass of a net can answer."""
    if request.mask is None:
        request = replace(request, mode="drop", salt="")
    return replace(request, layers=(), attention=False, patches="all")


def read_patches(patch: Tensor, which: Patches) -> Tensor:
    """Of the patch tokens `[V, B, N, D]` those that are wanted: all, their mean or none."""
    if which == "mean":
        return patch.mean(2, keepdim=True)
    return patch if which == "all" else patch[:, :, :0]


def _joined(requests: Sequence[Encode]) -> Encode:
    layers = tuple(dict.fromkeys(layer for request in requests for layer in request.layers))
    attention = any(request.attention for request in requests)
    wanted = {request.patches for request in requests}
    patches = next(which for which in _MOST_FIRST if which in wanted)
    return replace(requests[0], layers=layers, attention=attention, patches=patches)


_MOST_FIRST: tuple[Patches, ...] = ("all", "mean", "none")
