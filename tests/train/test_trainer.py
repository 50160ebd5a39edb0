"""Whole runs in a folder: what is written, stopping, resuming, evaluating."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from safetensors.torch import save_file

from sslkit.errors import CheckpointError, SpecError, TrainingError
from sslkit.runs import lock, metrics_log
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runs.summary import read_summary
from sslkit.train.compose import compose
from sslkit.train.launch import resume, train
from sslkit.train.prepare import Parts
from sslkit.train.step.stepper import Stepper
from sslkit.train.watch import energy
from sslkit.train.watch.energy import Counter
from tests import tiny

KNN = {"kind": "knn", "every": "3 steps"}


def silent(_text: str) -> None:
    pass


def numbers(run_dir):
    """Every record without what time measures."""
    return [{k: v for k, v in entry.items() if k != "images_per_s"} for entry in metrics_log.read(run_dir)]


def stop_at(monkeypatch, step, action):
    """Do `action` in the middle of the run, after step number `step` is done."""
    original = Stepper.__call__

    def call(self, number, batches):
        result = original(self, number, batches)
        if number + 1 == step:
            action()
        return result

    monkeypatch.setattr(Stepper, "__call__", call)


def test_a_run_leaves_everything_behind(tmp_path):
    out = tmp_path / "run"
    summary = train(
        tiny.spec(out, evaluate=[KNN], log={"every": 2, "loggers": [{"kind": "tensorboard"}]}), silent
    )
    names = {path.name for path in out.iterdir()}
    assert {"spec.yaml", "spec.lock.yaml", "metrics.jsonl", "checkpoints", "figures", "summary.json"} <= names
    assert {path.name for path in (out / "figures").iterdir()} == {"reconstruction.png", "curves.png"}
    assert summary == read_summary(out)
    assert summary["finished"]
    assert summary["step"] == 8
    assert summary["protocols"] == {"knn": "knn@1"}
    losses = {e["step"]: e["loss"] for e in metrics_log.read(out) if "loss" in e}
    assert list(losses) == [1, 2, 4, 6, 8]
    assert summary["metrics"]["loss"] == losses[8]
    evaluated = {e["step"]: e["eval/knn/accuracy"] for e in metrics_log.read(out) if "eval/knn/accuracy" in e}
    assert list(evaluated) == [3, 6, 8]
    assert summary["best"]["eval/knn/accuracy"]["value"] == max(evaluated.values())
    assert any((out / "tensorboard").iterdir())


def test_records_name_every_term(tmp_path):
    train(tiny.spec(tmp_path, optimizer={"lr": 0.01, "clip": 1.0}), silent)
    first = metrics_log.read(tmp_path)[0]
    assert {"step", "epoch", "loss", "loss/mae", "lr", "images_per_s", "gradient_norm"} == first.keys()
    assert first["loss"] == first["loss/mae"]


def test_the_lock_holds_everything_resolved(tmp_path):
    import yaml

    train(tiny.spec(tmp_path), silent)
    lock = yaml.safe_load((tmp_path / "spec.lock.yaml").read_text())
    assert lock["resolved"]["lr"] == pytest.approx(0.01 * 32 / 256)
    assert lock["resolved"]["steps_per_epoch"] == 44
    assert lock["resolved"]["passes"][0]["visible"] == 2
    assert set(lock["plugins"]) == {
        f"sslkit:{name}"
        for name in ("augments", "backbones", "balancers", "maskers", "objectives", "sources", "targets")
    }
    assert "torch" in lock["packages"]
    assert lock["spec"]["optimizer"]["clip_per"] == "global"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [2, 5])
def test_a_signal_saves_and_resume_ends_bit_equal(tmp_path, monkeypatch, number, step):
    changes = {
        "nets": {"ema": {"momentum": {"start": 0.9, "end": 1.0}}},
        "evaluate": [KNN],
        "optimizer": {"lr": 0.01, "clip": 0.5, "weight_decay": {"start": 0.0, "end": 0.4}},
    }
    whole = train(tiny.spec(tmp_path / "whole", **changes), silent)
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: os.kill(os.getpid(), number))
        stopped = train(tiny.spec(tmp_path / "cut", **changes), silent)
    assert not stopped["finished"]
    assert stopped["stopped_by"] == number.name
    assert stopped["step"] == step
    resumed = resume(tmp_path / "cut", silent)
    assert resumed["finished"]
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["best"] == whole["best"]
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


def test_a_signal_at_an_evaluation_step_does_not_lose_the_evaluation(tmp_path, monkeypatch):
    whole = train(tiny.spec(tmp_path / "whole", evaluate=[KNN]), silent)
    with monkeypatch.context() as patch:
        stop_at(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path / "cut", evaluate=[KNN]), silent)
    assert resume(tmp_path / "cut", silent)["best"] == whole["best"]
    by_step = [sorted(numbers(tmp_path / name), key=str) for name in ("cut", "whole")]
    assert by_step[0] == by_step[1]


def test_a_crash_between_checkpoints_costs_only_time(tmp_path, monkeypatch):
    """Records after the last checkpoint are made again, bit-equal, and none stands twice."""
    whole = train(tiny.spec(tmp_path / "whole"), silent)

    def crash():
        raise MemoryError

    with monkeypatch.context() as patch:
        stop_at(patch, 5, crash)
        with pytest.raises(MemoryError):
            train(tiny.spec(tmp_path / "cut"), silent)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 99.0}\n{"step": 5, "lo')
    assert resume(tmp_path / "cut", silent)["weights_sha256"] == whole["weights_sha256"]
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


def test_checkpoints_that_a_killed_process_could_not_drop_go_at_the_end(tmp_path, monkeypatch):
    train(tiny.spec(tmp_path / "whole"), silent)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "prune", lambda checkpoints, best: None)
        train(tiny.spec(tmp_path / "cut"), silent)
    (tmp_path / "cut" / "summary.json").unlink()
    left, expected = (
        sorted(p.name for p in (tmp_path / name / FOLDER).iterdir()) for name in ("cut", "whole")
    )
    assert len(left) > len(expected)
    assert resume(tmp_path / "cut", silent)["finished"]
    assert sorted(path.name for path in (tmp_path / "cut" / FOLDER).iterdir()) == expected


def test_a_crash_before_the_first_checkpoint_starts_over(tmp_path, monkeypatch):
    def crash():
        raise MemoryError

    with monkeypatch.context() as patch:
        stop_at(patch, 1, crash)
        with pytest.raises(MemoryError):
            train(tiny.spec(tmp_path / "cut"), silent)
    said = []
    summary = resume(tmp_path / "cut", said.append)
    assert "starting over" in said[0]
    assert summary["weights_sha256"] == train(tiny.spec(tmp_path / "whole"), silent)["weights_sha256"]


def test_a_damaged_checkpoint_is_passed_over(tmp_path, monkeypatch):
    whole = train(tiny.spec(tmp_path / "whole"), silent)
    with monkeypatch.context() as patch:
        stop_at(patch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path / "cut"), silent)
    newest = Checkpoints(tmp_path / "cut" / "checkpoints").all()[-1]
    state = newest / "state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    said = []
    assert resume(tmp_path / "cut", said.append)["weights_sha256"] == whole["weights_sha256"]
    assert "damaged or cut short" in said[0]


def test_evaluating_changes_nothing_in_training(tmp_path):
    """Loss and weights are bit-equal with and without evaluators, and modes come back."""
    with_them = train(tiny.spec(tmp_path / "a", evaluate=[{"kind": "knn", "every": "1 steps"}]), silent)
    without = train(tiny.spec(tmp_path / "b"), silent)
    assert with_them["weights_sha256"] == without["weights_sha256"]
    losses = [[e["loss"] for e in metrics_log.read(tmp_path / name) if "loss" in e] for name in "ab"]
    assert losses[0] == losses[1]


def test_baselines_are_scored_once_before_the_first_step(tmp_path):
    summary = train(tiny.spec(tmp_path, evaluate=[{**KNN, "baselines": True}]), silent)
    assert set(summary["baselines"]) >= {
        "baseline/raw_pixels/knn/accuracy",
        "baseline/untrained/knn/accuracy",
    }
    assert summary["baselines"]["baseline/raw_pixels/knn/accuracy"] > 0.9
    assert [e["step"] for e in metrics_log.read(tmp_path) if any(k.startswith("baseline/") for k in e)] == [
        0,
        0,
    ]


def test_weights_from_elsewhere_are_scored_as_the_start(tmp_path):
    """Not as an untrained network: what a run forgets is told from them."""
    file = tmp_path / "weights.safetensors"
    state = compose(tiny.spec(), tiny.CPU).system.nets["student"].export().state
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    backbone = {**tiny.VIT, "checkpoint": str(file)}
    evaluators = [{**KNN, "baselines": True}]
    summary = train(tiny.spec(tmp_path / "run", backbone=backbone, evaluate=evaluators, steps=2), silent)
    scored = {name.split("/")[1] for name in summary["baselines"]}
    assert scored == {"raw_pixels", "start"}


def test_a_folder_with_another_run_is_refused(tmp_path):
    train(tiny.spec(tmp_path), silent)
    with pytest.raises(
        SpecError, match=r"(?s)holds a different run \(its seed, batch_size differ\).*sslkit resume"
    ):
        train(tiny.spec(tmp_path, seed=4, batch_size=16), silent)


def test_the_same_run_again_is_finished_already(tmp_path):
    first = train(tiny.spec(tmp_path), silent)
    said = []
    assert train(tiny.spec(tmp_path), said.append) == first
    assert "finished" in said[-1]


def test_a_run_folder_can_be_moved(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny.spec(tmp_path / "here"), silent)
    (tmp_path / "here").rename(tmp_path / "there")
    summary = resume(tmp_path / "there", silent)
    assert summary["finished"]
    assert summary["paths"]["run"] == str(tmp_path / "there")
    assert not (tmp_path / "here").exists()


def test_a_loss_that_is_not_finite_stops_the_run_by_name(tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(tiny.spec(tmp_path, optimizer={"lr": 1e30}, steps=30, schedule={"warmup_epochs": 0}), silent)
    message = str(caught.value)
    assert "loss of objective 'mae' is not finite" in message
    assert message.startswith("step ")
    kept = Checkpoints(tmp_path / "checkpoints").all()
    if kept:
        assert str(kept[-1]) in message
        weights = torch.load(kept[-1] / "state.pt", weights_only=True)["system"]
        assert all(value.isfinite().all() for value in weights.values())


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path, monkeypatch):
    """An infinite gradient behind a finite loss, in the step before a checkpoint: the loss would tell one too late."""
    composed, spoiled = [], []

    def spoil():
        name, weight = list(composed[0].system.named_parameters())[-1]
        spoiled.append(name)
        weight.data.view(-1)[0] = float("nan")

    make = Parts.composed

    def kept_parts(self, *args):
        composed.append(make(self, *args))
        return composed[0]

    monkeypatch.setattr(Parts, "composed", kept_parts)
    stop_at(monkeypatch, 6, spoil)
    with pytest.raises(TrainingError) as caught:
        train(tiny.spec(tmp_path), silent)
    kept = Checkpoints(tmp_path / "checkpoints").all()
    assert [path.name for path in kept] == ["step-00000003"]
    assert str(caught.value).startswith(
        f"step 6: values in {spoiled[0]} are not finite, though all losses were. "
        f"The last good checkpoint is {kept[-1]}"
    )


def test_energy_and_operations_are_in_the_summary_and_survive_a_stop(tmp_path, monkeypatch):
    """A counter of one joule a look."""
    looks = iter(range(10_000))
    monkeypatch.setattr(energy, "counters", lambda device: [Counter(lambda: next(looks), 1e9, "CPU")])
    spec = tiny.spec(tmp_path, log={"every": 1})
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        stopped = train(spec, silent)
    whole = resume(tmp_path, silent)
    assert stopped["energy_of"] == whole["energy_of"] == "1 CPU"
    assert whole["energy_joules"] > stopped["energy_joules"] >= 4, "a look at each of four steps"
    assert whole["flops"] == 2 * stopped["flops"] > 1e6
    assert lock.read_lock(tmp_path)["resolved"]["flops"] == {0: whole["flops"] // 8}
    assert read_summary(tmp_path) == whole


def test_energy_of_a_part_only_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "counters", lambda device: [])
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train(tiny.spec(tmp_path), silent)["energy_joules"] is None
    monkeypatch.setattr(energy, "counters", lambda device: [Counter(lambda: 1.0, 1e9, "CPU")])
    whole = resume(tmp_path, silent)
    assert (whole["energy_joules"], whole["energy_of"], whole["flops"]) == (None, None, None)


def test_a_full_disk_is_survived_and_told(tmp_path, monkeypatch, capsys):
    original, calls = torch.save, []

    def save(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    summary = train(tiny.spec(tmp_path), silent)
    assert summary["finished"]
    assert "No space left on device" in capsys.readouterr().err
    assert [p.name for p in Checkpoints(tmp_path / "checkpoints").all()] == ["step-00000006", "step-00000008"]


def test_a_disk_that_stays_full_ends_the_run_readably(tmp_path, monkeypatch):
    def save(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(
        TrainingError, match=r"(?s)step 8 could not be written: .*No space left.*Free some space"
    ):
        train(tiny.spec(tmp_path), silent)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_resuming_what_is_no_run_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no run \(no spec.lock.yaml\)"):
        resume(tmp_path, silent)


def test_the_best_checkpoint_is_kept(tmp_path):
    spec = tiny.spec(
        tmp_path,
        steps=20,
        checkpoint={"every": "2 steps", "keep": 1},
        evaluate=[{"kind": "knn", "every": "2 steps"}],
    )
    summary = train(spec, silent)
    kept = {int(p.name.removeprefix("step-")) for p in Checkpoints(tmp_path / "checkpoints").all()}
    assert kept == {20, int(summary["best"]["eval/knn/accuracy"]["step"])}
