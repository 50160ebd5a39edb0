"""Masks of complex and plain patches."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.measure import shannon_entropy
from torch import Tensor

from sslkit import ComplexityMasker, CurriculumMasker
from sslkit.core.masker import Masker, Scene
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit_maskers.guided.complexity import gradient_energy, gray_entropy
from tests.masks import on

GRID = Grid(4, 4, 8)
BUSY = torch.tensor([0, 3, 5, 6, 9, 15])
"""Patches of the pictures that are not flat."""


def picture() -> Tensor:
    """Flat gray with noise in six patches, the stronger the later the patch, `[3, 32, 32]`, for pixels in [0, 1]."""
    noise = torch.rand(3, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    strength = torch.zeros(16)
    strength[BUSY] = torch.linspace(0.3, 0.9, len(BUSY))
    patches = 0.5 + noise * strength.view(4, 4, 1, 1)
    return patches.permute(0, 1, 3, 2, 4).reshape(3, 32, 32)


def scene(*rows: int) -> Scene:
    """The picture, normalized as the environment's views are, for `rows` images."""
    return Scene(((picture() - 0.5) / 0.25).expand(*rows, 3, 32, 32))


def masker(**fields: object) -> Masker:
    return ComplexityMasker.model_validate(fields).build(*on(GRID))


@pytest.mark.parametrize("measure", ["gradient", "entropy"])
def test_the_busiest_patches_are_hidden(measure: str) -> None:
    guided = masker(measure=measure, ratio=0.25, share=1)
    hidden = guided.sample(Draw(0, torch.arange(5)), scene(5))
    assert hidden[:, BUSY].sum(-1).tolist() == [4] * 5
    assert guided.most == 4
    assert hidden.sum(-1).tolist() == [4] * 5


@pytest.mark.parametrize("measure", ["gradient", "entropy"])
def test_low_hides_the_plainest_patches(measure: str) -> None:
    hidden = masker(measure=measure, ratio=0.5, share=1, hide="low").sample(
        Draw(0, torch.arange(5)), scene(5)
    )
    assert not hidden[:, BUSY].any()
    assert hidden.sum(-1).tolist() == [8] * 5


def test_equal_patches_are_chosen_at_random() -> None:
    """Ten flat patches have an entropy of exactly 0: eight of them, any ones."""
    rows = torch.arange(2000)
    hidden = masker(measure="entropy", ratio=0.5, share=1, hide="low").sample(Draw(0, rows), scene(2000))
    often = hidden.double().mean(0)
    flat = torch.ones(16, dtype=torch.bool).index_fill(0, BUSY, False)
    assert (often[flat] - 0.8).abs().max() < 0.05
    assert often[~flat].max() == 0


@pytest.mark.parametrize(("share", "guided"), [(0.0, 0), (0.5, 4), (0.7, 5), (1.0, 8)])
def test_a_share_of_the_mask_is_guided(share: float, guided: int) -> None:
    """The highest `guided` are always hidden; the other patches equally often."""
    hidden = masker(ratio=0.5, share=share).sample(Draw(1, torch.arange(4000)), scene(4000))
    assert (hidden.sum(-1) == 8).all()
    order = gradient_energy(picture().mean(0), 8).argsort(descending=True)
    often = hidden.double().mean(0)[order]
    assert (often[:guided] == 1).all()
    expected = (8 - guided) / (16 - guided)
    assert (often[guided:] - expected).abs().max() < 0.04


def test_with_all_guided_steps_repeat_a_mask_and_otherwise_not() -> None:
    rows = torch.arange(3)
    noise = Scene(torch.randn(3, 3, 32, 32))
    whole, half = masker(share=1), masker(share=0.5)
    assert torch.equal(whole.sample(Draw(0, rows), noise), whole.sample(Draw(1, rows), noise))
    assert not torch.equal(half.sample(Draw(0, rows), noise), half.sample(Draw(1, rows), noise))
    hidden = whole.sample(Draw(0, rows), noise)
    assert not torch.equal(hidden[0], hidden[1]), "other pictures, other masks"


def test_the_share_may_follow_a_curriculum() -> None:
    spec = CurriculumMasker(masker=ComplexityMasker(ratio=0.5), field="share", start=0.0, end=1.0, levels=3)
    grown = spec.build(*on(GRID))
    busy = [
        grown.at(progress).sample(Draw(2, torch.arange(500)), scene(500))[:, BUSY].double().mean().item()
        for progress in (0.0, 0.5, 0.99)
    ]
    assert busy[0] == pytest.approx(0.5, abs=0.03)
    assert busy[0] < busy[1] < busy[2] == 1


def test_gradient_energy_is_the_mean_sobel_length() -> None:
    """A ramp of slope a across and b down has a Sobel gradient of 8 sqrt(a² + b²), but for the reflected border."""
    down, across = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    energy = gradient_energy(0.3 * across + 0.4 * down, 8)
    assert energy.shape == (12,)
    assert energy.view(3, 4)[1, 1:3].tolist() == pytest.approx([4.0, 4.0], rel=1e-5)
    assert energy.view(3, 4)[0, 1] == pytest.approx((7 * 4.0 + 8 * 0.3) / 8, rel=1e-5)
    assert not gradient_energy(torch.full((24, 32), 0.3), 8).any()


def test_entropy_is_that_of_scikit_image() -> None:
    """`skimage.measure.shannon_entropy` of the levels of each patch."""
    gray = torch.rand(2, 16, 24) ** 2
    found = gray_entropy(gray, 8, 16)
    levels = (gray * 16).long().clamp(max=15)
    patches = levels.unflatten(-1, (3, 8)).unflatten(-3, (2, 8)).transpose(2, 3).reshape(2, 6, 64)
    expected = [shannon_entropy(p.numpy(), base=math.e) for p in patches.flatten(0, 1)]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_entropy_of_extremes() -> None:
    """All levels alike, one level only, and values outside [0, 1] at the ends."""
    even = (torch.arange(16.0) / 16 + 1 / 32).view(4, 4)
    assert gray_entropy(even, 4, 16).item() == pytest.approx(math.log(16), abs=1e-6)
    assert gray_entropy(torch.full((4, 4), 0.4), 4, 16).item() == 0
    outside = torch.tensor([-0.3, 0.0, 1.0, 1.4]).repeat(4, 1)
    assert gray_entropy(outside, 4, 16).item() == pytest.approx(math.log(2), abs=1e-6)


def test_equal_histograms_have_equal_entropies_in_any_order() -> None:
    counts = torch.tensor([5, 4, 4, 2, 1]).repeat_interleave(torch.tensor([1] * 5))
    patches = []
    for _ in range(40):
        order = torch.randperm(8)[:5]
        patches.append(order.repeat_interleave(counts)[torch.randperm(16)].view(4, 4))
    gray = (torch.cat(patches, -1) + 0.5) / 8
    assert len(gray_entropy(gray, 4, 8).unique()) == 1


def test_a_ratio_that_hides_all_is_a_spec_error() -> None:
    assert masker(ratio=0.01).most == 1
    with pytest.raises(
        SpecError, match=r"^ratio 0.99 hides 16 of 16 patches \(4 x 4\); at least one must stay"
    ):
        masker(ratio=0.99)
