"""What was taken from a file of weights, what was resized, and what was left out, in sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

_GROUPS = (
    (
        "",
        r"relative_position_index|relative_coords_table|attn_mask|rope_embed\.periods|position_ids|rope\.periods",
    ),
    ("mask token", r"mask_token|masked_embed"),
    ("decoder", r"decoder"),
    ("head", r"(cls_|lm_|dino_|ibot_|mim_|mlp_|projection_|prediction_)?head(_dist)?\d*\."),
    (
        "head",
        r"(fc|classifier|pre_logits|pooler|projection|projector|predictor|prototypes|local_cls_norm)\d*\.",
    ),
)
"""What may be left out -> the beginning of its names; nameless what follows from the sizes of a network."""
SHOWN = 3
"""Names that a message shows of each kind."""


class Loaded(NamedTuple):
    """Weights that a network took from a file."""

    file: str
    layout: str
    source: str
    """Where in the file they stood; empty where it holds nothing else."""
    arrays: int
    resized: Sequence[str]
    remarks: Sequence[str]
    left: Sequence[str]
    """What the file holds beside them."""
    positions: Tensor | None = None
    """The table of positions as the file has it, `[1, T, D]`."""
    mask_token: Tensor | None = None
    """In the embedding's width, where there is one."""

    def sentences(self, mask_token_taken: bool = False) -> Iterator[str]:
        """One line each, for people. `mask_token_taken`: whether a pass puts it in."""
        source = f" from {self.source}" if self.source else ""
        yield f"weights: {self.file}, under {self.layout} names: {self.arrays} arrays taken{source}"
        if self.resized:
            yield f"weights: resized: {'; '.join(self.resized)}"
        for remark in self.remarks:
            yield f"weights: {remark}"
        if self.mask_token is not None and mask_token_taken:
            yield "weights: mask token taken"
        left = [*self.left, *(["mask token"] if self.mask_token is not None and not mask_token_taken else [])]
        if left:
            yield f"weights: left out: {', '.join(left)}"


def left_out(names: Collection[str]) -> tuple[list[str], list[str]]:
    """Of names that a network lacks: groups that it does without, with their numbers, and the names of the others."""
    groups: Counter[str] = Counter()
    others = []
    for name in names:
        group = next((label for label, start in _GROUPS if _begins(name, start)), None)
        if group is None:
            others.append(name)
        elif group:
            groups[group] += 1
    return [f"{group} ({count} arrays)" for group, count in groups.items()], others


def _begins(name: str, start: str) -> bool:
    """Whether a name, or its last part for what each block has, begins with `start`."""
    pattern = re.compile(start)
    return bool(pattern.match(name) or pattern.fullmatch(name.rpartition(".")[2]))


def mismatch(missing: Sequence[str], unexpected: Sequence[str], shapes: Sequence[str]) -> Iterator[str]:
    """A line for each way in which weights do not fit."""
    for what, items in (
        ("the file lacks", missing),
        ("the network lacks", unexpected),
        ("of another shape", shapes),
    ):
        if items:
            more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
            yield f"{what} {len(items)}: {', '.join(items[:SHOWN])}{more}"
