"""Terms that keep features apart, as objectives of a hybrid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import SpecError
from sslkit.functional.koleo import koleo
from sslkit.functional.sliced_normality import sigreg
from sslkit.functional.vicreg_terms import covariance, uniformity, variance
from sslkit.train.compose import compose
from tests import tiny

HALF = {"kind": "random", "ratio": 0.5}
MIM = {"kind": "mae", "masker": HALF, "decoder": tiny.DECODER}
KINDS = {
    "variance_covariance": lambda z: (variance(z) + 0.04 * covariance(z)).mean(),
    "uniformity": lambda z: uniformity(F.normalize(z, dim=-1)).mean(),
    "koleo": lambda z: koleo(z).mean(),
}
"""Kind -> its definition for features `[V, N, D]`."""
CROPS = {"views": {"global": {**tiny.VIEW, "crops": 2}}}


def run_of(term, **changes):
    return tiny.spec(objective=None, objectives={"mim": MIM, "apart": term}, **{"batch_size": 8, **changes})


def first(run):
    """The parts, the first batch and its answers, and the losses of the first step."""
    composed = compose(run, tiny.CPU)
    (batch,) = tiny.feed(run, composed).step(0)
    tokens = composed.step.encode(batch, 0)
    return composed, tokens, composed.step(0, [batch]).values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masker", [None, HALF])
def test_each_is_its_function_of_pooled_features_crop_by_crop(kind, masker):
    composed, tokens, values = first(run_of({"kind": kind, "masker": masker}, **CROPS))
    assert len(composed.system.late.runs) == (2 if masker is None else 1), (
        "masked, it shares the other's pass"
    )
    (seen,) = composed.system.objective_tokens("apart", tokens)
    assert (seen.mask is not None) == (masker is not None)
    assert seen.cls.shape[:2] == (2, 8)
    torch.testing.assert_close(values["loss/apart"], KINDS[kind](seen.cls).detach())
    assert 0 < values["apart/feature_std"] < 2


def test_options_are_the_functions():
    composed, tokens, values = first(run_of({"kind": "uniformity", "t": 1.0}))
    z = composed.system.objective_tokens("apart", tokens)[0].cls
    torch.testing.assert_close(values["loss/apart"], uniformity(F.normalize(z, dim=-1), 1.0).mean().detach())
    composed, tokens, values = first(run_of({"kind": "variance_covariance", "covariance": 0.0}))
    z = composed.system.objective_tokens("apart", tokens)[0].cls
    torch.testing.assert_close(values["loss/apart"], variance(z).mean().detach())


def test_a_term_adds_what_regularize_adds():
    """The same loss in two spellings: a field of a masked objective, or a term beside it."""
    inside = {**MIM, "regularize": {"term": "uniformity", "weight": 0.5}}
    run = tiny.spec(objective=inside, batch_size=8)
    one, two = first(run)[2], first(run_of({"kind": "uniformity", "masker": HALF, "weight": 0.5}))[2]
    torch.testing.assert_close(one["loss/mae"], two["loss/mim"] + 0.5 * two["loss/apart"])


@pytest.mark.parametrize("mode", ["drop", "token"])
def test_it_reads_the_pass_of_either_mode(mode):
    beside = MIM if mode == "drop" else {"kind": "simmim", "masker": HALF}
    term = {"kind": "koleo", "masker": HALF, "mode": mode}
    run = tiny.spec(objective=None, objectives={"mim": beside, "apart": term}, batch_size=8)
    assert len(compose(run, tiny.CPU).system.plan) == 1


@pytest.mark.parametrize("masker", [None, HALF])
def test_sigreg_is_its_function_of_pooled_features_along_the_directions_of_the_step(masker):
    composed, tokens, values = first(run_of({"kind": "sigreg", "masker": masker, "directions": 8}, **CROPS))
    (seen,) = composed.system.objective_tokens("apart", tokens)
    assert (seen.mask is not None) == (masker is not None)
    directions = composed.system.objectives["apart"].directions({"step": torch.zeros(())})
    torch.testing.assert_close(values["loss/apart"], sigreg(seen.cls, directions).mean().detach())


@pytest.mark.parametrize("kind", [*KINDS, "sigreg"])
def test_training_with_it_spreads_features(kind):
    found = {}
    for weight in (0.0, 5.0):
        run = run_of({"kind": kind, "masker": HALF, "weight": weight}, optimizer={"lr": 0.05}, steps=20)
        composed = compose(run, tiny.CPU)
        feed = tiny.feed(run, composed)
        losses = [composed.step(i, feed.step(i)).values["loss/apart"] for i in range(20)]
        found[weight] = torch.stack(losses[-5:]).mean()
    assert found[5.0] < found[0.0] - 0.02


@pytest.mark.parametrize("kind", [*KINDS, "sigreg"])
@pytest.mark.parametrize(
    ("fields", "changes", "message"),
    [
        (
            {"view": "local"},
            {},
            "objectives.apart.view: 'local' is not a view of this run. Did you mean 'global'?",
        ),
        ({}, {"batch_size": 1}, "objectives.apart: compares images with each other"),
    ],
)
def test_what_cannot_be_is_refused(kind, fields, changes, message):
    with pytest.raises(SpecError, match=message):
        run_of({"kind": kind, **fields}, **changes)
