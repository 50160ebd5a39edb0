"""Towers on two gloo ranks, replicated and in shards, against one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.distributed import streams_worker
from tests.distributed.forked import on_ranks


def test_two_ranks_and_shards_make_the_steps_of_one_process(tmp_path: Path) -> None:
    on_ranks(streams_worker.main, tmp_path / "two.pt")
    two, one = torch.load(tmp_path / "two.pt", weights_only=True), streams_worker.steps(tiny.CPU)
    assert any(name.startswith("nets.reader.") for name in one["state"])
    for kind in ("DataParallel", "Sharded"):
        assert two[kind]["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert two[kind]["learned"] == one["learned"]
        assert two[kind]["state"].keys() == one["state"].keys()
        for name, value in one["state"].items():
            assert torch.allclose(two[kind]["state"][name], value, rtol=1e-4, atol=1e-6), (kind, name)
