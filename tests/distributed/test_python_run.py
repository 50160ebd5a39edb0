"""Objects of Python on two ranks: each rank makes its own, and the run is that of one process."""

from __future__ import annotations

import pytest

from sslkit.runs import metrics_log
from sslkit.runs.lock import read_lock
from sslkit.runs.summary import read_summary
from tests.distributed import python_run_worker
from tests.distributed.forked import on_ranks


def losses(out):
    return [one["loss"] for one in metrics_log.read(out)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("alone") / "run"
    python_run_worker.main(str(out))
    return out


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_equal_one(alone, tmp_path, parallel):
    on_ranks(python_run_worker.main, tmp_path / "run", parallel)
    assert read_lock(tmp_path / "run")["resolved"]["ranks"] == 2
    assert read_summary(tmp_path / "run")["finished"]
    assert len(losses(alone)) == 4
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-4)
