"""Maskers that look or learn in whole runs: micro-batches, reduced precision, several objectives, wrong curricula."""

from __future__ import annotations

import re

import pytest
import torch

from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from tests import tiny

LEARNING = [
    {"kind": "difficulty", "ratio": 0.5},
    {"kind": "difficulty", "ratio": 0.5, "net": "student", "decay": 0.5},
    {"kind": "information", "ratio": 0.5},
    {"kind": "mixture", "maskers": [
        {"kind": "difficulty", "ratio": 0.5}, {"kind": "information", "ratio": 0.5}, {"kind": "random", "ratio": 0.5},
    ]},
    {"kind": "curriculum", "masker": {"kind": "difficulty", "ratio": 0.5}, "field": "share", "start": 0, "end": 1,
     "levels": 3},
    {"kind": "curriculum", "masker": {"kind": "information"}, "field": "ratio", "start": 0.25, "end": 0.75,
     "levels": 3},
]  # fmt: skip
LOOKING = [{"kind": "attention", "ratio": 0.5}, {"kind": "semantic", "clusters": 3}, {"kind": "complexity"}]
SMALL = {
    "views": {"global": {**tiny.VIEW, "size": 16}},
    "backbone": {**tiny.VIT, "depth": 1},
    "batch_size": 16,
    "steps": 4,
    "nets": {"teacher": {"momentum": 0.9}},
}
"""4 x 4 patches."""
each = pytest.mark.parametrize("masker", [*LEARNING, *LOOKING], ids=lambda m: "-".join(_kinds(m)))


def _kinds(masker):
    inner = [*masker.get("maskers", []), *([masker["masker"]] if "masker" in masker else [])]
    return [masker["kind"], *(kind for one in inner for kind in _kinds(one))]


def mae(masker, **changes):
    return {"kind": "mae", "masker": masker, "decoder": tiny.DECODER, **changes}


def ran(steps=4, **changes):
    """The parts, losses and masks of a run."""
    run = tiny.spec(**{**SMALL, **changes})
    composed = compose(run, tiny.CPU)
    sample, masks = composed.step.masking.sample, []

    def kept(*arguments):
        found = sample(*arguments)
        masks.append(found[0].hidden)
        return found

    composed.step.masking.sample = kept
    feed = tiny.feed(run, composed)
    losses = [composed.step(i, feed.step(i)).total.item() for i in range(steps)]
    return composed, losses, torch.cat(masks, dim=1)


@each
def test_micro_batches_draw_and_learn_what_the_whole_batch_does(masker):
    """The same masks, image by image, and the same state to rounding: sums are taken in another order."""
    whole, losses, masks = ran(objective=mae(masker))
    parts, losses_of_parts, masks_of_parts = ran(objective=mae(masker), micro_batch_size=4)
    assert torch.equal(masks_of_parts, masks)
    assert losses_of_parts == pytest.approx(losses, rel=1e-4)
    learned, of_parts = (made.step.masking.state_dict() for made in (whole, parts))
    assert bool(learned) == (masker in LEARNING)
    for name, value in learned.items():
        torch.testing.assert_close(of_parts[name], value, rtol=1e-3, atol=1e-4)


@each
def test_reduced_precision_trains_and_learns_in_float32(masker):
    composed, losses, masks = ran(objective=mae(masker), precision="bfloat16")
    assert torch.tensor(losses).isfinite().all()
    assert composed.step.precision == "bfloat16"
    state = composed.step.masking.state_dict()
    assert {x.dtype for x in state.values()} <= {torch.float32, torch.float64, torch.int64}
    assert all(x.isfinite().all() for x in state.values())
    hidden = masks.sum(-1)
    assert (hidden == hidden[:, :1]).all() or masker["kind"] == "curriculum"


def test_masks_of_pictures_do_not_depend_on_the_precision():
    """`complexity` and `information` read no net, so that a run in bfloat16 hides what one in float32 hides."""
    for masker in ({"kind": "complexity"}, {"kind": "information", "ratio": 0.5}):
        plain, reduced = (ran(objective=mae(masker), precision=p)[2] for p in (None, "bfloat16"))
        assert torch.equal(plain, reduced)


