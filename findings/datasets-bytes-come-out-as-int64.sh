#!/usr/bin/env bash
# datasets: arrays that are declared and stored as uint8 come out as int64 in the formats of numpy and torch, while images stay uint8.
# The folder is called site-packages because dill, which datasets hashes with, pickles modules elsewhere by value.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/site-packages" \
  datasets==5.2.0 pillow==12.0.0 numpy==2.4.6
PYTHONPATH="$folder/site-packages" HF_HOME="$folder" python3 - <<'PY'
import datasets
import numpy as np
from datasets import Array3D, Dataset, Features
from PIL import Image

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
print("guess: a column has the type of its declaration, so that its largest value is white when integers are scaled to 0 to 1")
pixels = np.full((4, 5, 3), 255, np.uint8)
seen = {}
for kind in ("uint8", "int16", "float16"):
    rows = Dataset.from_dict({"x": [pixels.astype(kind)]}, features=Features({"x": Array3D((4, 5, 3), kind)}))
    seen[kind] = rows.with_format("numpy")[0]["x"].dtype.name
images = Dataset.from_dict({"x": [Image.fromarray(pixels)]}, features=Features({"x": datasets.Image()}))
seen["image"] = images.with_format("numpy")[0]["x"].dtype.name
scaled = 255 / np.iinfo(seen["uint8"]).max
print("seen: types by declaration:", seen, f"- white over the largest number of its type: {scaled:.1e}")
assert seen == {"uint8": "int64", "int16": "int64", "float16": "float32", "image": "uint8"}, seen
assert scaled < 1e-15
PY
