"""Rows of cached tokens: whatever a net answers comes back as it was, in its types and places."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from sslkit.core.passes import Encode, Tokens
from sslkit.data.loaders import Batch
from sslkit.train.step.cached_tokens import CachedTokens, looked, packing_of, tensors_of

RUN = Encode("a", net="teacher", layers=(0,), attention=True)
"""Two crops of six images."""
IMAGES = {"a": torch.zeros(2, 3, 1, 4, 4)}


def tokens_of(images, kind=torch.float32):
    torch.manual_seed(0)
    cls, patch, layer = (torch.randn(2, images, *shape, dtype=kind) for shape in ((5,), (4, 5), (5, 5)))
    return Tokens(torch.zeros(2, images, 1, 4, 4), cls, patch, None, (layer,), torch.rand(2, images, 2, 4))


def stored(path, tokens, cache="exact"):
    tensors = tensors_of(tokens)
    packing = packing_of(tensors, cache)
    np.save(path, packing.packed(tensors).numpy())
    return CachedTokens(path, packing, tokens.cls.shape[1])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_exact_rows_give_back_every_bit(tmp_path, kind):
    tokens = tokens_of(6, kind)
    cached = stored(tmp_path / "x.npy", tokens)
    assert cached.packing.width == 2 * (5 + 20 + 25 + 8)
    assert cached.packing.numpy_type == ("float64" if kind == torch.float64 else "float32")
    chosen = torch.tensor([4, 0, 4])
    answer = cached.answer(RUN, Batch(IMAGES, torch.arange(3), chosen))
    assert answer.image is IMAGES["a"]
    for before, after in zip(tensors_of(tokens), tensors_of(answer), strict=True):
        assert after.dtype == before.dtype
        assert torch.equal(after, before[:, chosen])


def test_float16_rounds(tmp_path):
    tokens = tokens_of(6)
    cached = stored(tmp_path / "x.npy", tokens, "float16")
    answer = cached.answer(RUN, Batch(IMAGES, torch.arange(3), torch.arange(3)))
    assert answer.cls.dtype == torch.float32
    assert torch.equal(answer.cls, tokens.cls[:, :3].half().float())


def test_answers_stand_where_their_passes_do(tmp_path):
    runs = [Encode("a"), RUN, Encode("a", net="other")]
    asked = []

    def look(images, without):
        asked.append(without)
        return [t for i, t in enumerate(("first", "second", "third")) if i not in without]

    batch = Batch(IMAGES, torch.arange(3), torch.arange(3))
    cached = stored(tmp_path / "x.npy", tokens_of(6))
    one, two, three = looked(look, runs, batch, {1: cached})
    assert (one, three, asked) == ("first", "third", [(1,)])
    assert two.cls.shape == (2, 3, 5)
    assert looked(look, runs, batch, {}) == ["first", "second", "third"]
    assert len(looked(look, [RUN], batch, {0: cached})) == 1
    assert asked == [(1,), ()], "no net runs where all is there"


def test_a_file_of_other_rows_is_damaged(tmp_path):
    cached = stored(tmp_path / "x.npy", tokens_of(6))
    with pytest.raises(ValueError, match="is damaged"):
        CachedTokens(cached.path, cached.packing, 7)
    with pytest.raises(FileNotFoundError):
        CachedTokens(tmp_path / "y.npy", cached.packing, 6)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_not_opened(tmp_path):
    cached = stored(tmp_path / "x.npy", tokens_of(6))
    os.mkfifo(tmp_path / "pipe.npy")
    for other in (tmp_path / "pipe.npy", tmp_path):
        with pytest.raises(ValueError, match="is no regular file"):
            CachedTokens(other, cached.packing, 6)
