"""Pixels of all types that sources give, as floats in [0, 1] and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.core.augment import to_float, to_uint8

ENDS = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (-32768, 32767)}


@pytest.mark.parametrize("dtype", ENDS)
def test_the_whole_range_of_integers_becomes_0_to_1(dtype):
    low, high = ENDS[dtype]
    every = torch.from_numpy(np.arange(low, high + 1, dtype=dtype))
    floats = to_float(every)
    assert floats.dtype == torch.float32
    assert (floats[0], floats[-1]) == (0, 1)
    assert bool((floats.diff() > 0).all()), "no two values become one"
    exact = (np.arange(low, high + 1, dtype=np.float64) - low) / (high - low)
    np.testing.assert_allclose(floats.numpy(), exact, rtol=1e-7)


def test_bytes_are_divided_as_ever():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(every), every.to(torch.float32) / 255)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_floats_are_left_alone_and_nothing_is_changed_in_place():
    floats = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_float(floats), floats)
    signed = torch.tensor([-5, 7], dtype=torch.int16)
    to_float(signed)
    assert signed.tolist() == [-5, 7]
