"""Finished runs that are made longer."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import yaml

import sslkit
from sslkit.analysis.compare.compare_runs import compare
from sslkit.cli.main import OK, USER_ERROR
from sslkit.errors import CheckpointError, SpecError
from sslkit.runs import longer_run
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runs.history import history
from sslkit.runs.lock import read_lock
from sslkit.runs.summary import read_summary
from sslkit.train import lineage
from sslkit.train.launch import extend, resume, train
from tests import tiny
from tests.cli.specs import call
from tests.distributed.forked import on_ranks
from tests.distributed.forked import sslkit as command
from tests.train.test_trainer import numbers, silent, stop_at

RAMP = {"start": 0.9, "end": 1.0}
MOVING = {
    "nets": {"ema": {"momentum": RAMP}},
    "readout": {"net": "ema"},
    "optimizer": {
        "lr": 0.01,
        "weight_decay": {"start": 0.0, "end": 0.4},
        "betas": [{"start": 0.8, "end": 0.9}, 0.95],
    },
    "schedule": {"final": 1e-4},
    "objective": {
        "kind": "mae",
        "weight": {"start": 1.0, "end": 0.5},
        "masker": {
            "kind": "curriculum",
            "masker": {"kind": "random"},
            "field": "ratio",
            "start": 0.25,
            "end": 0.5,
            "levels": 2,
        },
        "decoder": tiny.DECODER,
    },
    "evaluate": [{"kind": "knn", "every": "3 steps"}],
}
"""Everything that moves over the length of a run."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 4 steps."""
    return train(spec(tmp_path_factory.mktemp("runs") / "short"), silent)


def spec(out, **changes):
    return tiny.spec(out, **{**MOVING, "steps": 4, **changes})


def copied(finished, tmp_path):
    return shutil.copytree(finished["paths"]["run"], tmp_path / "run")


def same(one, two):
    """Whether two runs ended alike, records and the best value included."""
    a, b = read_summary(one), read_summary(two)
    return (
        a["weights_sha256"] == b["weights_sha256"] and a["best"] == b["best"] and numbers(one) == numbers(two)
    )


@pytest.mark.parametrize("schedule", ["stretch", "constant", "restart"])
def test_it_equals_the_run_whose_spec_says_so_from_the_beginning(finished, tmp_path, schedule):
    run = copied(finished, tmp_path)
    summary = extend(run, ["steps=9"], schedule, silent)
    extended = [{"step": 4, "schedule": schedule}]
    train(spec(tmp_path / "whole", steps=9, extended=extended), silent)
    assert (summary["finished"], summary["step"]) == (True, 9)
    assert same(run, tmp_path / "whole")
    rates = {entry["step"]: entry["lr"] for entry in numbers(run) if "lr" in entry}
    before, after = rates[4], rates[5]
    if schedule == "constant":
        assert rates[9] == after == before
    else:
        assert after != before
        assert rates[9] < after or schedule == "restart"
    assert [entry["step"] for entry in numbers(run) if "eval/knn/accuracy" in entry] == [3, 4, 6, 9]
    assert read_lock(run)["resolved"]["steps"] == 9


@pytest.mark.parametrize("schedule", ["stretch", "restart"])
def test_killed_and_resumed_it_ends_bit_equal(finished, tmp_path, monkeypatch, schedule):
    whole, run = copied(finished, tmp_path), tmp_path / "cut"
    shutil.copytree(whole, run)
    extend(whole, ["steps=9"], schedule, silent)
    for step in (5, 7):
        with monkeypatch.context() as patch:
            stop_at(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
            stopped = extend(run, ["steps=9"], schedule, silent) if step == 5 else resume(run, silent)
        assert (stopped["finished"], stopped["step"]) == (False, step)
    resume(run, silent)
    assert same(run, whole)


def test_killed_before_its_first_checkpoint_it_goes_on(finished, tmp_path, monkeypatch):
    """The lock has the new length by then, and the old summary says no more that the run is finished."""
    whole, run = copied(finished, tmp_path), tmp_path / "cut"
    shutil.copytree(whole, run)
    extend(whole, ["steps=7"], "restart", silent)

    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_at(patch, 5, die)
        with pytest.raises(KeyboardInterrupt):
            extend(run, ["steps=7"], "restart", silent)
    assert [path.name for path in Checkpoints(run / FOLDER).all()][-1] == "step-00000004"
    assert not history(run).finished
    resume(run, silent)
    assert same(run, whole)


def test_killed_between_summary_and_lock_nothing_has_changed(finished, tmp_path, monkeypatch):
    run = copied(finished, tmp_path)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lineage, "rewrite_lock", die)
        with pytest.raises(KeyboardInterrupt):
            extend(run, ["steps=7"], say=silent)
    again = resume(run, silent)
    assert (again["finished"], again["step"]) == (True, 4)
    assert again["weights_sha256"] == finished["weights_sha256"]
    assert extend(run, ["steps=7"], say=silent)["step"] == 7


def test_without_its_last_checkpoint_the_steps_until_then_are_made_again(finished, tmp_path):
    whole, run = copied(finished, tmp_path), tmp_path / "cut"
    shutil.copytree(whole, run)
    (run / FOLDER / "step-00000004" / "state.pt").write_bytes(b"damaged")
    for one in (whole, run):
        extend(one, ["steps=7"], "restart", silent)
    assert same(run, whole)


