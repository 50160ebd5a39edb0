"""Similarities to a queue, as SEED has them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from sslkit.functional.queue_similarity import queue_similarity


def test_by_hand():
    """The teacher's cosines to itself and the queue are 1 and 0, the student's 0 and 1; temperatures 1 and 0.5."""
    student, teacher, queue = torch.tensor([0.0, 3.0]), torch.tensor([2.0, 0.0]), torch.tensor([[0.0, 1.0]])
    own = 1 / (1 + math.exp(-2))
    total = 1 + math.e
    expected = -(own * math.log(1 / total) + (1 - own) * math.log(math.e / total))
    loss = queue_similarity(student, teacher, queue, 1.0, 0.5)
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_it_is_seeds():
    """jacobswan1/SEED `seed/builder.py`: logits of the own embedding first, then of the queue; mean cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 8, dtype=torch.float64, generator=generator)
    queue = F.normalize(torch.randn(7, 8, dtype=torch.float64, generator=generator), dim=-1)
    ours, theirs = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    logits, goals = (
        torch.cat(
            [torch.einsum("vnc,vnc->vn", x, theirs)[..., None], torch.einsum("vnc,kc->vnk", x, queue)], -1
        )
        for x in (ours, theirs)
    )
    expected = F.cross_entropy(logits.flatten(0, 1) / 0.2, (goals / 0.01).softmax(-1).flatten(0, 1))
    torch.testing.assert_close(queue_similarity(student, teacher, queue, 0.2, 0.01).mean(), expected)


def test_the_teacher_gets_no_gradient():
    student, teacher = torch.randn(2, 4, 8).requires_grad_(), torch.randn(2, 4, 8).requires_grad_()
    queue_similarity(student, teacher, F.normalize(torch.randn(3, 8), dim=-1), 0.2, 0.1).mean().backward()
    assert student.grad is not None
    assert teacher.grad is None
