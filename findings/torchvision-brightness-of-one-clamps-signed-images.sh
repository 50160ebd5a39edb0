#!/usr/bin/env bash
# Brightness by the factor 1 sets negative values of int16 and float images to 0, and floats above 1 to 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" torchvision==0.29.1 torch==2.14.1
PYTHONPATH="$folder/packages" python3 - <<'PY'
import torch
import torchvision
from torchvision.transforms.v2 import functional as F

print("torchvision", torchvision.__version__)
print("guess: the factor 1 changes nothing, of Hounsfield units for one")
units = torch.tensor([-1000, -40, 0, 300], dtype=torch.int16).reshape(1, 2, 2)
seen = F.adjust_brightness(units, 1.0).flatten().tolist()
floats = F.adjust_brightness(units.float(), 1.0).flatten().tolist()
print(f"seen: int16 {seen}; float {floats} of -1000, -40, 0, 300")
assert seen == [0, 0, 0, 300]
assert floats == [0.0, 0.0, 0.0, 1.0]
PY
