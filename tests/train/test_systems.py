"""Windows and macOS by simulation: what POSIX alone has is missing, and worker processes begin anew."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading, _Shared, as_it_is
from sslkit.data.loaders import WorkerFeed
from sslkit.runtime import parallel
from sslkit.runtime.atomic_files import write_text
from sslkit.runtime.signals import leave_signals
from sslkit.train.compose import compose
from tests import tiny
from tests.conftest import ROOT

WINDOWS = '''
import fcntl, os, signal, sys, torch
from pathlib import Path

fsync, flags = os.fsync, fcntl.fcntl
def windows_fsync(descriptor):
    """FlushFileBuffers wants a handle that may write."""
    if flags(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    fsync(descriptor)
os.fsync = windows_fsync
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGQUIT"):
    delattr(signal, name)
from sslkit.runtime import atomic_files
atomic_files.os = type("os", (), {**vars(os), "name": "nt"})

from sslkit.cli.main import main
from tests import tiny
from sslkit.specs.load import dump
out = Path(sys.argv[1])
spec = out / "tiny.yaml"
run = tiny.spec(out / "run", evaluate=[{"kind": "knn", "k": 3}], steps=3)
spec.write_text(dump(run), encoding="utf-8")
assert main(["run", str(spec)]) == 0
assert main(["export", str(out / "run"), "--out", str(out / "net.safetensors")]) == 0
sweep = out / "sweep.yaml"
sweep.write_text(f"base: {spec}\\naxes: {{seed: [0, 1]}}\\n", encoding="utf-8")
assert main(["sweep", str(sweep), "--out", str(out / "cells")]) == 2
'''


def test_a_run_needs_nothing_that_posix_alone_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "file locks of POSIX systems" in done.stderr
    assert '"peak_memory_mib": null' in (tmp_path / "run" / "summary.json").read_text(encoding="utf-8")


def test_a_written_file_is_synced_by_a_handle_that_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl
    import os

    modes = []
    monkeypatch.setattr(os, "fsync", lambda d: modes.append(fcntl.fcntl(d, fcntl.F_GETFL) & os.O_ACCMODE))
    write_text(tmp_path / "a", "x")
    assert modes == [os.O_RDWR, os.O_RDONLY], "the file, and then its folder, which Windows leaves out"
    assert (tmp_path / "a").read_text(encoding="utf-8") == "x"


def test_workers_can_begin_anew(tmp_path: Path) -> None:
    """macOS and Windows start worker processes by `spawn`, which pickles all that they need."""
    for kind in ("cats", "dogs"):
        (tmp_path / kind).mkdir()
        for i in range(4):
            pixels = np.full((12, 16, 3), 30 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    view = {"size": 8, "augment": tiny.AUGMENT}
    run = tiny.spec(data={"kind": "folder", "root": str(tmp_path)}, views={"global": view}, batch_size=4)
    composed = compose(run, tiny.CPU)
    pipeline = Pipeline(run.views, composed.env.views, run.seed, in_workers=True)
    feed = WorkerFeed(
        composed.source, composed.order, pipeline, torch.device("cpu"),
        start=0, stop=1, how=Loading(0, "batch_size"), unreadable=lambda *_: None,
    )  # fmt: skip
    there = pickle.loads(pickle.dumps((feed._cutter, _Shared(as_it_is), leave_signals)))[0]
    items = next(iter(feed._plan))
    ours, theirs = feed._cutter.__getitems__(items), there.__getitems__(items)
    assert torch.equal(ours[0]["global"], theirs[0]["global"])


@pytest.mark.parametrize(("there", "backend"), [(True, "nccl"), (False, "gloo")])
def test_gpus_without_nccl_talk_by_gloo(monkeypatch: pytest.MonkeyPatch, there: bool, backend: str) -> None:
    """torch for Windows has no NCCL."""
    joined = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(parallel, "choose_device", lambda wanted: torch.device("cuda", 0))
    for name, value in {"is_nccl_available": there, "get_rank": 1, "get_world_size": 2}.items():
        monkeypatch.setattr(parallel.dist, name, lambda value=value: value)
    monkeypatch.setattr(parallel.dist, "init_process_group", lambda name, timeout: joined.append(name))
    assert parallel.start("cuda").world == 2
    assert joined == [backend]
