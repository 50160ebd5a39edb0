"""VideoMAE and SlowFast as runs: ranks, kills, graphs, micro-batches, every masker."""

from __future__ import annotations

import shutil

import pytest
import torch

from sslkit.build.restore import restore
from sslkit.core.passes import Request
from sslkit.runs.checkpoint import Checkpoints
from sslkit.train.compose import compose
from sslkit.train.launch import resume, train
from tests import tiny
from tests.distributed.forked import on_ranks
from tests.plugins.video import clip_runs
from tests.plugins.video.clip_runs import MASKERS, RUNS, VIDEOMAE, VIEW

QUIET = {"log": {"every": 1, "figures": False, "flops": False}, "steps": 6}


def losses(count=2, **changes):
    run = clip_runs.spec(**changes)
    composed = compose(run, tiny.CPU)
    feed = clip_runs.feed(run, composed)
    return [composed.step(i, feed.step(i)).total.item() for i in range(count)]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "two.pt"
    on_ranks(clip_runs.main, path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", sorted(RUNS))
def test_two_ranks_and_shards_make_the_steps_of_one_process(ranks, name):
    """Batch norm of few values makes more of rounding; with statistics of each rank the first loss is another."""
    one, atol = clip_runs.steps(tiny.CPU, **RUNS[name]), 1e-5 if name == "slowfast" else 1e-6
    for kind in ("DataParallel", "Sharded"):
        two = ranks[f"{name} {kind}"]
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert two["state"].keys() == one["state"].keys()
        for key, value in one["state"].items():
            torch.testing.assert_close(two["state"][key], value, rtol=1e-4, atol=atol, msg=f"{kind} {key}")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_run_that_was_stopped_ends_bit_equal(tmp_path, name):
    changes = {**QUIET, **RUNS[name]}
    whole = train(clip_runs.spec(tmp_path / "whole", **changes), say=lambda text: None)
    folder = tmp_path / "part"
    train(clip_runs.spec(folder, **changes), say=lambda text: None)
    (folder / "summary.json").unlink()
    shutil.rmtree(Checkpoints(folder / "checkpoints").all()[-1])
    again = resume(folder, say=lambda text: None)
    assert again["step"] == whole["step"] == 6
    assert again["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.parametrize("name", sorted(RUNS))
def test_one_graph_makes_the_same_step(name):
    plain = losses(**RUNS[name])
    torch._dynamo.reset()
    compiled = losses(compile={"enabled": True, "backend": "aot_eager"}, **RUNS[name])
    assert compiled == pytest.approx(plain, rel=1e-5)


def test_micro_batches_make_the_same_step():
    assert losses(micro_batch_size=8) == pytest.approx(losses(), rel=1e-5)


@pytest.mark.parametrize("masker", MASKERS, ids=lambda masker: masker["kind"])
@pytest.mark.parametrize("target", ["cubelet", "normalized_pixel"])
def test_every_masker_and_target_trains(masker, target):
    objective = {**VIDEOMAE, "masker": masker, "target": {"kind": target}}
    first, *_, last = losses(6, objective=objective, optimizer={"lr": 0.01, "scale": "absolute"})
    assert last < first


def test_a_trained_network_reads_clips_again(tmp_path):
    train(clip_runs.spec(tmp_path / "run", **QUIET), say=lambda text: None)
    restored = restore(tmp_path / "run")
    net = restored.net("student")
    (answer,) = net([Request(torch.zeros(1, 2, 1, 4, 16, 16), None, "drop", (0,))])
    assert answer.patch.shape == (1, 2, 8, 12)
    assert restored.views["global"].sides == tuple(VIEW["size"])


def test_a_pyramid_of_a_run_is_as_wide_as_its_parts(tmp_path):
    changes = {
        **QUIET,
        "readout": {"pool": "mean", "pyramid": [1, 2]},
        "evaluate": [{"kind": "knn", "k": [1]}],
    }
    done = train(clip_runs.spec(tmp_path / "run", **changes), say=lambda text: None)
    assert 0 <= done["metrics"]["eval/knn/accuracy"] <= 1
