"""The term that keeps features apart, with every masked objective."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.utils import counters

from sslkit.errors import SpecError
from sslkit.functional.vicreg_terms import covariance, uniformity, variance
from sslkit.registry.manager import registry
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from sslkit_objectives.regularizers.regularization import regularization
from sslkit_objectives.specs.regularizer_terms import Regularizer
from tests import tiny

HALF = {"kind": "random", "ratio": 0.5}
OBJECTIVES = {
    "mae": {"kind": "mae", "masker": HALF, "decoder": tiny.DECODER},
    "simmim": {"kind": "simmim", "masker": HALF},
    "maskfeat": {"kind": "maskfeat", "masker": HALF, "target": {"kind": "hog", "cell": 4}},
}
TERMS = {
    "variance": {"term": "variance", "weight": 0.5},
    "covariance": {"term": "variance", "weight": 0.5, "covariance": 0.04},
    "uniformity": {"term": "uniformity", "weight": 0.5},
}


def run_of(objective, regularize, **changes):
    return tiny.spec(objective={**OBJECTIVES[objective], "regularize": regularize}, batch_size=8, **changes)


def first_step(run):
    composed = compose(run, tiny.CPU)
    return composed, composed.step(0, tiny.feed(run, composed).step(0))


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_term_is_its_function_of_all_images():
    cls = features(1, 9, 6)
    assert torch.equal(regularization(Regularizer().build(), cls), variance(cls[0]))
    both = regularization(Regularizer(covariance=0.25).build(), cls)
    torch.testing.assert_close(both, variance(cls[0]) + 0.25 * covariance(cls[0]))
    sphere = regularization(Regularizer(term="uniformity").build(), 7 * cls)
    torch.testing.assert_close(sphere, uniformity(F.normalize(cls[0], dim=-1)))


@pytest.mark.parametrize("term", TERMS)
def test_crops_of_one_image_are_not_compared(term):
    """The same crop twice has the term of the crop once."""
    once, spec = features(1, 9, 6), Regularizer(**TERMS[term]).build()
    torch.testing.assert_close(regularization(spec, once.expand(2, -1, -1)), regularization(spec, once))


def test_every_masked_objective_takes_it():
    kinds = registry().kinds("objective").values()
    built_in = [cls for cls in kinds if cls.__module__.startswith("sslkit_objectives.")]
    masked = [cls for cls in built_in if {"masker", "target"} <= cls.model_fields.keys()]
    assert len(masked) >= len(OBJECTIVES)
    assert all(cls.model_fields["regularize"].annotation == Regularizer | None for cls in masked)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_is_added_to_the_loss_by_its_weight_and_recorded_without(objective, term):
    _, plain = first_step(run_of(objective, None))
    _, changed = first_step(run_of(objective, TERMS[term]))
    assert f"{objective}/regularization" not in plain.values
    recorded = changed.values[f"{objective}/regularization"]
    assert recorded.abs() > 1e-3
    added = changed.values[f"loss/{objective}"] - plain.values[f"loss/{objective}"]
    torch.testing.assert_close(added, 0.5 * recorded, rtol=1e-4, atol=1e-6)


def test_it_reads_the_pooled_features_of_the_masked_pass():
    run = run_of("mae", TERMS["uniformity"])
    _, losses = first_step(run)
    again = compose(run, tiny.CPU)
    batch = next(iter(tiny.feed(run, again).step(0)))
    (tokens,) = again.step.encode(batch, 0).values()
    assert tokens.patch.shape[2] == 2, "half of the patches"
    expected = uniformity(F.normalize(tokens.cls[0], dim=-1))
    torch.testing.assert_close(losses.values["mae/regularization"], expected.detach())


@pytest.mark.parametrize("term", TERMS)
def test_training_with_it_spreads_features(term):
    """With a large weight, the term falls to less than what training without it leaves."""
    found = {}
    for weight in (1e-9, 10.0):
        run = run_of("mae", {**TERMS[term], "weight": weight}, optimizer={"lr": 0.05}, steps=20)
        composed = compose(run, tiny.CPU)
        feed = tiny.feed(run, composed)
        steps = [composed.step(i, feed.step(i)).values["mae/regularization"] for i in range(20)]
        found[weight] = torch.stack(steps[-5:]).mean()
    assert found[10.0] < found[1e-9] - 0.02


@pytest.mark.parametrize("term", TERMS)
def test_it_resumes_bit_equal(term):
    run = run_of("simmim", TERMS[term])
    whole, _ = tiny.steps(run, 4)
    half, _ = tiny.steps(run, 2)
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(copy.deepcopy(half.step.state_dict()))
    feed = tiny.feed(run, resumed)
    for step in (2, 3):
        resumed.step(step, feed.step(step))
    assert tiny.same(whole, resumed)


@pytest.mark.parametrize("term", ["covariance", "uniformity"])
def test_one_graph(term):
    torch._dynamo.reset()
    counters.clear()
    options = {"compile": {"enabled": True, "backend": "eager"}}  # traces only
    runs = [run_of("mae", TERMS[term], backbone=tiny.ONE_BLOCK, **changes) for changes in (options, {})]
    made = [tiny.steps(run, 3)[1] for run in runs]
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert made[0] == pytest.approx(made[1], rel=1e-4)


def test_it_is_float32_under_autocast():
    run = run_of("mae", TERMS["covariance"], precision="bfloat16")
    _, losses = first_step(run)
    assert losses.values["mae/regularization"].dtype == torch.float32


@pytest.mark.parametrize(
    ("regularize", "changes", "message"),
    [
        ({"term": "variance"}, {"batch_size": 1}, "needs at least 2 in a batch"),
        ({"term": "uniformity", "covariance": 0.1}, {}, "goes with term 'variance' only, found 'uniformity'"),
        ({"weight": 0}, {}, "objective.regularize.weight"),
        ({"term": "spread"}, {}, "objective.regularize.term"),
    ],
)
def test_what_cannot_be_is_refused(regularize, changes, message):
    fields = tiny.fields(objective={**OBJECTIVES["mae"], "regularize": regularize}, **changes)
    with pytest.raises(SpecError, match=message):
        parse(fields)
