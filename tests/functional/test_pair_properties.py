"""What holds of the losses of pairs and of ALBEF's terms, whatever the embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit.functional.albef_terms import (
    IGNORED,
    draw_negatives,
    itc,
    itm,
    mlm,
    negative_weights,
)
from sslkit.functional.info_nce import unit
from sslkit.functional.pair_losses import clip, siglip
from sslkit.functional.token_masking import mask_tokens

SEEDS = st.integers(0, 2**31)
COUNTS = st.integers(2, 9)
SCALES = st.floats(0.1, 100)
LOSSES = {
    "clip": lambda first, second, scale: clip(first, second, scale),
    "siglip": lambda first, second, scale: siglip(first, second, scale, -scale, chunk=3),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def pairs(seed, count, width=4):
    generator = torch.Generator().manual_seed(seed)
    return unit(torch.randn(2, count, width, dtype=torch.float64, generator=generator)).unbind()


@each_loss
@given(seed=SEEDS, count=COUNTS, scale=SCALES)
@settings(max_examples=25)
def test_the_order_of_pairs_is_nothing(name, seed, count, scale):
    first, second = pairs(seed, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    loss = LOSSES[name]
    torch.testing.assert_close(loss(first[order], second[order], scale), loss(first, second, scale))


@each_loss
@given(seed=SEEDS, count=COUNTS, scale=SCALES)
@settings(max_examples=25)
def test_neither_side_is_the_first(name, seed, count, scale):
    first, second = pairs(seed, count)
    torch.testing.assert_close(LOSSES[name](first, second, scale), LOSSES[name](second, first, scale))


@each_loss
@given(seed=SEEDS, count=COUNTS)
@settings(max_examples=25)
def test_a_rotation_of_both_sides_is_nothing(name, seed, count):
    first, second = pairs(seed, count)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=generator))[0]
    loss = LOSSES[name]
    torch.testing.assert_close(loss(first @ rotation, second @ rotation, 10.0), loss(first, second, 10.0))


@each_loss
@given(count=st.integers(2, 4))
@settings(max_examples=3)
def test_true_partners_cost_less_than_exchanged_ones(name, count):
    first = torch.eye(4, dtype=torch.float64)[:count]
    loss = LOSSES[name]
    assert loss(first, first, 10.0) < loss(first, first.roll(1, 0), 10.0)


@each_loss
@given(seed=SEEDS, count=COUNTS)
@settings(max_examples=25)
def test_losses_are_above_zero_and_finite(name, seed, count):
    first, second = pairs(seed, count)
    for scale in (0.01, 1.0, 1e4):
        loss = LOSSES[name](first, second, scale)
        assert loss.isfinite()
        assert loss >= 0


@given(seed=SEEDS, count=COUNTS, chunk=st.integers(1, 12))
@settings(max_examples=40)
def test_the_chunk_changes_no_loss_and_no_gradient(seed, count, chunk):
    results = []
    for size in (chunk, 256):
        first, second = (side.clone().requires_grad_() for side in pairs(seed, count))
        loss = siglip(first, second, 10.0, -5.0, chunk=size)
        results.append((loss.detach(), *torch.autograd.grad(loss, (first, second))))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@given(seed=SEEDS, count=COUNTS)
@settings(max_examples=25)
def test_a_very_low_bias_leaves_the_pairs_alone(seed, count):
    """Every pair that does not belong together is sure; every one that does costs scale * cosine + bias."""
    first, second = pairs(seed, count)
    loss = siglip(first, second, 1.0, -60.0)
    assert loss.item() == pytest.approx(60 - (first * second).sum(1).mean().item(), rel=1e-9)


@given(seed=SEEDS, count=st.integers(3, 9), alpha=st.floats(0, 1))
@settings(max_examples=25)
def test_soft_targets_mix_two_losses(seed, count, alpha):
    queries, candidates = pairs(seed, count)
    teacher = pairs(seed + 1, count)[0]
    hard, soft, mixed = (itc(queries, candidates, teacher, 0.1, share) for share in (0.0, 1.0, alpha))
    torch.testing.assert_close(mixed, (1 - alpha) * hard + alpha * soft)


@given(seed=SEEDS, count=st.integers(2, 9))
@settings(max_examples=25)
def test_a_queue_makes_the_contrast_harder(seed, count):
    queries, candidates = pairs(seed, count)
    queue = pairs(seed + 1, 7)[0]
    alone = itc(queries, candidates, queries, 0.1, 0.0)
    assert itc(queries, torch.cat([candidates, queue]), queries, 0.1, 0.0) > alone
    moved = itc(queries, torch.cat([queue, candidates]), queries, 0.1, 0.0, first=7)
    torch.testing.assert_close(moved, itc(queries, torch.cat([candidates, queue]), queries, 0.1, 0.0))


@given(seed=SEEDS, count=st.integers(2, 9))
@settings(max_examples=25)
def test_targets_get_no_gradient(seed, count):
    queries, candidates = pairs(seed, count)
    teacher = pairs(seed + 1, count)[0].requires_grad_()
    queries.requires_grad_()
    itc(queries, candidates, teacher, 0.1, 0.5).backward()
    assert teacher.grad is None
    assert queries.grad.abs().max() > 0


@given(seed=SEEDS, count=st.integers(2, 9), scale=st.sampled_from([0.0, 1.0, 100.0, 1e4]))
@settings(max_examples=40)
def test_weights_of_negatives_are_chances_of_others(seed, count, scale):
    generator = torch.Generator().manual_seed(seed)
    similarities = torch.randn(count, count, generator=generator) * scale
    weights = negative_weights(similarities)
    assert not weights.diagonal().any()
    assert (weights.sum(1) > 0).all()
    assert (weights >= 0).all()
    draws = torch.rand(count, generator=generator)
    columns = draw_negatives(weights, draws)
    assert (weights.gather(1, columns[:, None]) > 0).all()
    assert torch.equal(columns, draw_negatives(3 * weights, draws)), "of any sum"


@given(seed=SEEDS)
@settings(max_examples=25)
def test_matching_is_least_where_all_are_sure(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 2, generator=generator)
    right = torch.tensor([[-1.0, 1.0]] * 3 + [[1.0, -1.0]] * 6)
    assert itm(30 * right) < 1e-9 < itm(logits) < itm(-30 * right)


@given(seed=SEEDS, share=st.floats(0.05, 0.95))
@settings(max_examples=25)
def test_words_that_are_not_asked_for_do_not_count(seed, share):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 6, 11, generator=generator, dtype=torch.float64)
    words = torch.randint(0, 11, (3, 6), generator=generator)
    asked = torch.rand(3, 6, generator=generator) < share
    labels = words.where(asked, IGNORED)
    changed = logits.where(asked[..., None], 100 * logits)
    torch.testing.assert_close(mlm(changed, labels), mlm(logits, labels))
    each = -logits.log_softmax(-1).gather(-1, words[..., None])[..., 0]
    expected = each[asked].mean() if asked.any() else each.new_zeros(())
    torch.testing.assert_close(mlm(logits, labels), expected)


def test_a_guess_of_a_word_costs_the_logarithm_of_the_vocabulary():
    labels = torch.tensor([3, IGNORED, 0])
    flat = torch.zeros(3, 50)
    assert mlm(flat, labels).item() == pytest.approx(math.log(50))
    assert mlm(flat, labels, flat, 0.4).item() == pytest.approx(math.log(50))


@given(seed=SEEDS, probability=st.floats(0, 1), masked=st.floats(0, 1))
@settings(max_examples=40)
def test_masking_tells_what_stood_where_something_was_hidden(seed, probability, masked):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 20, (5, 7), generator=generator)
    exempt = torch.rand(5, 7, generator=generator) < 0.3
    draws = torch.rand(3, 5, 7, generator=generator)
    words = torch.randint(0, 20, (5, 7), generator=generator)
    hidden = mask_tokens(
        tokens, exempt, 3, draws, words, probability=probability, masked=masked, random=(1 - masked) / 2
    )
    asked = hidden.labels != IGNORED
    assert not (asked & exempt).any()
    assert torch.equal(hidden.inputs.where(~asked, tokens), tokens)
    assert torch.equal(hidden.labels[asked], tokens[asked])
    possible = (hidden.inputs == 3) | (hidden.inputs == words) | (hidden.inputs == tokens)
    assert possible.all()


@given(seed=SEEDS, less=st.floats(0, 0.5), more=st.floats(0.5, 1))
@settings(max_examples=25)
def test_a_higher_share_hides_what_a_lower_one_does(seed, less, more):
    """Of the same draws, so that a schedule of the share is a growing set."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 20, (5, 7), generator=generator)
    nothing = torch.zeros(5, 7, dtype=torch.bool)
    draws = torch.rand(3, 5, 7, generator=generator)
    few, many = (
        mask_tokens(tokens, nothing, 3, draws, tokens, probability=share).labels != IGNORED
        for share in (less, more)
    )
    assert not (few & ~many).any()
