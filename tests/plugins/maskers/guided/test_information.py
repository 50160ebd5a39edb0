"""Masks by conditional entropy: what they hide, and what the model learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from sslkit import InformationMasker
from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.passes import Mask
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.testing.fake_scene import CHANNELS, scene_of
from sslkit.train.compose import Composed, compose
from sslkit_maskers.guided.information import SHRINKAGE, InformationSampler
from tests import tiny
from tests.masks import on

GRID = Grid(6, 5, 8)
ROWS = torch.arange(24).reshape(2, 12)
SAMPLES = 20
"""Random masks that an image's mask is compared with."""


def masker(grid: Grid = GRID, **fields: object) -> InformationSampler:
    made = InformationMasker.model_validate(fields).build(*on(grid))
    assert isinstance(made, InformationSampler)
    return made


def scene(of: Masker, rows: Tensor = ROWS) -> Scene:
    """Blotches and flat parts, with some noise."""
    image = scene_of(of, GRID, rows).image
    noise = torch.randn(*image.shape, generator=torch.Generator().manual_seed(1))
    return Scene(image + 0.2 * noise)


def mask(of: Masker, seen: Scene) -> Mask:
    return make_mask(of, Draw(0, ROWS), seen)


def learn(of: InformationSampler, *scenes: Scene) -> None:
    """One step of micro-batches."""
    observed = [of.observe(seen, mask(of, scene(of)), None) for seen in scenes]
    of.commit({key: torch.cat([rows[key] for rows in observed]) for key in observed[0]})


def conditional(cov: Tensor, hidden: Tensor) -> Tensor:
    """Mean over images of log det of the hidden patches' covariance, given the visible ones."""
    pairs = zip(cov, ~hidden.flatten(0, -2), strict=True)
    return torch.stack([torch.logdet(k) - torch.logdet(k[v][:, v]) for k, v in pairs]).mean()


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_hidden_patches_tell_more_than_random_ones_or_less(fitted: bool, temperature: float) -> None:
    hard, easy = (masker(maximize=maximize, temperature=temperature) for maximize in (True, False))
    seen = scene(hard)
    if fitted:
        learn(hard, seen)
        learn(easy, seen)
    cov = hard.covariance(seen.image)
    high, low = (conditional(cov, m.sample(Draw(5, ROWS), seen)) for m in (hard, easy))
    draw = Draw(6, ROWS)
    chance = [conditional(cov, draw.permutation(GRID.patches) < hard.most).item() for _ in range(SAMPLES)]
    assert low < min(chance)
    assert max(chance) < high


def test_without_temperature_the_first_patch_decides() -> None:
    """One image, many draws: at most a mask for each first patch, and a first patch is visible."""
    still, warm = masker(temperature=0.0), masker(temperature=0.5)
    image = scene(still).image[0, :1].expand(300, -1, -1, -1)
    draws = torch.arange(300)
    few, many = (m.sample(Draw(2, draws), Scene(image)) for m in (still, warm))
    assert 1 < len(few.unique(dim=0)) <= GRID.patches
    assert len(many.unique(dim=0)) > 250
    first = Draw(2, draws).integers(GRID.patches)
    assert not few.gather(1, first[:, None]).any()
    assert not many.gather(1, first[:, None]).any()
    same = first == first[0]
    assert len(few[same].unique(dim=0)) == 1


def test_more_temperature_is_more_like_chance() -> None:
    values = []
    for temperature in (0.0, 0.3, 100.0):
        made = masker(temperature=temperature)
        seen = scene(made)
        values.append(conditional(made.covariance(seen.image), made.sample(Draw(5, ROWS), seen)).item())
    assert values[0] > values[1] > values[2]


def test_a_flat_image_has_a_mask_of_its_own_in_every_draw() -> None:
    """All patches are alike but for their place."""
    made = masker()
    hidden = made.sample(Draw(0, torch.arange(40)), Scene(torch.zeros(40, CHANNELS, 48, 40)))
    assert (hidden.sum(-1) == made.most).all()
    assert len(hidden.unique(dim=0)) > 30


def test_reduced_precision_around_it_changes_nothing() -> None:
    made = masker()
    seen = scene(made)
    learn(made, seen)
    expected = made.sample(Draw(0, ROWS), seen)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.sample(Draw(0, ROWS), seen), expected)
        rows = made.observe(seen, mask(made, seen), None)
    assert {value.dtype for value in rows.values()} == {torch.float64}


def test_whitening_is_the_identity_before_anything_is_learned() -> None:
    made = masker()
    assert torch.equal(made.whiten, torch.eye(CHANNELS * 16, dtype=torch.float64))
    variance = made.covariance(scene(made).image).diagonal(dim1=-2, dim2=-1) - made.model.noise
    detail = made._describe(scene(made).image).detail
    assert torch.allclose(variance, (0.5 + detail) / (0.5 + 0.5))


