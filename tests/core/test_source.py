"""What a source may give: four types, as many channels as it says, floats between 0 and 1."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.core.source import SLACK, TYPES, Source, pixel_problem, pixels
from sslkit.errors import DataError, PluginError

INTEGERS = sorted((t for t in TYPES if not t.is_floating_point), key=str)
OTHERS = [torch.bool, torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float64]


class Bare(Source):
    """The least that a source has."""

    channels, labels, classes = 1, None, ()

    def __len__(self):
        return 2

    def load(self, index):
        return torch.zeros(1, 2, 2, dtype=torch.uint8)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_whole_numbers_may_use_their_whole_range(dtype):
    ends = torch.iinfo(dtype)
    images = torch.tensor([ends.min, ends.max], dtype=torch.int64).to(dtype).reshape(1, 1, 2)
    assert pixel_problem(images, 1) == ""
    assert pixels(images, 1) is images


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_other_types_are_refused_with_what_brings_them_here(dtype):
    with pytest.raises(DataError, match=r"uint8, uint16, int16 or float32 .* but this is torch\.") as error:
        pixels(torch.zeros(3, 4, 5, dtype=dtype), 3)
    assert str(dtype) in str(error.value)
    assert "`to_pixels` of sslkit.interfaces brings other arrays to these" in str(error.value)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (2, 1, 4, 5)])
def test_other_shapes_are_told_without_advice_on_types(shape):
    problem = pixel_problem(torch.zeros(shape, dtype=torch.uint8), 3)
    assert "[3, H, W], but this is torch.uint8" in problem
    assert str(tuple(shape[-3:])) in problem
    assert "to_pixels" not in problem


@pytest.mark.parametrize("leading", [(), (7,), (2, 3)])
def test_any_leading_dimensions_will_do(leading):
    assert pixel_problem(torch.ones(*leading, 3, 4, 5), 3) == ""


@given(st.floats(-2, 3, width=32), st.floats(-2, 3, width=32))
def test_floats_lie_between_0_and_1_but_for_rounding(one, other):
    low, high = sorted((one, other))
    problem = pixel_problem(torch.tensor([[[low, high]]]), 1)
    inside = low >= -SLACK and high <= 1 + SLACK
    assert (problem == "") == inside
    if not inside:
        assert f"has values from {low:.4g} to {high:.4g}" in problem


def test_not_a_number_is_outside():
    assert "has values from nan to nan" in pixel_problem(torch.full((1, 2, 2), torch.nan), 1)


def test_no_images_at_all_have_no_values_to_be_wrong():
    assert pixel_problem(torch.empty(0, 3, 4, 5), 3) == ""


def test_what_a_source_need_not_say():
    source = Bare()
    assert (source.name(1), source.digests(), source.encoded(0)) == ("1", None, None)
    assert (source.mask(0), source.resident(), list(source.file_faults())) == (None, None, [])
    assert (source.attributes, source.regions, source.sizes) == ({}, (), None)


def test_a_fingerprint_needs_digests_or_an_attribute():
    with pytest.raises(PluginError, match="Bare"):
        _ = Bare().fingerprint
    named = Bare()
    named.fingerprint = "content:1"
    assert named.fingerprint == "content:1"
