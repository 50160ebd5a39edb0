#!/usr/bin/env bash
# `to_tensor` of a 16-bit image gives int16: what is above 32767 turns negative, while `pil_to_tensor` and v2 keep it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" torchvision==0.29.1 torch==2.14.1 pillow==13.0.0 numpy
PYTHONPATH="$folder/packages" python3 - <<'PY'
import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional
from torchvision.transforms.v2 import functional as v2

print("torchvision", torchvision.__version__)
print("guess: to_tensor gives floats from 0 to 1, or at least the stored values")
image = Image.fromarray(np.array([[0, 100, 40000, 65535]], np.uint16))
seen = functional.to_tensor(image)
print(f"seen: to_tensor {seen.dtype} {seen.flatten().tolist()}; pil_to_tensor {functional.pil_to_tensor(image).dtype}; "
      f"v2.to_image {v2.to_image(image).dtype}")
assert seen.dtype == torch.int16
assert seen.flatten().tolist() == [0, 100, -25536, -1]
assert functional.pil_to_tensor(image).dtype == v2.to_image(image).dtype == torch.uint16
PY
