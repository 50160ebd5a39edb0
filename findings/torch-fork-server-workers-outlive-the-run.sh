#!/usr/bin/env bash
# Workers of a DataLoader that a fork server started stay when the process that reads from them is killed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 numpy
cat > "$folder/run.py" <<'PY'
import multiprocessing
import os
import signal
import sys

import torch
from torch.utils.data import DataLoader

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    batches = iter(DataLoader(torch.arange(1_000_000), num_workers=2, batch_size=1))
    next(batches)
    print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
PY
PYTHONPATH="$folder/packages" python3 - "$folder/run.py" <<'PY'
import contextlib
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

WAIT = 30.0  # seconds at most; workers look for their parent every five
print("torch", version("torch"))
print("guess: workers notice that the run was killed and end, however they were started (Python 3.14: fork server)")


def lives(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as state:
        return state.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def left(method):
    """How many of two workers live on after the run was killed."""
    command = [sys.executable, sys.argv[1], method]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    workers = [int(word) for word in run.stdout.readline().split()]
    run.wait()
    end = time.monotonic() + WAIT
    while any(map(lives, workers)) and time.monotonic() < end:
        time.sleep(0.2)
    living = [pid for pid in workers if lives(pid)]
    for pid in living:
        os.kill(pid, signal.SIGKILL)
    return len(living)


count = left("forkserver")
print(f"seen: {count} of 2 workers live {WAIT:.0f} s after the run was killed")
assert count == 2
PY
