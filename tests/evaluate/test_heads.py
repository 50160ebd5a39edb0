"""Features that go through a head of an objective before they are measured."""

from __future__ import annotations

import contextlib

import pytest
import torch

from sslkit import KNN, Run
from sslkit.errors import SpecError
from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import head_of, reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.runs.evaluations import evaluations
from sslkit.specs.readout import Readout
from sslkit.train.compose import compose
from tests import tiny

CONTRAST = {"kind": "simclr", "projector": {"layers": 2, "hidden": 12, "out": 6}}
VIEWS = {"global": {**tiny.VIEW, "crops": 2}}


def spec(out=None, **readout):
    return tiny.spec(
        out, objective=CONTRAST, views=VIEWS, readout=readout, evaluate=[{"kind": "knn", "k": 5}]
    )


@pytest.fixture
def composed():
    return compose(spec(), tiny.CPU)


def test_features_are_those_of_the_head(composed):
    """The evaluator sees the head's output in evaluation mode; the modes of training come back."""
    run = spec(head="simclr.projector")
    head = head_of(composed.system, run.readout)
    assert head is composed.system.objectives["simclr"].projector
    reading = reading_of(
        run,
        composed.env.views["global"],
        tiny.CPU,
        contextlib.nullcontext,
        run=(composed.system, composed.env),
    )
    assert reading.head is head
    modes = []
    handle = head.register_forward_hook(
        lambda module, args, out: modes.append((module.training, out.shape[1]))
    )
    before = {name: value.clone() for name, value in head.state_dict().items()}
    net = composed.system.nets["student"]
    through = evaluate(net, {0: KNN(k=5)}, run.data, reading, Sources())
    handle.remove()
    plain = evaluate(net, {0: KNN(k=5)}, run.data, reading._replace(head=None), Sources())
    assert set(modes) == {(False, 6)}
    assert all(module.training for module in head.modules())
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert through["knn"].metrics != plain["knn"].metrics


def test_without_a_name_there_is_none(composed):
    assert head_of(composed.system, Readout()) is None


@pytest.mark.parametrize("name", ["simclr.head", "projector", "simclr.projector.9"])
def test_a_name_that_no_objective_has_is_told_with_those_that_are_there(composed, name):
    with pytest.raises(SpecError, match=rf"readout\.head: '{name}' is not one\. .*simclr\.projector"):
        head_of(composed.system, Readout(head=name))


def test_a_module_that_takes_other_features_is_refused(composed):
    """The last layer reads the hidden width."""
    with pytest.raises(
        SpecError, match=r"readout\.head: 'simclr.projector.layers.3' takes no features: .*shape"
    ):
        head_of(composed.system, Readout(head="simclr.projector.layers.3"))


def test_a_run_and_its_evaluation_afterwards_agree(tmp_path):
    result = Run(**dict(spec(tmp_path, head="simclr.projector"))).fit()
    again = evaluate_run(tmp_path)
    assert again["metrics"]["knn"]["accuracy"] == result.metrics["eval/knn/accuracy"]
    assert evaluations(tmp_path)["knn"].readout["head"] == "simclr.projector"
