"""Masks of exact counts from scores."""

from __future__ import annotations

import torch

from sslkit.core.random_stream import Draw
from sslkit_maskers.guided.ranking import hide_highest, ranks

MANY = torch.arange(6000)


def test_ranks_fall_with_scores_and_then_with_noise() -> None:
    scores = torch.tensor([[0.5, 2.0, 0.5, -torch.inf, 0.5]])
    noise = torch.tensor([[0.1, 0.0, 0.9, 1.0, 0.4]])
    assert ranks(scores, noise).tolist() == [[3, 0, 1, 4, 2]]


def test_the_highest_are_hidden_and_the_rest_is_uniform() -> None:
    scores = torch.tensor([3.0, 9.0, 1.0, 2.0, 8.0, 0.0]).expand(6000, 6)
    hidden = hide_highest(Draw(1, MANY), scores, guided=2, most=4)
    assert (hidden.sum(-1) == 4).all()
    assert hidden[:, [1, 4]].all()
    rest = hidden[:, [0, 2, 3, 5]].float().mean(0)
    assert torch.allclose(rest, torch.full((4,), 0.5), atol=0.03)


def test_equal_scores_give_uniform_masks() -> None:
    hidden = hide_highest(Draw(2, MANY), torch.zeros(6000, 5), guided=2, most=3)
    assert torch.allclose(hidden.float().mean(0), torch.full((5,), 0.6), atol=0.03)
    pairs = hidden[:, 0] & hidden[:, 1]
    assert abs(pairs.float().mean() - 0.3) < 0.03, "3 of 5 without replacement"


def test_the_last_of_equal_scores_is_chosen_at_random() -> None:
    scores = torch.tensor([1.0, 1.0, 1.0, 5.0]).expand(6000, 4)
    hidden = hide_highest(Draw(3, MANY), scores, guided=2, most=2)
    assert hidden[:, 3].all()
    assert torch.allclose(hidden[:, :3].float().mean(0), torch.full((3,), 1 / 3), atol=0.03)


def test_what_is_to_be_shown_stays_visible_also_where_the_mask_is_random() -> None:
    scores = torch.arange(6.0).expand(6000, 6)
    shown = torch.tensor([False, False, False, False, True, True]).expand(6000, 6)
    for guided in (0, 2, 4):
        hidden = hide_highest(Draw(4, MANY), scores, guided, most=4, shown=shown)
        assert torch.equal(hidden, ~shown)
    some = hide_highest(Draw(5, MANY), scores, guided=1, most=2, shown=shown)
    assert some[:, 3].all()
    assert torch.allclose(some[:, :3].float().mean(0), torch.full((3,), 1 / 3), atol=0.03)
