"""Features that stay near those of the first weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from tests import tiny

MIM = {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}}
COPY = {"start": {"refresh": "never"}}
WIDE = {"start": {"backbone": {**tiny.VIT, "width": 24}}}


def run_of(term, **changes):
    objectives = {"mim": MIM, "anchor": {"kind": "anchor", **term}}
    return tiny.spec(objective=None, objectives=objectives, **{"batch_size": 8, "nets": COPY, **changes})


def third(run):
    """The answers of both nets and the losses of the third step, after which the nets differ."""
    composed, _ = tiny.steps(run, 2)
    (batch,) = tiny.feed(run, composed).step(2)
    tokens = composed.system.objective_tokens("anchor", composed.step.encode(batch, 2))
    return tokens, composed.step(2, [batch]).values


def test_cosines_of_classes_and_patches_are_added_by_their_weights():
    (student, start), values = third(run_of({"class_weight": 2.0, "patch_weight": 0.5}))
    classes = 1 - F.cosine_similarity(student.cls, start.cls, dim=-1).mean()
    patches = 1 - F.cosine_similarity(student.patch, start.patch, dim=-1).mean()
    assert classes > 1e-5
    expected = (2 * classes + 0.5 * patches).detach()
    torch.testing.assert_close(values["loss/anchor"], expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(values["anchor/class_distance"], classes.detach(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(values["anchor/patch_distance"], patches.detach(), rtol=1e-3, atol=1e-6)


def test_squares_of_patches_alone():
    (student, start), values = third(run_of({"loss": "l2", "class_weight": 0.0}))
    expected = (student.patch - start.patch).square().mean().detach()
    torch.testing.assert_close(values["loss/anchor"], expected, rtol=1e-3, atol=1e-7)


def test_it_keeps_features_nearer_than_training_without_it():
    """Class tokens after 15 steps at a large rate."""
    left = {}
    for weight in (1e-9, 5.0):
        run = run_of({"weight": weight}, optimizer={"lr": 0.05}, steps=15)
        composed = compose(run, tiny.CPU)
        feed = tiny.feed(run, composed)
        values = [composed.step(i, feed.step(i)).values["anchor/class_distance"] for i in range(15)]
        left[weight] = torch.stack(values[-5:]).mean()
    assert left[5.0] < 0.5 * left[1e-9]


@pytest.mark.parametrize(
    ("term", "changes", "message"),
    [
        ({"class_weight": 0, "patch_weight": 0}, {}, "class_weight: and `patch_weight` are 0"),
        ({}, {"nets": {}}, r"Add it: `nets: \{start: \{refresh: never\}\}`"),
        ({"net": "student"}, {}, "'student' is not a net"),
    ],
)
def test_what_cannot_be_is_refused(term, changes, message):
    fields = {"objectives": {"anchor": {"kind": "anchor", **term}}, "nets": COPY, **changes}
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective=None, **fields))


def test_a_network_of_another_width_is_refused_with_the_way_out():
    with pytest.raises(
        SpecError, match=r"objectives\.anchor: net 'start' has tokens of width 24 .* use `distill`"
    ):
        compose(run_of({}, nets=WIDE), tiny.CPU)
