"""Statistics of attention against probing-vits, scipy and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from sslkit.functional.attention_statistics import (
    attention_distance,
    attention_entropy,
    head_distances,
    mean_to_others,
    patch_distances,
)


def attention(*shape, seed=0, sharp=2.0):
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (sharp * scores).softmax(-1)


def test_entropy_is_scipys(golden):
    """scipy.stats.entropy of every row, keys with the class token: the mean over queries, and the class token's."""
    arrays = golden("attention_stats")
    found = attention_entropy(arrays["attention"])
    torch.testing.assert_close(found.mean(-1), arrays["entropy_mean"], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[..., 0], arrays["entropy_cls"], rtol=0, atol=1e-10)


def test_distance_is_that_of_probing_vits(golden):
    """sayakpaul/probing-vits@b1b08d36d052:notebooks/mean-attention-distance-1k.ipynb, patches of 16 pixels."""
    arrays = golden("attention_stats")
    pixels = 16 * patch_distances(7, 7)
    torch.testing.assert_close(pixels, arrays["distance_matrix"], rtol=0, atol=1e-10)
    plain = attention_distance(arrays["attention"], pixels, prefix=1, renormalize=False)
    torch.testing.assert_close(plain, arrays["mean_distance_noren"], rtol=0, atol=1e-10)
    found = attention_distance(arrays["attention"], pixels, prefix=1)
    torch.testing.assert_close(found, arrays["mean_distance_renorm"], rtol=0, atol=1e-10)


def test_entropy_at_its_ends():
    uniform = torch.full((1, 1, 2, 8), 1 / 8)
    torch.testing.assert_close(attention_entropy(uniform), torch.full((1, 1, 2), math.log(8)))
    single = torch.eye(8)[None, None]
    assert (attention_entropy(single) == 0).all()


def test_patches_are_numbered_by_rows():
    found = patch_distances(2, 3)
    assert found.shape == (6, 6)
    assert found[0].tolist() == pytest.approx([0, 1, 2, 1, 2**0.5, 5**0.5])
    assert torch.equal(found, found.T)
    assert patch_distances(1, 1).tolist() == [[0]]


def test_a_head_that_looks_at_its_own_patch_looks_nowhere_else():
    distances = patch_distances(3, 3)
    assert attention_distance(torch.eye(11)[None, None], distances, prefix=2) == 0
    right = torch.zeros(1, 1, 10, 10)  # each patch at its neighbor to the right, the last of a row at itself
    for patch in range(9):
        right[0, 0, patch + 1, patch + 1 + (patch % 3 < 2)] = 1
    right[0, 0, 0, 0] = 1
    assert attention_distance(right, distances, prefix=1).item() == pytest.approx(2 / 3)


def test_distance_of_uniform_attention_is_the_mean_distance():
    distances = patch_distances(4, 5)
    uniform = torch.full((2, 3, 21, 21), 1 / 21, dtype=torch.float64)
    expected = torch.full((2, 3), distances.mean().item(), dtype=torch.float64)
    torch.testing.assert_close(attention_distance(uniform, distances, prefix=1), expected)
    without = attention_distance(uniform, distances, prefix=1, renormalize=False)
    torch.testing.assert_close(without, expected * 20 / 21)


