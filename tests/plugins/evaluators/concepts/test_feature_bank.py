"""Tokens and masks of a split: kept or made anew, of the images that can be read, cut as images are."""

from __future__ import annotations

import contextlib

import pytest
import torch

from sslkit import Dense, Readout
from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import evaluating, reading_of
from sslkit.evaluate.subject import NetSubject
from sslkit.testing.tiny_run import stage
from sslkit.train.compose import compose
from sslkit_evaluators.concepts import feature_bank as module
from sslkit_evaluators.concepts.feature_bank import Bank, read_masks
from tests import tiny
from tests.plugins.evaluators.scene_subjects import PATCH, SIDE, Painted, scenes


def test_tokens_are_kept_within_the_budget_and_made_anew_beyond():
    subject = scenes(train=20)
    size = 20 * (SIDE // PATCH) ** 2 * 3 * 2
    kept = Bank(subject, "train", -1, size)
    assert (subject.passes, len(kept)) == (20, 20)
    rows = torch.tensor([7, 3, 19])
    first = kept(rows)
    assert subject.passes == 20, "nothing was made anew"
    anew = Bank(subject, "train", -1, size - 1)
    assert anew.kept is None
    before = subject.passes
    assert torch.equal(anew(rows), first)
    assert subject.passes == before + 3
    assert first.dtype == torch.float32
    assert first.shape == (3, 64, 3)


def test_large_splits_are_made_in_parts(monkeypatch):
    subject = scenes(train=20)
    whole = Bank(subject, "train", -1, 1e9)
    monkeypatch.setattr(module, "AT_ONCE", 6)
    parts = Bank(subject, "train", -1, 1e9)
    assert torch.equal(parts.kept, whole.kept)


def test_a_block_is_read_without_its_class_token():
    subject = scenes()
    inner, last = (Bank(subject, "train", layer, 1e9)(torch.arange(4)) for layer in (0, -1))
    assert inner.shape == last.shape
    assert not torch.equal(inner, last)


def test_images_that_cannot_be_read_are_left_out():
    subject = scenes(train=20, damaged=frozenset({0, 5, 19}))
    bank = Bank(subject, "train", -1, 1e9)
    assert bank.indices.tolist() == [i for i in range(20) if i not in (0, 5, 19)]
    masks = read_masks(subject.source("train"), bank.indices, subject)
    assert torch.equal(masks, subject.source("train").masks[bank.indices])
    color = bank(torch.tensor([4])).view(8, 8, 3).mean((0, 1))
    pixels = (subject.source("train").images[6].float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(color, pixels.mean((1, 2)), rtol=0, atol=2e-3)


@pytest.mark.parametrize("factor", [torch.nan, 1e6])
def test_tokens_that_are_not_finite_are_an_error(monkeypatch, factor):
    subject = scenes()
    tokens = subject.tokens

    def broken(self, images, layers=()):
        found = tokens(images)
        return found._replace(patch=found.patch * factor)

    monkeypatch.setattr(type(subject), "tokens", broken)
    with pytest.raises(DataError, match="patch tokens of train images are not finite, or beyond 65504"):
        Bank(subject, "train", -1, 1e9)


def test_a_missing_mask_is_named():
    subject = scenes()
    source = subject.source("train")
    source.mask = lambda index: None if index == 3 else source.masks[index]
    with pytest.raises(DataError, match=r"^3: has no mask$"):
        read_masks(source, torch.arange(5), subject)


class Wide(Source):
    """Images whose color at each pixel is the number of its region, of several sizes."""

    labels, classes, channels, fingerprint = None, (), 1, "wide"
    regions = ("a", "b", "c")
    shapes = ((24, 40), (40, 24), (32, 32), (17, 50))

    def __len__(self) -> int:
        return len(self.shapes)

    def mask(self, index: int) -> torch.Tensor:
        rows, columns = (torch.arange(n) for n in self.shapes[index])
        return ((rows[:, None] // 8 + columns[None, :] // 8) % 3).to(torch.uint8)

    def load(self, index: int) -> torch.Tensor:
        return self.mask(index)[None] * 100


@pytest.mark.parametrize("crop", [1.0, 0.6])
@pytest.mark.parametrize("workers", [0, 2])
def test_masks_lie_on_the_images_that_the_readout_cuts(crop, workers):
    """Where an image is not at the edge of a region, its gray value tells the region that the mask says."""
    run = tiny.spec(views={"global": {**tiny.VIEW, "size": 32}}, readout={"crop": crop})
    composed = compose(run, tiny.CPU)
    view = composed.env.views["global"]
    reading = reading_of(run, view, tiny.CPU, contextlib.nullcontext)
    sources, source = Sources(), Wide()
    sources.put(run.data, "test", source)
    subject = NetSubject(None, reading, run.data, Dense(), sources, {})
    subject.workers = workers
    rows = subject.rows("test", lambda images, _: images)
    gray = (rows.values[:, 0] * view.std[0] + view.mean[0]) * 255
    masks = read_masks(source, rows.indices, subject)
    assert masks.shape == (4, 32, 32)
    inside = torch.stack([(gray - 100 * value).abs() < 2 for value in range(3)]).any(0)
    assert inside.float().mean() > 0.4
    agree = (gray[inside] / 100).round().to(torch.uint8) == masks[inside]
    assert agree.float().mean() > 0.99, "between 0 and 2 a mixture may be 1"
    near = (gray - 100.0 * masks).abs() < 70
    assert near.float().mean() > 0.97, "elsewhere nearly so: the gray is a mixture"


def test_a_network_answers_with_its_own_grid():
    run = stage(data=Painted(), readout=Readout(batch_size=7))
    composed = compose(run, tiny.CPU)
    view = composed.env.views["global"]
    reading = reading_of(run, view, tiny.CPU, contextlib.nullcontext, run=(composed.system, composed.env))
    subject = NetSubject(composed.system.nets["student"], reading, run.data, Dense(), Sources(), {})
    with evaluating(subject.backbone()):
        bank = Bank(subject, "train", -1, 1e9)
        inner = Bank(subject, "train", 0, 1e9)
        expected = subject.rows("train", lambda images, _: subject.tokens(images).patch[0]).values
    assert bank.grid == composed.env.grid("global")
    torch.testing.assert_close(bank(torch.arange(24)), expected, rtol=1e-3, atol=1e-3)
    assert inner(torch.arange(2)).shape == bank(torch.arange(2)).shape
