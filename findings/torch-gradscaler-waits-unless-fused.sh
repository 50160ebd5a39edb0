#!/usr/bin/env bash
# GradScaler.step reads a number from the device in every step, unless the optimizer is a fused one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.13.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import torch

print("torch", torch.__version__)
print("guess: skipping a step whose gradients overflowed costs no wait for the device, with any optimizer")
reads = {}
for fused in (True, False):
    weight = torch.nn.Parameter(torch.ones(3))
    scaler, optimizer = torch.amp.GradScaler("cpu"), torch.optim.AdamW([weight], fused=fused)
    scaler.scale(weight.sum()).backward()
    item, calls = torch.Tensor.item, []
    torch.Tensor.item = lambda self: calls.append(1) or item(self)
    try:
        scaler.step(optimizer)
    finally:
        torch.Tensor.item = item
    reads["fused" if fused else "not fused"] = len(calls)
print("seen: calls of Tensor.item() in one scaler.step():", reads)
assert reads["fused"] == 0 and reads["not fused"] >= 1, reads
PY