def test_what_goes_to_the_class_token_changes_no_distance():
    distances, patches = patch_distances(3, 3), attention(1, 2, 9, 9)
    share = torch.rand(1, 2, 9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = torch.cat([1 - share, share * patches], dim=-1)
    front = torch.full((1, 2, 1, 10), 0.1, dtype=torch.float64)
    with_class = torch.cat([front, rows], dim=-2)
    torch.testing.assert_close(
        attention_distance(with_class, distances, prefix=1), attention_distance(patches, distances, prefix=0)
    )


def test_a_row_with_nothing_on_patches_counts_as_zero():
    blind = torch.zeros(1, 1, 5, 5)
    blind[..., 0] = 1
    found = attention_distance(blind, patch_distances(2, 2), prefix=1)
    assert found.item() == 0


def test_divergence_is_scipys():
    """scipy's is the root of it."""
    maps = attention(2, 3, 4, 6)
    found = head_distances(maps).jensen_shannon
    for image in range(2):
        for a in range(3):
            for b in range(3):
                rows = jensenshannon(maps[image, a].numpy(), maps[image, b].numpy(), axis=1) ** 2
                assert found[image, a, b].item() == pytest.approx(rows.mean(), abs=1e-12)


def test_cosine_is_that_of_the_rows():
    maps = attention(2, 3, 4, 6)
    expected = 1 - torch.cosine_similarity(maps[:, :, None], maps[:, None], dim=-1).mean(-1)
    torch.testing.assert_close(head_distances(maps).cosine, expected, rtol=0, atol=1e-12)


def test_heads_with_no_key_in_common_are_farthest():
    maps = torch.zeros(1, 2, 3, 4)
    maps[0, 0, :, :2] = maps[0, 1, :, 2:] = 0.5
    found = head_distances(maps)
    assert found.jensen_shannon[0, 0, 1].item() == pytest.approx(math.log(2))
    assert found.cosine[0, 0, 1].item() == pytest.approx(1)


def test_alike_heads_are_at_zero_and_none_is_far_from_itself():
    maps = attention(1, 1, 5, 5).float().expand(2, 3, 5, 5)
    for pairs in head_distances(maps):
        assert pairs.shape == (2, 3, 3)
        torch.testing.assert_close(pairs, torch.zeros(2, 3, 3), rtol=0, atol=1e-6)
        assert (pairs.diagonal(dim1=1, dim2=2) == 0).all()
        assert (pairs >= 0).all()


def test_mean_to_others_leaves_the_head_itself_out():
    pairs = torch.tensor([[[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]])
    assert mean_to_others(pairs).tolist() == [[2.0, 1.5, 2.5]]
    assert mean_to_others(torch.zeros(2, 1, 1)).tolist() == [[0.0], [0.0]]


def test_one_head_has_no_pairs():
    for pairs in head_distances(attention(2, 1, 4, 4)):
        assert torch.equal(pairs, torch.zeros(2, 1, 1, dtype=torch.float64))


@given(seed=st.integers(0, 10**6), heads=st.integers(1, 4), side=st.integers(1, 3), prefix=st.integers(0, 2))
def test_bounds_and_the_order_of_heads_and_images(seed, heads, side, prefix):
    tokens = prefix + side * side
    maps = attention(2, heads, tokens, tokens, seed=seed, sharp=5)
    generator = torch.Generator().manual_seed(seed)
    order, swap = torch.randperm(heads, generator=generator), torch.tensor([1, 0])
    distances = patch_distances(side, side)
    entropy, far = attention_entropy(maps), attention_distance(maps, distances, prefix)
    assert (entropy >= 0).all()
    assert (entropy <= math.log(tokens) + 1e-12).all()
    assert (far >= 0).all()
    assert (far <= distances.max() + 1e-12).all()
    pairs, mixed = head_distances(maps), head_distances(maps[swap][:, order])
    for one, other, most in zip(pairs, mixed, (1, math.log(2)), strict=True):
        assert (one <= most + 1e-12).all()
        torch.testing.assert_close(other, one[swap][:, order][:, :, order], rtol=0, atol=1e-12)
        torch.testing.assert_close(one, one.mT, rtol=0, atol=0)
    torch.testing.assert_close(
        attention_distance(maps[swap][:, order], distances, prefix), far[swap][:, order]
    )


@given(seed=st.integers(0, 10**6))
def test_renaming_the_keys_changes_neither_entropy_nor_distances_of_heads(seed):
    maps = attention(1, 3, 4, 7, seed=seed)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(attention_entropy(maps[..., order]), attention_entropy(maps))
    for one, other in zip(head_distances(maps), head_distances(maps[..., order]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
