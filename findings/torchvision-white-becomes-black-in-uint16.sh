#!/usr/bin/env bash
# `to_dtype(scale=True)` to uint16 makes 1.0 black (0), and 255 of uint8 not 65535.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" torchvision==0.29.1 torch==2.14.1
PYTHONPATH="$folder/packages" python3 - <<'PY'
import torch
import torchvision
from torchvision.transforms.v2 import functional as F

print("torchvision", torchvision.__version__)
print("guess: the ends of the range stay its ends: 1.0 and 255 become 65535")
floats = F.to_dtype(torch.tensor([0.0, 0.5, 1.0]), torch.uint16, scale=True).tolist()
nearly = F.to_dtype(torch.tensor([0.99998]), torch.uint16, scale=True).tolist()
small = F.to_dtype(torch.tensor([0, 128, 255], dtype=torch.uint8), torch.uint16, scale=True).tolist()
back = F.to_dtype(torch.tensor([0, 65535], dtype=torch.uint16), torch.float32, scale=True).tolist()
print(f"seen: 0.0, 0.5, 1.0 -> {floats}; 0.99998 -> {nearly}; uint8 0, 128, 255 -> {small}; back from 0, 65535 -> {back}")
assert floats[2] == 0
assert nearly[0] > 65000
assert small == [0, 32768, 65280]
assert back == [0.0, 1.0]
PY
