#!/usr/bin/env bash
# Parametrizations that are removed from a deep copy are half removed from the original, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 numpy
PYTHONPATH="$folder/packages" python3 - <<'PY'
import copy

import torch
from torch import nn
from torch.nn.utils import parametrize


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


print("torch", torch.__version__)
print("guess: a deep copy is the caller's own: what is removed from it stays in the original")
layer = nn.Linear(2, 2)
parametrize.register_parametrization(layer, "weight", Doubled())
images = torch.ones(1, 2)
before = layer(images)
merged = copy.deepcopy(layer)
parametrize.remove_parametrizations(merged, "weight")
assert torch.equal(merged(images), before)
try:
    seen = f"still gives {layer(images).tolist()}"
except AttributeError as error:
    seen = f"fails: {error}"
print("seen: the original", seen)
assert "no attribute 'weight'" in seen
PY