@pytest.mark.parametrize("kind", ["vq_kd", "vq_vae"])
def test_tokenizers_keep_their_codes_in_float32(kind):
    target = {"kind": "teacher_feature", "layers": "final"} if kind == "vq_kd" else {"kind": "pixel"}
    codebook = {"size": 6, "dim": 4, "sample": 4, "revive": 0.1}
    objective = {"kind": kind, "target": target, "codebook": codebook, "decoder": tiny.DECODER}
    run = tiny.spec(**SMALL, objective=objective, precision="bfloat16")
    composed, losses = tiny.steps(run, 4)
    book = composed.system.objectives[kind].codebook
    assert torch.tensor(losses).isfinite().all()
    assert {x.dtype for x in book.state_dict().values()} == {torch.float32}
    if kind == "vq_kd":
        torch.testing.assert_close(book.codes.norm(dim=-1), torch.ones(6))


def test_one_masker_of_two_objectives_is_sampled_and_taught_once():
    """The first of the objectives tells the losses."""
    masker = {"kind": "difficulty", "ratio": 0.5}
    both = {"a": mae(masker), "b": mae(masker, target={"kind": "pixel"})}
    composed, _, _ = ran(objective=None, objectives=both)
    assert len(composed.step.masking.state_dict()) == 3
    assert composed.step.masking.maskers.keys() == {0}
    assert composed.step.masking.state_dict()["_each.0.weight"].abs().sum() > 0
    swapped = dict(reversed(both.items()))
    first, second = (
        ran(objective=None, objectives=terms, steps=1)[0].step.masking.state_dict()
        for terms in (both, swapped)
    )
    assert torch.equal(first["_each.0.gram"], second["_each.0.gram"]), "the same patches were hidden"
    assert not torch.equal(first["_each.0.cross"], second["_each.0.cross"]), "another loss was told"


def test_what_two_maskers_learn_stays_apart():
    kinds = {
        "a": mae({"kind": "information", "ratio": 0.5}),
        "b": mae({"kind": "information", "ratio": 0.75}),
    }
    composed, _, _ = ran(objective=None, objectives=kinds)
    state = composed.step.masking.state_dict()
    assert {name.split(".")[1] for name in state} == {"0", "1"}
    assert torch.equal(state["_each.0.moment"], state["_each.1.moment"]), "both saw the same pictures"
    assert [composed.step.masking.maskers[i].most for i in (0, 1)] == [8, 12]


def test_the_objective_of_a_masker_that_does_not_fit_is_named():
    wrong = {"kind": "random", "ratio": 0.99}
    run = {"objective": None, "objectives": {"fine": mae({"kind": "random"}), "odd": mae(wrong)}}
    with pytest.raises(SpecError, match=r"^objectives\.odd: masker: ratio 0\.99 hides 16 of 16 patches"):
        ran(**run)
    with pytest.raises(SpecError, match=r"^masker: ratio 0\.99 hides 16 of 16 patches"):
        ran(objective=mae(wrong))


def test_levels_that_learn_in_other_shapes_are_refused():
    """A row that one level observed would not fit into the moments of another."""
    inner = {"kind": "information", "ratio": 0.5}
    masker = {"kind": "curriculum", "masker": inner, "field": "cells", "start": 1, "end": 4, "levels": 3}
    message = "masker: field: 'cells' changes the shape of what 'information' learns, so that levels could not share it"
    with pytest.raises(SpecError, match=re.escape(message)):
        ran(objective=mae(masker))


@pytest.mark.parametrize(
    ("field", "start", "end", "message"),
    [
        ("share", 0.5, 1.5, "objective.masker.end: share 1.5: share: must be less than or equal to 1"),
        ("ratio", 0, 0.5, "objective.masker.start: ratio 0: ratio: must be greater than 0"),
        ("net", 0, 1, "objective.masker.field: 'net' is no number of 'difficulty'"),
        ("share.x", 0, 1, "objective.masker.field: 'x' leads into 0.5, which has no such part"),
    ],
)
def test_numbers_that_a_guided_masker_cannot_have_are_told_with_their_path(field, start, end, message):
    inner = {"kind": "difficulty", "ratio": 0.5}
    masker = {"kind": "curriculum", "masker": inner, "field": field, "start": start, "end": end}
    with pytest.raises(SpecError, match=re.escape(message)):
        parse(tiny.fields(**SMALL, objective=mae(masker)))
