"""Two gloo ranks with shards (FSDP2) against two with replicas (DDP) and against one process."""

from __future__ import annotations

import functools
import json
import shutil

import pytest
import torch
import yaml

from sslkit.build.restore import restore
from sslkit.cli.main import main
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import load
from sslkit.runs.weights import weights_sha256
from sslkit.train.compose import compose
from tests import tiny
from tests.distributed import fsdp_worker
from tests.distributed.forked import on_ranks, sslkit
from tests.distributed.fsdp_cases import CASES, case_spec
from tests.distributed.test_two_ranks import relative

ROUNDED = {"lamb", "centers", "pcgrad", "contrast_micro", "features_micro", "each_micro"}
"""Sums in another order: timm's norms of shards, gradients of several passes that accumulate or are weighed."""
ALONE = ["micro", "double", "lora", "moco", "centers", "curriculum", "pcgrad"]
"""What scores each image alone: no batch norm or queue of the tests' own asks for a group of ranks."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Case -> what it left on two ranks, in replicas and in shards; made when it is first asked for."""

    @functools.cache
    def of(case):
        path = tmp_path_factory.mktemp("fsdp") / "found.pt"
        on_ranks(fsdp_worker.main, path, case)
        return torch.load(path, weights_only=True)

    return of


def floats(state):
    return {key: value for key, value in state.items() if value.is_floating_point()}


@pytest.mark.parametrize("case", CASES)
def test_shards_equal_replicas(found, case):
    """Losses, gradient norms, weights, buffers, moving averages and moments after three steps."""
    replicas, shards = (found(case)[kind] for kind in ("DataParallel", "Sharded"))
    assert shards["losses"] == pytest.approx(replicas["losses"], rel=1e-6)
    assert shards["norms"] == pytest.approx(replicas["norms"], rel=1e-6)
    assert shards["state"].keys() == replicas["state"].keys()
    if case in ROUNDED:
        assert relative(floats(shards["state"]), floats(replicas["state"])) < 3e-6
        return
    different = [k for k, v in replicas["state"].items() if not torch.equal(shards["state"][k], v)]
    assert different == []
    for number, moments in replicas["moments"].items():
        for key, value in moments.items():
            assert torch.equal(torch.as_tensor(shards["moments"][number][key]), torch.as_tensor(value))


@pytest.mark.parametrize("case", ALONE)
def test_shards_equal_one_process(found, case):
    composed, losses = tiny.steps(case_spec(case), 3)
    shards = found(case)["Sharded"]
    assert shards["losses"] == pytest.approx(losses, rel=1e-5)
    state = composed.system.state_dict() | composed.step.masking.state_dict()
    assert shards["state"].keys() == state.keys()
    assert relative(floats(shards["state"]), floats(state)) < 1e-5


def test_graphs_of_blocks_change_nothing(found):
    eager, compiled = (found(case)["Sharded"] for case in ("mae", "compiled"))
    assert compiled["losses"] == eager["losses"]
    assert all(torch.equal(compiled["state"][key], value) for key, value in eager["state"].items())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run in shards, evaluated before, within and after training."""
    folder = tmp_path_factory.mktemp("run")
    fields = tiny.fields(
        steps=4,
        nets={"teacher": {"momentum": 0.9}},
        evaluate=[{"kind": "knn", "every": "2 steps", "baselines": True}],
        checkpoint={"every": "2 steps"},
        optimizer={"lr": 0.01, "clip": 1.0},
        log=tiny.DRAWN,
    )
    (folder / "spec.yaml").write_text(yaml.safe_dump(fields))
    on_ranks(sslkit, "run", folder / "spec.yaml", "parallel=fsdp", "--out", folder / "fsdp")
    return folder


def summary(run_dir):
    return json.loads((run_dir / "summary.json").read_text())


def records(run_dir):
    return [{k: v for k, v in entry.items() if k != "images_per_s"} for entry in metrics_log.read(run_dir)]


def cut_off(run, name):
    """A copy of the run as a kill after its first checkpoint leaves it."""
    shutil.copytree(run / "fsdp", run / name)
    shutil.rmtree(run / name / "checkpoints" / "step-00000004")
    (run / name / "summary.json").unlink()
    return run / name


def test_a_run_in_shards_leaves_what_any_run_leaves(run):
    done = summary(run / "fsdp")
    assert done["finished"]
    assert {"reconstruction.png", "curves.png"} <= {p.name for p in (run / "fsdp/figures").iterdir()}
    assert "untrained/knn/accuracy" in " ".join(done["baselines"])
    assert sum("eval/knn/accuracy" in entry for entry in records(run / "fsdp")) == 2
    restored = restore(run / "fsdp")
    assert weights_sha256(restored.system) == done["weights_sha256"]
    assert all(type(value) is torch.Tensor for value in restored.loaded.state["system"].values())
    moments = restored.loaded.state["optimizer"]["state"]
    assert {type(value) for one in moments.values() for value in one.values()} == {torch.Tensor}
    student = restored.system.nets["student"]
    assert sum(p.numel() for p in student.parameters() if p.requires_grad) == restored_size(run / "fsdp")


def restored_size(run_dir):
    return yaml.safe_load((run_dir / "spec.lock.yaml").read_text())["resolved"]["parameters"]["student"]


def test_a_stopped_run_ends_as_one_that_was_not(run):
    resumed = cut_off(run, "resumed")
    on_ranks(sslkit, "resume", resumed)
    assert summary(resumed)["weights_sha256"] == summary(run / "fsdp")["weights_sha256"]
    assert records(resumed) == records(run / "fsdp")
    one, two = (load(run / name / "checkpoints/step-00000004").state for name in ("fsdp", "resumed"))
    for number, moments in one["optimizer"]["state"].items():
        assert all(torch.equal(two["optimizer"]["state"][number][k], v) for k, v in moments.items())


def test_a_run_goes_on_in_replicas(run):
    """Here to the last bit, as the arithmetic is the same but for norms."""
    moved = cut_off(run, "moved")
    on_ranks(sslkit, "run", run / "spec.yaml", "parallel=ddp", "--out", moved)
    one, two = (load(run / name / "checkpoints/step-00000004").state["system"] for name in ("fsdp", "moved"))
    assert relative(floats(two), floats(one)) < 1e-6


def test_a_run_goes_on_in_one_process(run, capsys):
    moved = cut_off(run, "alone")
    assert main(["resume", str(moved)]) == 0
    assert "note: parallel=fsdp shares nothing in one process" in capsys.readouterr().out
    found = [[e["loss"] for e in records(d) if "loss" in e] for d in (moved, run / "fsdp")]
    assert len(found[0]) == 4
    assert found[0] == pytest.approx(found[1], rel=1e-4)  # Adam divides rounding errors by gradients near 0


def test_the_first_rank_of_one_process_holds_all():
    composed = compose(tiny.spec(parallel="fsdp"), tiny.CPU)
    assert composed.step.reading is composed.system
