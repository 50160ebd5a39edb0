"""The difficulty masker: it learns which patches are hard, from their losses alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn import functional as F

from sslkit import DifficultyMasker
from sslkit.core.masker import Masker, Scene, mask_of
from sslkit.core.passes import Encode, Mask, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.testing.fake_scene import DIM, VIEW
from sslkit.train.compose import compose
from sslkit_maskers.guided.difficulty import ridge_solution
from tests import tiny
from tests.masks import on

GRID = Grid(8, 8, 4)
ROWS = torch.arange(32).reshape(2, 16)
HARD = torch.linspace(-1, 1, DIM)
"""What makes a patch hard: its features' weights in the logarithm of its loss."""


def sampler(**fields: float) -> Masker:
    return DifficultyMasker(**{"decay": 0.9, **fields}).build(*on(GRID))


def scene(seed: int) -> Scene:
    """Features of 32 images."""
    patch = torch.randn(2, 16, 64, DIM, generator=torch.Generator().manual_seed(seed))
    return Scene(torch.empty(0), (Tokens(torch.empty(0), patch.mean(-2), patch, None, ()),))


def hardness(seen: Scene) -> Tensor:
    """Which patches are hard, `[2, 16, 64]`."""
    patch = seen.tokens[0].patch
    return F.layer_norm(patch, (DIM,)) @ HARD


def losses(seen: Scene) -> Tensor:
    """A loss for every patch: some images are harder than others, by a factor and an offset of their own."""
    scale = torch.rand(2, 16, 1, generator=torch.Generator().manual_seed(9)) * 100
    return (hardness(seen).exp() + 3) * scale


def step(masker: Masker, number: int) -> Tensor:
    """Make a step; the hidden patches."""
    seen = scene(number)
    mask = mask_of(masker.sample(Draw(number, ROWS), seen), masker.visible, masker.most)
    masker.commit(masker.observe(seen, mask, losses(seen).flatten()[mask.flat]))
    return mask.hidden


def caught(masker: Masker, seed: int = 99) -> float:
    """Share of the truly hardest patches that it hides."""
    seen = scene(seed)
    hardest = torch.zeros(2, 16, 64, dtype=torch.bool)
    hardest.scatter_(-1, hardness(seen).topk(16).indices, True)
    return float((masker.sample(Draw(seed, ROWS), seen) & hardest).sum() / hardest.sum())


def test_it_learns_to_hide_the_hard_patches() -> None:
    masker = sampler(ratio=0.25, share=1.0)
    assert abs(caught(masker) - 0.25) < 0.1, "at first by chance"
    for number in range(20):
        step(masker, number)
    assert caught(masker) > 0.9


def test_of_a_share_the_rest_is_random() -> None:
    masker = sampler(ratio=0.25, share=0.5)
    for number in range(20):
        step(masker, number)
    assert 0.5 + 0.25 * 0.25 < caught(masker) < 0.75


def test_without_losses_masks_stay_random() -> None:
    masker, seen = sampler(ratio=0.5, share=1.0), scene(0)
    masks = torch.stack([masker.sample(Draw(key, ROWS), seen) for key in range(50)])
    assert torch.allclose(masks.float().mean(0), torch.full((2, 16, 64), 0.5), atol=0.35)
    assert torch.allclose(masks.float().mean((0, 1, 2)), torch.full((64,), 0.5), atol=0.05)
    mask = mask_of(masks[0], masker.visible, masker.most)
    assert masker.observe(seen, mask, None) == {}, "no objective tells"


def test_it_forgets() -> None:
    """A task whose hard patches turn into its easy ones."""
    masker = sampler(ratio=0.25, share=1.0)
    for number in range(10):
        step(masker, number)
    assert caught(masker) > 0.8
    for number in range(10, 50):
        seen = scene(number)
        mask = mask_of(masker.sample(Draw(number, ROWS), seen), masker.visible, masker.most)
        masker.commit(masker.observe(seen, mask, -losses(seen).flatten()[mask.flat]))
    assert caught(masker) < 0.1


def test_weights_are_those_of_ridge_regression() -> None:
    """Against scikit-learn on one step's hidden patches, standardized and centerd by image."""
    masker, seen = sampler(ratio=0.25, ridge=0.05, decay=0.0), scene(3)
    mask = mask_of(masker.sample(Draw(3, ROWS), seen), masker.visible, masker.most)
    masker.commit(masker.observe(seen, mask, losses(seen).flatten()[mask.flat]))
    features = F.layer_norm(seen.tokens[0].patch, (DIM,))[mask.hidden].view(32, 16, DIM).double()
    told = losses(seen)[mask.hidden].view(32, 16).double()
    told = (told - told.mean(1, keepdim=True)) / told.std(1, keepdim=True, correction=0)
    centerd = (features - features.mean(1, keepdim=True)).flatten(0, 1)
    penalty = 0.05 * centerd.square().sum() / DIM
    reference = Ridge(penalty.item(), fit_intercept=False).fit(centerd.numpy(), told.flatten().numpy())
    assert torch.allclose(masker.weight, torch.from_numpy(reference.coef_).float(), rtol=1e-4, atol=1e-6)


def shared(rows: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in rows]) for key in rows[0]}


