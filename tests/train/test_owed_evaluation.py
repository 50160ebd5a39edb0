"""An evaluation that fails, and drawing and logging that fail, cost no training."""

from __future__ import annotations

import json

import pytest

from sslkit.cli.main import main
from sslkit.runs import checkpoint, metrics_log
from sslkit.runs.checkpoint import FOLDER, META, Checkpoints
from sslkit.runs.summary import read_summary
from sslkit.specs.load import dump
from sslkit.train import online_evaluation
from sslkit.train.launch import resume, train
from sslkit_evaluators.probes.knn import KNNEvaluator
from sslkit_loggers.tensorboard import TensorBoardLogger
from sslkit_targets.pixel import PixelTarget
from tests import tiny
from tests.train.test_trainer import numbers, silent

KNN = {"kind": "knn", "every": "3 steps"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: (folder, summary). Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(tiny.spec(out, evaluate=[KNN], checkpoint={"every": "5 steps"}), silent)


def fields(out):
    return {"out": out, "evaluate": [KNN], "checkpoint": {"every": "5 steps"}}


def failing(monkeypatch, cls, method, error, calls=1):
    """Let `method` of `cls` raise `error` in its call number `calls`, and once only."""
    original, count = getattr(cls, method), []

    def call(self, *args):
        count.append(args)
        if len(count) == calls:
            raise error
        return original(self, *args)

    monkeypatch.setattr(cls, method, call)
    return count


@pytest.mark.parametrize("error", [KeyError("layer"), RuntimeError("CUDA error"), MemoryError()])
@pytest.mark.parametrize("calls", [1, 3])
def test_any_error_of_an_evaluator_leaves_the_step_saved_and_the_evaluation_owed(
    whole, tmp_path, monkeypatch, error, calls
):
    with monkeypatch.context() as patch:
        failing(patch, KNNEvaluator, "__call__", error, calls)
        with pytest.raises(type(error)) as caught:
            train(tiny.spec(**fields(tmp_path)), silent)
    newest = Checkpoints(tmp_path / FOLDER).all()[-1]
    assert newest.name == {1: "step-00000003", 3: "step-00000008"}[calls]
    assert not json.loads((newest / META).read_text())["evaluated"]
    notes = "\n".join(caught.value.__notes__)
    assert "evaluate.0: evaluator 'knn' (plugin sslkit:evaluators)" in notes
    assert f"The last good checkpoint is {newest}; `sslkit resume {tmp_path}` continues" in notes
    resumed = resume(tmp_path, silent)
    assert resumed["finished"]
    assert resumed["weights_sha256"] == whole[1]["weights_sha256"]
    assert resumed["best"] == whole[1]["best"]
    assert numbers(tmp_path) == numbers(whole[0])


def test_the_command_line_says_where_the_training_is(tmp_path, monkeypatch, capsys):
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump(tiny.spec(**fields(tmp_path / "run"))))
    failing(monkeypatch, KNNEvaluator, "__call__", KeyError("layer"))
    assert main(["run", str(spec)]) == 1
    told = capsys.readouterr().err
    assert "bug: KeyError: 'layer'" in told
    assert "evaluate.0: evaluator 'knn' (plugin sslkit:evaluators)" in told
    assert f"step-00000003; `sslkit resume {tmp_path / 'run'}` continues from it" in told


def test_the_state_is_written_once_a_step_evaluated_or_not(tmp_path, monkeypatch):
    written = []
    original = checkpoint.write_whole
    monkeypatch.setattr(
        checkpoint, "write_whole", lambda path, write: written.append(path) or original(path, write)
    )
    train(tiny.spec(**fields(tmp_path)), silent)
    steps = [int(path.parent.name.removeprefix(".writing-")) for path in written]
    assert steps == [3, 5, 6, 8]
    metas = [json.loads((path / META).read_text()) for path in Checkpoints(tmp_path / FOLDER).all()]
    assert all(meta["evaluated"] for meta in metas)


def test_the_best_checkpoint_of_each_moment_is_kept(tmp_path, monkeypatch):
    """The evaluation comes after the checkpoint: a worse one must not have taken the place of the best."""
    scores = iter([0.2, 0.9, 0.1, 0.3, 0.95, 0.4])
    original, seen = KNNEvaluator.__call__, []

    def call(self, subject):
        result = original(self, subject)
        return result._replace(metrics={**result.metrics, "accuracy": next(scores)})

    monkeypatch.setattr(KNNEvaluator, "__call__", call)
    amend = Checkpoints.amend

    def note(self, step, *args):
        amend(self, step, *args)
        seen.append([checkpoint.step_of(path) for path in self.all()])

    monkeypatch.setattr(Checkpoints, "amend", note)
    train(
        tiny.spec(
            tmp_path,
            steps=6,
            evaluate=[{**KNN, "every": "1 steps"}],
            checkpoint={"every": "1 steps", "keep": 1, "best": "eval/knn/accuracy"},
        ),
        silent,
    )
    assert seen == [[1], [2], [2, 3], [2, 4], [5], [5, 6]]


