#!/usr/bin/env bash
# A killed worker of a DataLoader raises wherever the main process is, not where a batch is asked for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.13.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import multiprocessing
import os
import signal
import time

import torch
from torch.utils.data import DataLoader

print("torch", torch.__version__)
print("guess: the error of a worker that was killed, as for memory, shows where the next batch is asked for")
batches = iter(DataLoader(torch.arange(1000), num_workers=1, batch_size=1))
next(batches)
os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
where = "next()"
end = time.monotonic() + 30
try:
    while time.monotonic() < end:
        sum(range(1000))  # an update of the weights, say; no batch is asked for
except RuntimeError as error:
    where, text = "unrelated code", str(error)
print("seen: raised in", where)
assert where == "unrelated code" and "killed" in text, where
PY
