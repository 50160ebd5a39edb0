"""Meters of collapse."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.feature_std import feature_std


def test_spread_features_are_near_one_whatever_the_width_and_length():
    for width in (16, 256):
        features = torch.randn(4096, width) * 10
        assert feature_std(features).item() == pytest.approx(1, rel=0.02)


def test_alike_features_are_near_zero():
    features = torch.randn(64) + 1e-4 * torch.randn(128, 64)
    assert feature_std(features) < 1e-3
    assert feature_std(features[:1]) == 0


def test_it_is_that_of_simsiam():
    """SimSiam, section 4.1: the deviation per channel of z / |z|, mean over channels; here times sqrt(D)."""
    z = torch.randn(32, 8, dtype=torch.float64) + 1
    unit = z / z.norm(dim=1, keepdim=True)
    deviations = [((unit[:, c] - unit[:, c].mean()) ** 2).mean() ** 0.5 for c in range(8)]
    assert feature_std(z).item() == pytest.approx(sum(deviations).item() / 8 * 8**0.5, rel=1e-12)


def test_crops_count_on_their_own():
    """Two collapsed crops that lie apart are collapsed."""
    crops = torch.stack([torch.ones(16, 4), torch.tensor([1.0, 0, 0, 0]).expand(16, 4)])
    assert feature_std(crops) < 1e-6
    assert feature_std(crops.flatten(0, 1)) > 0.3


def test_it_has_no_gradient_and_is_wide():
    features = torch.randn(8, 4, dtype=torch.bfloat16, requires_grad=True)
    found = feature_std(features)
    assert found.dtype == torch.float32
    assert not found.requires_grad
