"""Linear segmentation heads against torch's own layers, and their training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit_evaluators.concepts.feature_bank import Bank, read_masks
from sslkit_evaluators.segmentation import segmentation_heads as module
from sslkit_evaluators.segmentation.segmentation_heads import (
    Head,
    Recipe,
    predict,
    token_statistics,
    train_heads,
)
from tests.plugins.evaluators.scene_subjects import PATCH, SIDE, scenes

RECIPE = Recipe((1e-3, 1e-2), 1e-2, 12, 8)


@pytest.fixture
def parts():
    """Bank and masks of 20 scenes."""
    subject = scenes(train=20)
    bank = Bank(subject, "train", -1, 1e9)
    return bank, read_masks(subject.source("train"), bank.indices, subject)


def test_the_standardization_is_a_batch_norm_without_affine_parameters(parts):
    """`nn.BatchNorm2d(affine=False)` with the statistics of all tokens, in evaluation mode."""
    bank, _ = parts
    norm = nn.BatchNorm2d(3, affine=False, momentum=None).train()
    maps = bank(torch.arange(20)).mT.unflatten(2, (8, 8))
    expected = norm(maps)
    mean, scale = token_statistics(bank, torch.arange(20))
    found = (bank(torch.arange(20)) - mean) / scale
    torch.testing.assert_close(found.mT.unflatten(2, (8, 8)), expected, rtol=1e-4, atol=1e-5)


def test_the_head_is_a_convolution_and_a_bilinear_enlargement():
    """`nn.Conv2d(D, C, 1)` and `F.interpolate(bilinear, align_corners=False)`, as in mmsegmentation's `resize`."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 12, 5, generator=generator)
    head = Head(torch.randn(5), torch.rand(5) + 0.5, torch.randn(5, 4), torch.randn(4))
    convolution = nn.Conv2d(5, 4, 1)
    with torch.no_grad():
        convolution.weight.copy_(head.weight.T[:, :, None, None])
        convolution.bias.copy_(head.bias)
        maps = ((tokens - head.mean) / head.scale).mT.unflatten(2, (3, 4))
        expected = F.interpolate(convolution(maps), (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head.logits(tokens, 3, 16), expected, rtol=1e-4, atol=1e-5)


def test_training_equals_that_of_torch_layers(parts):
    """Batch norm, 1 x 1 convolution, cross-entropy that leaves 255 out, AdamW with a rate that falls linearly."""
    bank, masks = parts
    masks = masks.clone()
    masks[:, :3] = 255
    chosen = torch.arange(20)
    found = train_heads(bank, masks, chosen, 3, RECIPE, 5)
    generator = torch.Generator().manual_seed(5)
    mean, scale = token_statistics(bank, chosen)
    start = torch.randn(3, 3, generator=generator) * 0.01
    convolution = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        convolution.weight.copy_(start.T[:, :, None, None])
        convolution.bias.zero_()
    optimizer = torch.optim.AdamW(convolution.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=12, power=1.0)
    order = torch.cat([chosen[torch.randperm(20, generator=generator)][:16] for _ in range(6)])
    for rows in order.view(-1, 8):
        maps = ((bank(rows) - mean) / scale).mT.unflatten(2, (8, 8))
        logits = F.interpolate(convolution(maps), (SIDE, SIDE), mode="bilinear", align_corners=False)
        optimizer.zero_grad()
        F.cross_entropy(logits, masks[rows].long(), ignore_index=255).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(found[1].weight.T, convolution.weight[:, :, 0, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1].bias, convolution.bias, rtol=1e-4, atol=1e-5)
    assert not found[1].weight.requires_grad


def test_rates_do_not_know_each_other(parts):
    bank, masks = parts
    chosen = torch.arange(20)
    both = train_heads(bank, masks, chosen, 3, RECIPE, 0)
    alone = train_heads(bank, masks, chosen, 3, RECIPE._replace(learning_rates=(1e-2,)), 0)
    assert torch.equal(both[1].weight, alone[0].weight)
    assert not torch.equal(both[0].weight, both[1].weight)


def test_parts_change_nothing(parts, monkeypatch):
    bank, masks = parts
    chosen = torch.arange(20)
    whole = train_heads(bank, masks, chosen, 3, RECIPE, 0)
    seen = torch.cat([guess for _, guess in predict(whole[1], bank, chosen)])
    monkeypatch.setattr(module, "AT_ONCE", 3 * 3 * SIDE * SIDE)
    cut = train_heads(bank, masks, chosen, 3, RECIPE, 0)
    torch.testing.assert_close(cut[1].weight, whole[1].weight, rtol=1e-4, atol=1e-5)
    pieces = list(predict(whole[1], bank, chosen))
    assert [len(rows) for rows, _ in pieces] == [3] * 6 + [2]
    assert torch.equal(torch.cat([guess for _, guess in pieces]), seen)


def test_untold_pixels_teach_nothing(parts):
    """Without a told pixel there is no gradient, and AdamW without decay leaves the weights."""
    bank, masks = parts
    recipe, nothing = RECIPE._replace(weight_decay=0.0), torch.full_like(masks, 255)
    found = train_heads(bank, nothing, torch.arange(20), 3, recipe, 0)
    start = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)) * 0.01
    for head in found:
        torch.testing.assert_close(head.weight, start)
        assert int(head.bias.count_nonzero()) == 0


def test_only_chosen_images_are_learnt_from(parts):
    bank, masks = parts
    chosen = torch.arange(10)
    spoiled = masks.clone()
    spoiled[10:] = 1
    first, second = (train_heads(bank, m, chosen, 3, RECIPE, 0) for m in (masks, spoiled))
    assert torch.equal(first[0].weight, second[0].weight)


def test_fewer_images_than_a_batch_are_one_batch(parts):
    bank, masks = parts
    found = train_heads(bank, masks, torch.arange(3), 3, RECIPE, 0)
    assert all(bool(head.weight.isfinite().all()) for head in found)
    assert PATCH * bank.grid.rows == SIDE
