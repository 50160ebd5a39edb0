"""Colors of codes."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.view import Grid
from sslkit.nn.token_colors import code_colors, fixed_colors, token_image


@pytest.mark.parametrize(("dim", "channels"), [(8, 3), (2, 3), (8, 1), (1, 3)])
def test_colors_fill_the_range_and_missing_components_are_gray(dim, channels):
    colors = code_colors(torch.randn(50, dim), channels)
    assert colors.shape == (50, channels)
    for channel in range(channels):
        values = colors[:, channel].sort().values
        even = torch.linspace(0, 1, 50) if channel < dim else torch.full((50,), 0.5)
        assert torch.allclose(values, even, atol=1e-6)


def test_codes_alike_have_colors_alike():
    line = torch.linspace(-1, 1, 20)[:, None] * torch.tensor([3.0, 1.0])
    ranks = (code_colors(line, 1)[:, 0] * 19).round()
    assert ranks.tolist() in (list(range(20)), list(range(19, -1, -1)))


def test_fixed_colors_depend_on_nothing():
    torch.manual_seed(1)
    one = fixed_colors(30, 3)
    torch.manual_seed(2)
    assert torch.equal(one, fixed_colors(30, 3))
    assert len(one.unique(dim=0)) == 30


def test_images_show_rows_then_columns():
    image = token_image(
        torch.tensor([[[0, 1, 2, 1, 0, 0]]]), torch.tensor([[0.0], [0.5], [1.0]]), Grid(2, 3, 2)
    )
    rows = [[0, 0, 0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0, 0, 0]]
    assert image[0, 0, 0].tolist() == [rows[0], rows[0], rows[1], rows[1]]