def test_twice_and_in_epochs(tmp_path):
    run = tmp_path / "run"
    train(tiny.spec(run, epochs=1, batch_size=512), silent)
    sslkit.extend_run(run, epochs=2, schedule="restart")
    result = sslkit.extend_run(run, "name=long", steps=7)
    assert (result.summary["step"], result.summary["name"]) == (7, "long")
    lock = read_lock(run)
    assert (lock["spec"]["epochs"], lock["spec"]["steps"]) == (None, 7)
    assert lock["spec"]["extended"] == [
        {"step": 2, "schedule": "restart"},
        {"step": 4, "schedule": "stretch"},
    ]
    first, second = lock["lineage"]
    assert first["spec"]["epochs"] == {"then": 1, "now": 2}
    assert (first["step"], second["step"]) == (2, 4)
    assert second["spec"]["name"] == {"then": "tiny", "now": "long"}
    assert yaml.safe_load((run / "spec.yaml").read_text())["epochs"] == 1, "what it began with stays"


def test_what_schedules_do_is_told(finished, tmp_path, capsys):
    run = copied(finished, tmp_path)
    code, out, _ = call(capsys, "extend", run, "steps=8", "--schedule", "restart")
    assert code == OK
    assert "changed: steps: 4 -> 8" in out
    told = out[out.index("schedules restart from step 4 to 8:") :].splitlines()[1:7]
    assert [line.strip().partition(":")[0] for line in told] == [
        "learning rate",
        "nets.ema.momentum",
        "objective.weight",
        "optimizer.betas.0",
        "optimizer.weight_decay",
        "masks",
    ]
    assert told[1] == "  nets.ema.momentum: 0.9854 -> 0.9, at the end 0.9854"
    assert told[-1] == "  masks: 75% -> 0%, at the end 75%"
    assert json.loads((run / "summary.json").read_text())["step"] == 8


def test_the_report_tells_it(finished, tmp_path, capsys):
    run = copied(finished, tmp_path)
    extend(run, ["steps=6"], "constant", silent)
    code, _, _ = call(capsys, "report", run, "--fast")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert code == OK
    assert "Lineage" in text
    assert "steps: 4 to 6" in text


def test_scores_of_both_lengths_compare(finished, tmp_path):
    run = copied(finished, tmp_path)
    extend(run, ["steps=6"], say=silent)
    comparison = compare([finished["paths"]["run"], str(run)])
    assert {score.step for score in comparison.scores} == {4, 6}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=4"], "steps: 4 is no more than "),
        (["epochs=0"], "epochs: 0 is no more than "),
        (["epochs=1", "steps=50"], "give its new length, as epochs=N or steps=N, one of them"),
        ([], "give its new length, as epochs=N or steps=N, one of them"),
        (["steps=9", "seed=1"], "seed: cannot change when a run is continued"),
        (["steps=many"], "give its new length, as epochs=N or steps=N, one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(finished, tmp_path, capsys, words, message):
    run = copied(finished, tmp_path)
    before = (run / "spec.lock.yaml").read_bytes()
    code, _, err = call(capsys, "extend", run, *words)
    assert code == USER_ERROR
    assert message in err
    assert (run / "spec.lock.yaml").read_bytes() == before
    assert history(run).finished


def test_constant_after_a_rate_of_0_is_refused(tmp_path):
    train(tiny.spec(tmp_path, steps=2), silent)
    with pytest.raises(
        SpecError, match=r"extended.0.schedule: 'constant' would go on at the last learning rate"
    ):
        extend(tmp_path, ["steps=4"], "constant", silent)


def test_a_run_that_is_not_finished_is_resumed_first(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path), silent)
    with pytest.raises(CheckpointError, match=r"is not finished; `sslkit resume .*` goes on to step 8"):
        extend(tmp_path, ["steps=9"], say=silent)


def test_without_checkpoints_it_is_refused(finished, tmp_path):
    run = copied(finished, tmp_path)
    shutil.rmtree(run / FOLDER)
    with pytest.raises(CheckpointError, match="its checkpoints were removed"):
        extend(run, ["steps=9"], say=silent)


def test_other_commands_say_how_a_run_is_made_longer(finished, tmp_path):
    run = copied(finished, tmp_path)
    with pytest.raises(SpecError, match=r"its steps differs.*`sslkit extend"):
        train(spec(run, steps=9), silent)
    longer_run.reopen(run)
    with pytest.raises(
        SpecError, match=r"steps: cannot change.*`sslkit extend .*` makes a finished run longer"
    ):
        resume(run, silent, ["steps=9"])


def test_lengthenings_in_a_spec_are_in_order():
    with pytest.raises(SpecError, match=r"extended.1.step: 3 is not after 3"):
        spec(None, steps=9, extended=[{"step": 3, "schedule": "restart"}, {"step": 3, "schedule": "stretch"}])
    with pytest.raises(SpecError, match=r"extended.0.step: 9 is not before the end of the run, 9"):
        spec(None, steps=9, extended=[{"step": 9, "schedule": "restart"}])


def test_lengthenings_past_the_end_in_epochs_are_told_once_images_are_counted(tmp_path):
    past = tiny.spec(tmp_path, epochs=1, extended=[{"step": 44, "schedule": "restart"}])
    with pytest.raises(SpecError, match=r"^extended.0.step: 44 is not before the end of the run, 44$"):
        train(past, silent)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_on_two_ranks(tmp_path, parallel):
    """`log.every` asks the ranks for their losses."""
    file = tmp_path / "spec.yaml"
    fields = tiny.fields(**{**MOVING, "steps": 4}, parallel=parallel)
    for name, changes in (
        ("run", {}),
        ("whole", {"steps": 7, "extended": [{"step": 4, "schedule": "restart"}]}),
    ):
        file.write_text(yaml.safe_dump({**fields, **changes}))
        on_ranks(command, "run", file, "--out", tmp_path / name)
    printed = on_ranks(command, "extend", tmp_path / "run", "steps=7", "--schedule", "restart")
    assert printed.count("schedules restart from step 4 to 7:") == 1
    assert same(tmp_path / "run", tmp_path / "whole")
