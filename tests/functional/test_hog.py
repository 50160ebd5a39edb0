"""Histograms of oriented gradients against SlowFast@287ec0076846 HOGLayerC and scikit-image 0.26."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sslkit.functional.hog import (
    Votes,
    central_votes,
    conventional_hog,
    draw_hog,
    glyphs,
    histograms,
    hog,
    sobel_votes,
)

VARIANTS = [hog, conventional_hog]


def test_noise_equals_the_reference(golden):
    arrays = golden("hog_target")
    found = hog(arrays["x_rand"].double())
    assert torch.allclose(found, arrays["hog_rand_g0_f64"], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("cell", "key"), [(8, "hog_rand_g0"), (4, "hog_rand_pool4")])
def test_noise_in_float32_equals_the_reference(golden, cell, key):
    arrays = golden("hog_target")
    found = hog(arrays["x_rand"], cell=cell)
    assert found.dtype == torch.float32
    assert torch.allclose(found, arrays[key], rtol=0, atol=1e-6)


def test_an_image_equals_the_reference_on_every_bin_edge(golden):
    """In float64 the gradients of 8-bit images are exact, so that no vote depends on the order of a sum.

    The reference stores this case with a Gaussian window on the votes, which belongs to no default.
    """
    arrays = golden("hog_target")
    votes = sobel_votes(arrays["image_norm"].double(), 9)
    window = arrays["gkern16"].double().repeat(14, 14)
    found = F.normalize(histograms(Votes(votes.weight * window, votes.bin), 9, 8), dim=-3)
    assert torch.allclose(found, arrays["hog_img_g16_f64"], rtol=0, atol=1e-12)


def test_an_image_in_float32_equals_the_reference_off_the_bin_edges(golden):
    arrays = golden("hog_target")
    off_edge = arrays["hog_img_robust"][:, :, None].expand(-1, -1, 9, -1, -1)
    found, expected = hog(arrays["image_norm"])[off_edge], arrays["hog_img_g0"][off_edge]
    assert torch.allclose(found, expected, rtol=0, atol=1e-4)


def test_the_conventional_variant_equals_the_stored_one_of_scikit_image(golden):
    arrays = golden("hog_target")
    found = conventional_hog(arrays["image_u8"][..., 0].double() / 255)
    assert torch.allclose(found.permute(1, 2, 0), arrays["skimage_ch0"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("bins", "cell"), [(9, 8), (6, 4), (2, 12)])
def test_the_conventional_variant_equals_scikit_image(bins, cell):
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    images = torch.rand(2, 24, 48, dtype=torch.float64)
    for image, found in zip(images, conventional_hog(images, bins, cell), strict=True):
        expected = feature.hog(
            image.numpy(), bins, (cell, cell), (1, 1), block_norm="L2", feature_vector=False
        )[:, :, 0, 0]
        assert torch.allclose(found.permute(1, 2, 0), torch.from_numpy(expected), rtol=0, atol=1e-6)


def looped(images, bins, cell):
    """The definition, pixel by pixel, for one channel."""
    height, width = images.shape
    padded = F.pad(images[None, None], (1, 1, 1, 1), mode="reflect")[0, 0].tolist()
    out = torch.zeros(bins, height // cell, width // cell, dtype=images.dtype)
    for i in range(height):
        for j in range(width):
            rows = [padded[i + k][j : j + 3] for k in range(3)]
            gx = sum(w * (row[0] - row[2]) for w, row in zip((1, 2, 1), rows, strict=True))
            gy = sum(w * (rows[0][k] - rows[2][k]) for k, w in enumerate((1, 2, 1)))
            vote = math.floor(math.atan2(gx, gy) / math.pi * bins) % bins
            out[vote, i // cell, j // cell] += math.hypot(gx, gy)
    return F.normalize(out, dim=0)


@given(bins=st.integers(2, 12), cell=st.integers(1, 4), rows=st.integers(1, 3), seed=st.integers(0, 99))
def test_hog_equals_the_loop(bins, cell, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2 * rows * cell, 4 * cell, dtype=torch.float64, generator=generator)
    assert torch.allclose(hog(image, bins, cell), looped(image, bins, cell), rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", VARIANTS)
def test_every_histogram_has_unit_length_and_leading_dimensions_are_free(function):
    images = torch.rand(2, 3, 4, 16, 24)
    found = function(images, 5, 8)
    assert found.shape == (2, 3, 4, 5, 2, 3)
    assert torch.allclose(found.square().sum(-3), torch.ones(2, 3, 4, 2, 3), atol=1e-3)
    assert torch.equal(found[1, 2, 3], function(images[1, 2, 3], 5, 8))


@pytest.mark.parametrize("function", VARIANTS)
def test_flat_images_are_zero_and_finite(function):
    assert torch.equal(function(torch.full((1, 16, 16), 3.5)), torch.zeros(1, 9, 2, 2))


@pytest.mark.parametrize("function", VARIANTS)
def test_brightness_and_contrast_leave_no_trace(function):
    image = torch.rand(16, 16, dtype=torch.float64)
    assert torch.allclose(function(image), function(7 * image + 2), atol=1e-4)


@pytest.mark.parametrize("function", VARIANTS)
def test_half_precision_is_left(function):
    assert function(torch.rand(1, 16, 16, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(("votes", "vertical"), [(sobel_votes, 4), (central_votes, 0)])
def test_angles_start_at_the_axis_of_the_variant(votes, vertical):
    """A ramp to the right has a horizontal gradient: 90 degrees from SlowFast's axis, 0 from scikit-image's."""
    right = torch.arange(8.0).expand(8, 8)
    inner = (slice(1, -1), slice(1, -1))
    assert (votes(right, 9).bin[inner] == vertical).all()
    assert (votes(right.T.contiguous(), 9).bin[inner] == 4 - vertical).all()


@pytest.mark.parametrize("function", VARIANTS)
def test_compiles_without_a_graph_break(function):
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(compiled(images), function(images))


@pytest.mark.parametrize(("function", "swapped"), [(hog, True), (conventional_hog, False)])
def test_glyphs_run_along_edges(function, swapped):
    """Of a vertical edge the drawing is a vertical line, and of its transpose a horizontal one."""
    edge = (torch.arange(9) > 4).float().expand(9, 9)
    lines = glyphs(8, 9, swapped=swapped)
    upright = draw_hog(function(edge, 8, 9), lines)
    flat = draw_hog(function(edge.T.contiguous(), 8, 9), lines)
    assert upright.shape == (9, 9)
    assert upright.sum(0).argmax() == 4
    assert flat.sum(1).argmax() == 4
    assert upright[:, 3:6].sum() > 2 * upright[3:6].sum()
    assert flat[3:6].sum() > 2 * flat[:, 3:6].sum()


def test_drawings_keep_each_cell_to_its_place():
    lines, values = glyphs(4, 5, swapped=True), torch.zeros(2, 4, 2, 3)
    values[1, 2, 0, 1] = 1.0
    values[0, :, 1, 2] = -1.0  # predictions may be negative, lines may not
    drawn = draw_hog(values, lines)
    assert drawn.shape == (2, 10, 15)
    assert torch.equal(drawn[1, :5, 5:10], lines[2])
    assert drawn[1].sum().item() == pytest.approx(lines[2].sum().item())
    assert drawn[0].sum() == 0
    assert 0 <= lines.min() < lines.max() <= 1
