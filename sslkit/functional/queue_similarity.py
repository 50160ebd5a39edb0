"""Distillation of similarities to a queue (Fang et al. 2021, SEED)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32


def queue_similarity(
    student: Tensor, teacher: Tensor, queue: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Cross-entropy between the similarities of student and teacher to the teacher's own embedding and a queue.

    Args:
        student: `[..., D]` embeddings, of any length.
        teacher: `[..., D]` the teacher's of the same images.
        queue: `[K, D]` of length 1: the teacher's of other images.
        student_temperature: what the student's cosines are divided by.
        teacher_temperature: the same of the teacher, which gets no gradient.

    Returns:
        `[...]`, in at least float32.
    """
    ours, theirs = (F.normalize(at_least_float32(x), dim=-1) for x in (student, teacher.detach()))
    with torch.autocast(ours.device.type, enabled=False):
        places = queue.to(ours.dtype).T
        scores = torch.cat([(ours * theirs).sum(-1, keepdim=True), ours @ places], dim=-1)
        goals = torch.cat([(theirs * theirs).sum(-1, keepdim=True), theirs @ places], dim=-1)
    goal = (goals / teacher_temperature).softmax(-1)
    return -(goal * (scores / student_temperature).log_softmax(-1)).sum(-1)
