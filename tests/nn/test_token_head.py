"""Heads on tokens; parity with SimMIM's is in tests/plugins/objectives/masked/test_simmim.py."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.masker import mask_of
from sslkit.core.passes import Tokens
from sslkit.nn.token_head import TokenHead


def tokens(patch):
    return Tokens(torch.zeros(1), torch.full((2, 3, 8), torch.nan), patch, None, ())


def test_every_patch_token_is_mapped_alone_and_the_class_token_is_not_read():
    head, patch = TokenHead(8, 5), torch.randn(2, 3, 7, 8)
    found = head(tokens(patch))
    assert found.shape == (2, 3, 7, 5)
    expected = patch @ head.linear.weight.T + head.linear.bias
    assert torch.allclose(found, expected, atol=1e-6)


def test_of_a_mask_only_the_hidden_patches_are_predicted():
    torch.manual_seed(0)
    head, seen = TokenHead(8, 5), tokens(torch.randn(2, 3, 7, 8))
    mask = mask_of(torch.rand(2, 3, 7) < 0.5, None, 7)
    found = head(seen, mask)
    assert found.shape == (2 * 3 * 7, 5)
    assert torch.allclose(found, mask.pick(head(seen)), atol=1e-6)


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_a_given_deviation_sets_the_weights_and_clears_the_biases(std):
    linear = TokenHead(300, 200, std).linear
    assert linear.weight.std().item() == pytest.approx(std, rel=0.02)
    assert linear.weight.abs().max() <= 2
    assert not linear.bias.any()


def test_without_one_torch_decides():
    """A linear layer starts as a 1 x 1 convolution does: uniform to 1 / sqrt(inputs)."""
    linear = TokenHead(64, 500).linear
    for values in (linear.weight, linear.bias):
        assert 0.9 / 8 < values.abs().max() <= 1 / 8
