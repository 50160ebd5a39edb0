"""`srun -n 2 sslkit run` is one run of two ranks, and no two runs in one folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml

from sslkit.runs import metrics_log
from sslkit.runs.owner import owned
from tests import tiny
from tests.distributed import srun_worker
from tests.distributed.forked import on_ranks


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(tiny.fields(steps=3, evaluate=[{"kind": "knn", "k": 3}])))
    return path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def srun(tmp_path: Path, out: str, *words: object) -> tuple[list[int], str]:
    """Exit codes of both ranks, and what they printed."""
    printed = on_ranks(srun_worker.main, free_port(), tmp_path / out, *words)
    beside = str(tmp_path / out).format(rank="")
    return [int(Path(f"{beside}-{rank}").read_text(encoding="utf-8")) for rank in range(2)], printed


def test_its_tasks_are_ranks_of_one_run(tmp_path, spec):
    codes, printed = srun(tmp_path, "run", spec)
    assert codes == [0, 0], printed
    steps = [record["step"] for record in metrics_log.read(tmp_path / "run") if "loss" in record]
    assert steps == [1, 2, 3], "each record once"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["finished"]
    assert printed.count("3 steps of 32 images") == 1
    assert printed.count("written:") == 1


def test_all_ranks_end_where_the_folder_is_another_process_s(tmp_path, spec):
    with owned(tmp_path / "run", print):
        codes, printed = srun(tmp_path, "run", spec)
    assert codes == [2, 2]
    assert "is writing it. Wait until that has ended" in printed
    assert "the first rank cannot go on; its message says why" in printed


def test_tasks_with_specs_of_their_own_are_told_apart(tmp_path, spec):
    """As by `srun -n 2 bash -c 'sslkit run spec.yaml seed=$SLURM_PROCID'`, which made two runs."""
    codes, printed = srun(tmp_path, "run{rank}", spec, "seed={rank}")
    assert codes == [2, 2]
    assert printed.count("some have another spec or folder") == 2
    assert "set WORLD_SIZE=1, so that each makes a run of its own" in printed
    assert not (tmp_path / "run0").exists()