def test_baselines_that_fail_can_be_made_again(whole, tmp_path, monkeypatch):
    changes = {**fields(tmp_path), "evaluate": [{**KNN, "baselines": True}]}
    with monkeypatch.context() as patch:
        failing(patch, KNNEvaluator, "__call__", ZeroDivisionError(), 2)
        with pytest.raises(ZeroDivisionError):
            train(tiny.spec(**changes), silent)
    summary = resume(tmp_path, silent)
    assert summary["weights_sha256"] == whole[1]["weights_sha256"]
    assert len(summary["baselines"]) > 0
    assert sum("baseline/raw_pixels/knn/accuracy" in entry for entry in metrics_log.read(tmp_path)) == 1


def wrong_shape(self, guess, seen, *more):
    return guess[..., :1]


@pytest.mark.parametrize(
    ("cls", "method", "wrong"),
    [(PixelTarget, "to_image", wrong_shape), (PixelTarget, "to_image", lambda *args: 1 / 0)],
)
def test_a_picture_that_cannot_be_drawn_is_a_warning(
    whole, tmp_path, monkeypatch, capsys, cls, method, wrong
):
    monkeypatch.setattr(cls, method, wrong)
    summary = train(tiny.spec(**fields(tmp_path), log=tiny.DRAWN), silent)
    assert summary["finished"]
    assert read_summary(tmp_path) == summary
    assert summary["weights_sha256"] == whole[1]["weights_sha256"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["curves.png"]
    told = " ".join(capsys.readouterr().err.split())
    assert "warning: figures of 'mae': objective 'mae' (plugin sslkit:objectives)" in told
    assert "target 'normalized_pixel' (plugin sslkit:targets)" in told
    assert "PixelTarget.to_image" in told or "ZeroDivisionError" in told


def test_a_figure_of_an_evaluator_that_cannot_be_drawn_is_a_warning(whole, tmp_path, monkeypatch, capsys):
    original = KNNEvaluator.__call__

    def drawing(self, subject):
        return original(self, subject)._replace(
            figures={"plot": lambda path: path.write_text("half") and 1 / 0}
        )

    monkeypatch.setattr(KNNEvaluator, "__call__", drawing)
    summary = train(tiny.spec(**fields(tmp_path), log=tiny.DRAWN), silent)
    assert summary["best"] == whole[1]["best"]
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"curves.png", "reconstruction.png"}
    stored = json.loads((tmp_path / "evaluations/step-00000008/knn.json").read_text())
    assert stored["figures"] == {}
    told = capsys.readouterr().err
    assert (
        "warning: figure knn-plot.png of evaluator 'knn' (plugin sslkit:evaluators) failed: "
        "ZeroDivisionError: division by zero" in told
    )


def test_curves_that_cannot_be_drawn_are_a_warning(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sslkit.runs.figures.save_curves", lambda *args: 1 / 0)
    assert train(tiny.spec(**fields(tmp_path), log=tiny.DRAWN), silent)["best"] == whole[1]["best"]
    assert "warning: figure curves.png failed: ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["metrics", "figure", "saved", "close"])
def test_a_logger_that_fails_is_told_once_and_costs_nothing(whole, tmp_path, monkeypatch, capsys, method):
    def fail(self, *args):
        raise ConnectionError("the service\nis away")

    monkeypatch.setattr(TensorBoardLogger, method, fail)
    log = {"every": 1, "flops": False, "loggers": [{"kind": "tensorboard"}]}
    summary = train(tiny.spec(**fields(tmp_path), log=log), silent)
    assert summary["finished"]
    assert summary["weights_sha256"] == whole[1]["weights_sha256"]
    told = capsys.readouterr().err
    warning = (
        f"warning: log.loggers.0: logger 'tensorboard' (plugin sslkit:loggers): {method} failed: "
        "ConnectionError: the service is away; training goes on"
    )
    assert told.count(warning) == 1


@pytest.mark.parametrize(("pause", "drawings"), [(online_evaluation.REDRAWN, 2), (0.0, 3)])
def test_figures_are_drawn_now_and_then_and_at_the_end(tmp_path, monkeypatch, pause, drawings):
    """Evaluations of a few seconds would draw for longer than they read."""
    steps = []
    drawn = online_evaluation.draw_curves

    def draw(folder, warn):
        steps.append(metrics_log.read(folder)[-1]["step"])
        return drawn(folder, warn)

    monkeypatch.setattr(online_evaluation, "draw_curves", draw)
    monkeypatch.setattr(online_evaluation, "REDRAWN", pause)
    monkeypatch.setattr(online_evaluation.time, "monotonic", lambda: 5.0)
    train(tiny.spec(**fields(tmp_path), log=tiny.DRAWN), silent)
    assert steps == [*[3, 6][: drawings - 1], 8]
    assert (tmp_path / "figures" / "curves.png").stat().st_size > 0


def test_a_run_without_figures_draws_none_and_is_the_same_otherwise(whole, tmp_path):
    summary = train(tiny.spec(**fields(tmp_path), log={**tiny.DRAWN, "figures": True}), silent)
    assert len(list((tmp_path / "figures").iterdir())) == 2
    assert not list((whole[0] / "figures").iterdir())
    assert summary["weights_sha256"] == whole[1]["weights_sha256"]
    assert summary["best"] == whole[1]["best"]
