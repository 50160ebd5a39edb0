"""Two gloo ranks under torchrun against one process on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from sslkit.cli.main import main
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import Checkpoints, load
from tests import tiny
from tests.distributed import worker
from tests.distributed.forked import on_ranks


def torchrun(*arguments, ranks=2):
    """The launcher itself, with what a user would write behind it; see `forked` for many small cases."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={ranks}",
        *map(str, arguments),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def relative(found, expected):
    scale = max(value.abs().max().item() for value in expected.values())
    return max((found[key] - expected[key]).abs().max().item() for key in expected) / scale


@pytest.mark.parametrize(
    "case",
    [
        "mae",
        "micro",
        "queue",
        "projected",
        "regularized",
        "difficulty",
        "curriculum",
        "varying",
        "blocks",
        "contrast",
        "contrast_micro",
        "moco",
        "negative_free",
        "distillation",
        "centers",
        "hybrid_fixed",
        "hybrid_pcgrad",
    ],
)
def test_gradients_of_two_ranks_equal_one_process(tmp_path, case):
    """Losses, gradients, buffers and moving averages after three steps."""
    on_ranks(worker.main, case, tmp_path / "two.pt")
    worker.main(case, str(tmp_path / "one.pt"))
    two, one = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two", "one"))
    assert two["gradients"].keys() == one["gradients"].keys()
    assert relative(two["gradients"], one["gradients"]) < 1e-5
    floats = {k: v for k, v in one["state"].items() if v.is_floating_point()}
    assert relative({k: two["state"][k] for k in floats}, floats) < 1e-5
    assert all(torch.equal(two["state"][k], v) for k, v in one["state"].items() if not v.is_floating_point())
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)


def test_a_whole_run_on_two_ranks_equals_one_process(tmp_path):
    """`torchrun sslkit run`: logged losses, evaluation and weights."""
    fields = tiny.fields(
        steps=6,
        evaluate=[{"kind": "knn", "every": "3 steps"}],
        checkpoint={"every": "3 steps"},
        optimizer={"name": "sgd", "lr": 0.1},  # Adam divides rounding errors by gradients near 0
    )
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(fields))
    torchrun("-m", "sslkit", "run", spec, "--out", tmp_path / "two")
    assert main(["run", str(spec), "--out", str(tmp_path / "one")]) == 0
    records = [metrics_log.read(tmp_path / name) for name in ("one", "two")]
    losses = [[e["loss"] for e in entries if "loss" in e] for entries in records]
    assert len(losses[1]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    scores = [[e["eval/knn/accuracy"] for e in entries if "eval/knn/accuracy" in e] for entries in records]
    assert scores[1] == pytest.approx(scores[0], abs=0.01)
    weights = [
        load(Checkpoints(tmp_path / name / "checkpoints").all()[-1]).state["system"]
        for name in ("one", "two")
    ]
    assert relative(weights[1], weights[0]) < 1e-5
    assert json.loads((tmp_path / "two/summary.json").read_text())["finished"]
