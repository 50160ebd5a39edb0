"""The spec of a run that is made longer, and its summary meanwhile, without training."""

from __future__ import annotations

import pytest
import torch

from sslkit import Run, extend_run
from sslkit.build.start_weights import Begun
from sslkit.core.context import Length
from sslkit.errors import CheckpointError, SpecError, SslkitError
from sslkit.runs.history import history
from sslkit.runs.lock import read_lock, trained_spec, without_first_weights
from sslkit.runs.longer_run import longer_spec, reopen
from sslkit.runs.summary import SUMMARY, read_summary
from sslkit.specs.schedule import LearningRateSchedule, Ramp
from sslkit.train.launch import train
from tests import tiny
from tests.train.test_trainer import silent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of 2 steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny.spec(out, steps=2), silent)
    return out


def test_its_spec_has_the_new_length_and_where_it_was_longer(finished):
    spec = longer_spec(finished, ["steps=5", "workers=1"], "restart")
    assert (spec.steps, spec.epochs, spec.workers) == (5, None, 1)
    assert [(one.step, one.schedule) for one in spec.extended] == [(2, "restart")]
    assert trained_spec(finished).steps == 2, "nothing is written"


def test_a_length_in_epochs_takes_the_place_of_one_in_steps(finished):
    spec = longer_spec(finished, ["epochs=3"], "stretch")
    assert (spec.steps, spec.epochs) == (None, 3)


@pytest.mark.parametrize("length", ["steps=1", "steps=2", "steps=0"])
def test_it_must_be_longer(finished, length):
    with pytest.raises(
        SpecError, match=r"is no more than .* has made, 2 steps; give more, counted from its beginn"
    ):
        longer_spec(finished, [length], "stretch")


@pytest.mark.parametrize(
    "assignments", [[], ["steps=-4"], ["steps=4.5"], ["steps=4", "steps=5"], ["workers=1"]]
)
def test_it_must_be_told_once_as_a_whole_number(finished, assignments):
    with pytest.raises(SpecError, match="give its new length, as epochs=N or steps=N, one of them"):
        longer_spec(finished, assignments, "stretch")


def test_with_objects_of_python_it_is_refused_and_stays_finished(tmp_path):
    """A folder alone does not hold them."""
    images = torch.randint(
        0, 255, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    Run(**tiny.fields(tmp_path, data=images, steps=1)).fit()
    before = (tmp_path / "spec.lock.yaml").read_bytes()
    with pytest.raises(SslkitError):
        extend_run(tmp_path, steps=2)
    assert history(tmp_path).finished
    assert (tmp_path / "spec.lock.yaml").read_bytes() == before


def test_both_units_at_once_are_refused(finished):
    with pytest.raises(SpecError, match="one of them"):
        extend_run(finished, steps=9, epochs=9)


def test_where_no_run_is_that_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        longer_spec(tmp_path, ["steps=4"], "stretch")


def test_reopened_it_is_not_finished_and_keeps_all_else(tmp_path):
    train(tiny.spec(tmp_path, steps=1), silent)
    before = read_summary(tmp_path)
    reopen(tmp_path)
    after = read_summary(tmp_path)
    assert after == {**before, "finished": False}
    assert not history(tmp_path).finished
    with pytest.raises(CheckpointError, match="is not finished"):
        longer_spec(tmp_path, ["steps=4"], "stretch")


def test_where_there_is_no_summary_none_is_made(tmp_path):
    reopen(tmp_path)
    assert not (tmp_path / SUMMARY).exists()


def test_a_run_goes_on_without_the_one_that_it_began_with(finished):
    fields = read_lock(finished)["spec"]
    assert without_first_weights({**fields, "start_from": {"run": "gone"}})["start_from"] is None
    older = {name: value for name, value in fields.items() if name != "start_from"}
    assert "start_from" not in without_first_weights(older), "locks of earlier versions stay as they are"


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("stretch", [0.5, 0.1464]),
        ("restart", [1.0, 0.5]),
        ("constant", [0.5, 0.5]),
    ],
)
def test_rates_of_a_cosine(schedule, rates):
    """The cosine of 2 steps is 1 and 0.5; that of 4 steps 1, 0.8536, 0.5 and 0.1464."""
    length, cosine = Length(4, 1, ((2, schedule),)), LearningRateSchedule(warmup_epochs=0)
    values = [cosine.at(*length.clock(step), length.steps_per_epoch, 1.0) for step in range(4)]
    assert values[:2] == pytest.approx([1.0, 0.5])
    assert values[2:] == pytest.approx(rates, abs=1e-4)


def test_a_ramp_follows_the_same_clock():
    ramp, length = Ramp(start=0.0, end=1.0, shape="linear"), Length(4, 1, ((2, "restart"),))
    assert [ramp.at(*length.clock(step)) for step in range(5)] == [0.0, 0.5, 0.0, 0.5, 1.0]


def test_what_a_run_began_with_is_told_without_an_id_of_earlier_versions():
    begun = Begun("runs/a", None, 1200, "0123456789abcdef", {"nets.student": "taken"})
    assert list(begun.lines()) == [
        "begins with runs/a, step 1,200 (weights 01234567):",
        "  nets.student: taken",
    ]
    assert begun.recorded() == {
        "folder": "runs/a",
        "run": None,
        "step": 1200,
        "weights_sha256": "0123456789abcdef",
        "parts": {"nets.student": "taken"},
    }
