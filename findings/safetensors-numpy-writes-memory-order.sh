#!/usr/bin/env bash
# safetensors.numpy saves a transposed array as its memory lies, under the transposed shape: it loads with its numbers in other places.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" safetensors==0.8.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import io
import warnings
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, save

warnings.simplefilter("error")
print("safetensors", version("safetensors"))
print("guess: an array loads with the values that it was saved with, as np.save does; or it is refused, as the torch half refuses it")
weight = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, array in {"in order": weight, "transposed": weight.T, "copied": np.ascontiguousarray(weight.T)}.items():
    again = load(save({"weight": array}))["weight"]
    print(f"seen: {name}: {array.tolist()} -> {again.tolist()}")
    assert again.shape == array.shape
    assert np.array_equal(again, array) == (name != "transposed")
stored = io.BytesIO()
np.save(stored, weight.T)
stored.seek(0)
assert np.array_equal(np.load(stored), weight.T)
PY