def part_of(mask: Mask, part: slice, masker: Masker) -> Mask:
    return mask_of(mask.hidden[:, part], masker.visible, masker.most)


def test_micro_batches_make_the_moments_of_the_whole_batch() -> None:
    masker, seen = sampler(ratio=0.25), scene(4)
    mask = mask_of(masker.sample(Draw(4, ROWS), seen), masker.visible, masker.most)
    told = losses(seen)
    whole = masker.observe(seen, mask, told.flatten()[mask.flat])
    parts = []
    for part in (slice(0, 6), slice(6, 16)):
        own = part_of(mask, part, masker)
        patch = seen.tokens[0].patch[:, part]
        shown = Scene(torch.empty(0), (seen.tokens[0]._replace(patch=patch),))
        parts.append(masker.observe(shown, own, told[:, part].flatten()[own.flat]))
    both = shared(parts)
    assert both["count"].sum() == whole["count"].sum() == 32 * 16
    assert both["gram"].shape == (2, DIM, DIM)
    for key in ("gram", "cross"):
        assert torch.allclose(both[key].sum(0), whole[key].sum(0), rtol=1e-4, atol=1e-4)


def test_padding_of_masks_that_vary_is_left_out() -> None:
    """A masker of varying counts may share its mask in a mixture: places past the last hidden patch say nothing."""
    masker, seen = sampler(ratio=0.25), scene(5)
    hidden = Draw(5, ROWS).chance(0.3, 64)
    told = losses(seen)
    rows = []
    for most, waste in ((64, torch.nan), (50, 7.0)):
        mask = mask_of(hidden, None, most)
        rows.append(masker.observe(seen, mask, torch.where(mask.per_image > 0, mask.pick(told), waste)))
    for key in ("gram", "cross", "count"):
        assert torch.equal(rows[0][key], rows[1][key])
    assert rows[0]["count"].item() == hidden.sum()


def test_copies_of_another_share_learn_the_same() -> None:
    """So a curriculum may grow the share: stages see the rows of each other."""
    few, many = sampler(share=0.1), sampler(share=0.5)
    assert (few.guided, many.guided, few.most) == (4, 24, many.most)
    seen = scene(6)
    mask = mask_of(few.sample(Draw(6, ROWS), seen), few.visible, few.most)
    rows = [made.observe(seen, mask, losses(seen).flatten()[mask.flat]) for made in (few, many)]
    assert all(torch.equal(rows[0][key], rows[1][key]) for key in rows[0])
    many.commit(rows[0])
    few.load_state_dict(many.state_dict())
    assert few.weight.abs().sum() > 0


def test_features_and_losses_that_are_all_alike_teach_nothing() -> None:
    masker, seen = sampler(share=1.0), scene(7)
    alike = Scene(torch.empty(0), (seen.tokens[0]._replace(patch=torch.ones(2, 16, 64, DIM)),))
    mask = mask_of(masker.sample(Draw(7, ROWS), seen), masker.visible, masker.most)
    masker.commit(masker.observe(alike, mask, losses(seen).flatten()[mask.flat]))
    assert torch.equal(masker.weight, torch.zeros(DIM))
    masker.commit(masker.observe(seen, mask, torch.full((len(mask.flat),), 2.5)))
    assert masker.weight.isfinite().all()
    assert masker.weight.abs().max() < 1e-4


def test_the_solution_of_more_features_than_patches_is_finite() -> None:
    few = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    weight = ridge_solution(few.T @ few, few.T @ torch.ones(3), 0.01)
    assert weight.isfinite().all()
    assert torch.allclose(few @ weight, torch.ones(3), atol=0.2)


RUN = {
    "objective": {
        "kind": "mae",
        "masker": {"kind": "difficulty", "ratio": 0.5, "share": 1.0},
        "decoder": tiny.DECODER,
    },
    "nets": {"teacher": {"momentum": 0.9}},
}


def test_in_a_run_it_learns_from_every_step_and_resumes_bit_equal() -> None:
    run = tiny.spec(**RUN)
    whole = compose(run, tiny.CPU)
    feed = tiny.feed(run, whole)
    saved, seen = None, []
    for number in range(4):
        if number == 2:
            saved = copy.deepcopy(whole.step.state_dict())
        whole.step(number, feed.step(number))
        seen.append(whole.step.masking.state_dict()["_each.0.weight"].clone())
    assert all(weight.abs().sum() > 0 for weight in seen)
    assert not torch.equal(seen[0], seen[1])
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(saved)
    for number in (2, 3):
        resumed.step(number, feed.step(number))
    states = [made.step.masking.state_dict() for made in (whole, resumed)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert tiny.same(whole, resumed)


def test_it_reads_one_pass_of_its_net() -> None:
    assert sampler().passes == (Encode(VIEW, net="teacher"),)


@pytest.mark.parametrize("kind", ["attention", "semantic", "difficulty"])
def test_a_net_that_the_run_lacks_is_named_with_its_path(kind: str) -> None:
    masker = {"kind": kind, "net": "techer", "ratio": 0.5}
    with pytest.raises(SpecError, match=r"^objective\.masker\.net: 'techer' is not a net of this run\. "
                       r"Did you mean 'teacher'\? Known: student, teacher"):  # fmt: skip
        tiny.spec(**{**RUN, "objective": {**RUN["objective"], "masker": masker}})
