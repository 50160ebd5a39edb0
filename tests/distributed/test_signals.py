"""Two ranks that are to stop: together, after the same step, and soon."""

from __future__ import annotations

import json
import signal

import pytest
import yaml

from sslkit.runs.checkpoint import FOLDER, META, Checkpoints
from sslkit.runtime.rank_agreement import Agreement
from sslkit.train.launch import resume
from tests import tiny
from tests.distributed import signal_worker
from tests.distributed.forked import on_ranks


def stop(tmp_path, when, **changes):
    """Run on two ranks until a signal: (run folder, exit codes, what was printed)."""
    spec, out = tmp_path / "spec.yaml", tmp_path / "run"
    fields = tiny.fields(steps=8, evaluate=[{"kind": "knn", "every": "6 steps"}], **changes)
    spec.write_text(yaml.safe_dump(fields))
    printed = on_ranks(signal_worker.main, when, spec, out)
    return out, [int((tmp_path / f"run-{rank}").read_text()) for rank in range(2)], printed


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_stop_after_the_same_step_whoever_was_asked(tmp_path, parallel, rank):
    """`log.every` is far: `torchrun` kills 30 s after it has passed a signal on."""
    out, codes, printed = stop(
        tmp_path, f"step-{rank}", log={"every": 1000, "flops": False}, parallel=parallel,
        checkpoint={"every": "1000 steps"},
    )  # fmt: skip
    asked, other = 128 + signal.SIGUSR1, 128 + signal.SIGTERM
    assert codes == ([asked, other] if rank == 0 else [other, asked])
    assert [path.name for path in Checkpoints(out / FOLDER).all()] == ["step-00000004"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["finished"], summary["step"]) == (False, 4)
    assert summary["stopped_by"] == ("SIGUSR1" if rank == 0 else "another rank")
    assert f"  sslkit resume {out}" in printed


def test_ranks_leave_an_evaluation_with_their_checkpoint(tmp_path):
    out, codes, printed = stop(tmp_path, "evaluation")
    assert codes == [128 + signal.SIGUSR1] * 2
    newest = Checkpoints(out / FOLDER).all()[-1]
    assert newest.name == "step-00000006"
    assert not json.loads((newest / META).read_text())["evaluated"]
    assert "stopped by SIGUSR1 at step 6; everything is saved. Go on with:" in printed
    summary = resume(out, lambda text: None)
    assert summary["finished"]
    assert [path.name for path in sorted((out / "evaluations").iterdir())] == [
        "step-00000006",
        "step-00000008",
    ]


def test_one_process_has_nobody_to_agree_with():
    agreement = Agreement(tiny.CPU)
    assert [agreement.any(wants) for wants in (False, True, False)] == [False, True, False]
