"""Hybrids of images and texts on two gloo ranks, replicated and in shards, against one process; stopped, compiled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from sslkit import Run
from sslkit.api import resume_run
from sslkit.errors import Interrupted
from tests import tiny
from tests.distributed import text_worker
from tests.distributed.forked import on_ranks
from tests.train.test_trainer import stop_at


def test_two_ranks_and_shards_make_the_steps_of_one_process(tmp_path: Path) -> None:
    on_ranks(text_worker.main, tmp_path / "two.pt")
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    for name, spec in text_worker.specs().items():
        one = text_worker.steps(spec, tiny.CPU)
        for kind in ("DataParallel", "Sharded"):
            assert two[name][kind]["losses"] == pytest.approx(one["losses"], rel=1e-5), (name, kind)
            assert two[name][kind]["state"].keys() == one["state"].keys()
            for key, value in one["state"].items():
                theirs = two[name][kind]["state"][key]
                assert torch.allclose(theirs, value, rtol=1e-4, atol=1e-6), (name, kind, key)


@pytest.mark.parametrize("name", ["hybrid", "albef"])
def test_a_stopped_run_ends_with_the_bits_of_one_that_was_not(tmp_path, monkeypatch, name):
    def run(out):
        return Run(**text_worker.fields(str(tmp_path / out), checkpoint={"every": "1 steps"})[name])

    whole = run("whole").fit()
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run("cut").fit()
    resumed = resume_run(str(tmp_path / "cut" / name))
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


@pytest.mark.parametrize("name", ["hybrid", "albef"])
def test_one_graph_makes_the_same_step(name):
    torch._dynamo.reset()
    counters.clear()
    eager = text_worker.steps(text_worker.specs()[name], tiny.CPU)
    compiled = text_worker.specs(compile={"enabled": True, "backend": "aot_eager"})[name]
    traced = text_worker.steps(compiled, tiny.CPU)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert traced["losses"] == pytest.approx(eager["losses"], rel=1e-5)
