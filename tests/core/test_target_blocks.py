"""Target blocks of a mask: the rows that objectives read, padding, and joined micro-batches."""

from __future__ import annotations

import torch

from sslkit.core.masker import Masker, broken_blocks, mask_of

HIDDEN = torch.tensor([[[0, 1, 1, 1], [1, 1, 0, 1]]], dtype=torch.bool)
BLOCKS = torch.tensor([[[[1, 2], [2, 3]], [[0, -1], [1, -1]]]])


def test_rows_are_those_of_the_blocks_image_by_image():
    mask = mask_of(HIDDEN, 1, 3, BLOCKS).of_targets()
    real = mask.per_image > 0
    assert mask.flat[real].tolist() == [1, 2, 2, 3, 4, 5], "a patch of two blocks occurs twice"
    assert mask.per_image.tolist() == [4, 4, 4, 4, 2, 0, 2, 0]
    values = torch.arange(8.0).view(1, 2, 4)
    assert mask.pick(values)[real].tolist() == [1, 2, 2, 3, 4, 5]


def test_the_mean_is_over_images_and_leaves_padding_out():
    mask = mask_of(HIDDEN, 1, 3, BLOCKS).of_targets()
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0, 5.0, 99.0, 7.0, 99.0])
    assert mask.mean(scores).item() == (3 + 6) / 2
    assert mask.batch_mean(scores).item() == 4


def test_without_blocks_all_hidden_patches_are_one():
    mask = mask_of(HIDDEN, 1, 3)
    assert mask.target_blocks().tolist() == [[[[1, 2, 3]], [[0, 1, 3]]]]
    assert mask.of_targets() is mask
    assert mask_of(HIDDEN, 1, 3, BLOCKS).target_blocks() is BLOCKS


def test_blocks_that_break_a_promise_are_told():
    masker = Masker.__new__(type("Some", (Masker,), {"sample": None}))
    torch.nn.Module.__init__(masker)
    assert broken_blocks(masker, None, torch.Size([1, 2])) is None
    assert broken_blocks(masker, BLOCKS, torch.Size([1, 2])) is not None
    masker.block_shape = (2, 2)
    assert broken_blocks(masker, BLOCKS, torch.Size([1, 2])) is None
    assert "[1, 2, 2, 2]" in str(broken_blocks(masker, BLOCKS[..., :1], torch.Size([1, 2])))
    assert "None" in str(broken_blocks(masker, None, torch.Size([1, 2])))


def test_a_mask_moves_as_a_whole():
    there = mask_of(HIDDEN, 1, 3, BLOCKS).to(torch.device("meta"))
    assert all(part.is_meta for part in there)
    assert mask_of(HIDDEN, 1, 3).to(torch.device("cpu")).blocks is None
