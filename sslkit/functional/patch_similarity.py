"""Gram anchoring: the similarities of a student's patches follow those of a teacher's (DINOv3 `gram_loss.py`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32

EPS = 1e-12  # torch's default, with which DINOv3 normalizes


def patch_similarity(patches: Tensor, *, normalized: bool = True) -> Tensor:
    """Products of all pairs of patches: `[..., N, D]` -> `[..., N, N]`, in at least float32.

    Args:
        patches: features of N patches.
        normalized: bring each to length 1 first, so that products are cosines (DINOv3's recipe).
    """
    x = at_least_float32(patches)
    x = F.normalize(x, dim=-1, eps=EPS) if normalized else x
    with torch.autocast(x.device.type, enabled=False):
        return x @ x.mT


def gram_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    normalized: bool = True,
    remove_negative: bool = False,
    only_teacher_negative: bool = False,
) -> Tensor:
    """Mean squared difference of two nets' patch similarities, the diagonal included.

    Args:
        student: `[..., N, D]`.
        teacher: `[..., N, E]`, the same patches; widths may differ.
        normalized: compare cosines and not products.
        remove_negative: put 0 for what is negative, in either.
        only_teacher_negative: put 0 for what is negative in the teacher's. (DINOv3 means to put 0 where both are
            negative too, but tests that after the teacher's are 0, so that it never is.)

    Returns:
        `[...]`, in at least float32.
    """
    ours, goal = (patch_similarity(x, normalized=normalized) for x in (student, teacher))
    if remove_negative or only_teacher_negative:
        goal = goal.clamp(min=0)
    if remove_negative:
        ours = ours.clamp(min=0)
    return (ours - goal).square().mean((-2, -1))