def test_learned_descriptors_are_white() -> None:
    made = masker(cells=2)
    seen = scene(made, torch.arange(400)[None])
    learn(made, seen)
    cells = made._describe(seen.image).cells.flatten(0, 1)
    white = torch.linalg.eigvalsh(((cells - made.center) @ made.whiten).T.cov())
    variances = torch.linalg.eigvalsh(cells.T.cov())
    expected = variances / (variances + SHRINKAGE * variances.mean())
    assert torch.allclose(white, expected.sort().values, rtol=1e-3)


def test_variance_within_and_between_patches_is_learned() -> None:
    """Patches of level a + noise: the variance of levels and that of the noise, 1 in the mean after scaling."""
    made = masker(noise=1e-6)
    level = torch.randn(1, 300, CHANNELS, 6, 5).mul(0.8).repeat_interleave(8, -2).repeat_interleave(8, -1)
    seen = Scene(level + 0.5 * torch.randn_like(level))
    learn(made, seen)
    assert made.level.item() == pytest.approx(0.64 + 0.25 / 64, rel=0.05)
    assert made.detail.item() == pytest.approx(0.25 * 63 / 64, rel=0.02)
    mean = made.covariance(seen.image).diagonal(dim1=-2, dim2=-1).mean().item()
    assert mean == pytest.approx(1, abs=1e-3)


def test_micro_batches_and_ranks_learn_the_same() -> None:
    """Rows are joined before they are committed, in whatever number and order."""
    whole, cut = masker(), masker()
    seen = scene(whole).image
    learn(whole, Scene(seen))
    learn(cut, Scene(seen[:, 7:]), Scene(seen[:, :2]), Scene(seen[:, 2:7]))
    for name, value in whole.state_dict().items():
        assert torch.allclose(cut.state_dict()[name].double(), value.double(), rtol=1e-9, atol=1e-12), name
    assert torch.equal(*(m.sample(Draw(0, ROWS), Scene(seen)) for m in (whole, cut)))


def test_first_steps_are_averaged_and_later_ones_decay() -> None:
    made = masker(decay=0.75, cells=1)
    for step, value in enumerate([1.0, 2.0, 6.0, 3.0]):
        learn(made, Scene(torch.full((1, 2, CHANNELS, 48, 40), value)))
        assert made.seen == step + 1
        assert made.center[0].item() == pytest.approx([1.0, 1.5, 3.0, 3.0][step])
    learn(made, Scene(torch.full((1, 2, CHANNELS, 48, 40), 7.0)))
    assert made.center[0].item() == pytest.approx(0.75 * 3 + 0.25 * 7)


def test_equal_images_leave_a_model_that_works() -> None:
    made = masker()
    flat = Scene(torch.full((2, 12, CHANNELS, 48, 40), 0.3))
    learn(made, flat)
    assert all(value.isfinite().all() for value in made.state_dict().values())
    for seen in (flat, scene(made)):
        assert made.covariance(seen.image).isfinite().all()
        assert (made.sample(Draw(0, ROWS), seen).sum(-1) == made.most).all()


def run(**changes: object) -> Composed:
    """Steps of MAE on digits, 4 x 4 patches."""
    objective = {"kind": "mae", "masker": {"kind": "information", "ratio": 0.5}, "decoder": tiny.DECODER}
    views = {"global": {**tiny.VIEW, "size": 16}}
    return compose(tiny.spec(objective=objective, views=views, **changes), tiny.CPU)


def train(parts: Composed, steps: range) -> list[Tensor]:
    feed = tiny.feed(parts.step.spec, parts)
    return [parts.step(step, feed.step(step)).total for step in steps]


def test_a_run_learns_and_resumes_bit_equal() -> None:
    whole = run()
    train(whole, range(2))
    saved = copy.deepcopy(whole.step.state_dict())
    expected = train(whole, range(2, 4))
    resumed = run()
    resumed.step.load_state_dict(saved)
    assert torch.equal(torch.stack(train(resumed, range(2, 4))), torch.stack(expected))
    states = [parts.step.masking.state_dict() for parts in (whole, resumed)]
    assert any(name.endswith("seen") and value == 4 for name, value in states[0].items())
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


def test_micro_batches_of_a_run_learn_what_whole_batches_do() -> None:
    states = []
    for size in (32, 8):
        parts = run(micro_batch_size=size)
        train(parts, range(2))
        states.append(parts.step.masking.state_dict())
    for name, value in states[0].items():
        assert torch.allclose(states[1][name].double(), value.double(), rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize(("patch", "cells"), [(16, 4), (14, 2), (9, 3), (2, 2), (7, 1)])
def test_cells_are_four_or_what_divides_the_patch(patch: int, cells: int) -> None:
    assert masker(Grid(3, 3, patch)).cells == cells


def test_what_does_not_fit_is_a_spec_error() -> None:
    with pytest.raises(
        SpecError, match=r"^cells 3 does not divide the patch of 8 pixels; use a divisor of it$"
    ):
        masker(cells=3)
    with pytest.raises(SpecError, match=r"^ratio 0.99 hides 30 of 30 patches"):
        masker(ratio=0.99)
