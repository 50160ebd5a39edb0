"""Layer numbers of a vision transformer's parameters, for layer-wise learning rate decay."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"(?:net\.)?blocks\.(\d+)\.")
_STEM = re.compile(r"(?:net\.)?(?:cls_token|reg_token|mask_token|pos_embed|patch_embed|norm_pre)\b")


def vit_layer(name: str, depth: int) -> int:
    """The layer of parameter `name` in a network of `depth` blocks: MAE's numbers (`util/lr_decay.py`).

    Patch embedding, positions and tokens are 0, block i is i + 1, all else (the last norm, a position bias that blocks
    share) is depth + 1. timm's own grouping differs: it counts the last norm to the last block.
    """
    block = _BLOCK.match(name)
    if block is not None:
        return int(block[1]) + 1
    return 0 if _STEM.match(name) else depth + 1
