"""SIGKILL at any moment: the resumed run ends bit-equal to one that was never disturbed."""

from __future__ import annotations

import json
import random
import signal
import time

import pyarrow.parquet as pq
import yaml

from sslkit.cli.main import main
from sslkit.runs import metrics_log
from tests import tiny
from tests.distributed.forked import sslkit, started


def finish(*arguments):
    """To the end, in this process, where nothing need be imported again."""
    assert main([*map(str, arguments)]) == 0


def kill_after(process, run_dir, step, output):
    """SIGKILL as soon as the record of `step` is in the file: it is then somewhere in a later step."""
    deadline = time.monotonic() + 400  # of a machine that does other things, too
    while not any(entry["step"] >= step for entry in metrics_log.read(run_dir)):
        assert process.is_alive(), output.read_text()
        assert time.monotonic() < deadline, "the run never came to the step"
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def outcome(folder):
    """What a run left behind, times left out."""
    summary = json.loads((folder / "summary.json").read_text())
    entries = [{k: v for k, v in e.items() if k != "images_per_s"} for e in metrics_log.read(folder)]
    losses = [entry for entry in entries if "loss" in entry]
    return summary["weights_sha256"], summary["best"], losses, [e for e in entries if "loss" not in e]


def killed_and_whole(tmp_path, fields, kills, seed):
    """The outcomes of a run that is killed at random steps and resumed, and of one that is not."""
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fields))
    finish("run", path, "--out", tmp_path / "whole")
    cut = tmp_path / "cut"
    choice = random.Random(seed)
    steps = sorted(
        choice.sample(range(2, json.loads((tmp_path / "whole/summary.json").read_text())["step"] - 6), kills)
    )
    output = tmp_path / "output"
    for i, step in enumerate(steps):
        words = ("run", path, "--out", cut) if i == 0 else ("resume", cut)
        kill_after(started(sslkit, *words, output=output), cut, step, output)
    finish("resume", cut)
    return outcome(cut), outcome(tmp_path / "whole")


def test_digits_killed_twice(tmp_path):
    fields = tiny.fields(
        steps=60,
        checkpoint={"every": "7 steps"},
        evaluate=[{"kind": "knn", "every": "20 steps"}],
        nets={"ema": {"momentum": 0.9}},
        readout={"net": "ema", "pool": "mean"},
    )
    killed, whole = killed_and_whole(tmp_path, fields, kills=2, seed=1)
    assert killed == whole


def test_cifar10_from_worker_processes_killed_once(tmp_path, shared_data):
    """Decoded by workers, mid-epoch, in a run that crosses epochs."""
    table = pq.read_table(shared_data / "cifar10/cifar10-test-00000-of-00001.parquet").slice(0, 640)
    pq.write_table(table, tmp_path / "subset.parquet")
    fields = tiny.fields(
        data={"kind": "parquet", "files": str(tmp_path / "subset.parquet"), "image_column": "img"},
        views={"global": {"size": 16, "augment": tiny.AUGMENT}},
        workers=1,
        batch_size=64,
        steps=32,
        checkpoint={"every": "6 steps"},
    )
    killed, whole = killed_and_whole(tmp_path, fields, kills=1, seed=2)
    assert killed == whole
