#!/usr/bin/env bash
# F.normalize in float16: its guard against a division by zero is zero there, and a long vector becomes zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" torch==2.13.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import torch
import torch.nn.functional as F

print("torch", torch.__version__)
print("guess: normalize gives zeros for zeros (eps is there for that) and length 1 for the rest, in every type that holds the input")
vectors = {"zeros": torch.zeros(1, 768), "3000 everywhere": torch.full((1, 768), 3000.0)}
seen = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for name, vector in vectors.items():
        seen[dtype, name] = F.normalize(vector.to(dtype)).float().norm().item()
        print(f"seen: {dtype}: {name}: length {seen[dtype, name]:.3f}")
for dtype in (torch.float32, torch.bfloat16):
    assert seen[dtype, "zeros"] == 0
    assert abs(seen[dtype, "3000 everywhere"] - 1) < 0.01
assert seen[torch.float16, "zeros"] != seen[torch.float16, "zeros"], "not a number"
assert seen[torch.float16, "3000 everywhere"] == 0
PY
