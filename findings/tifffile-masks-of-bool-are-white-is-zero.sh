#!/usr/bin/env bash
# A mask of bools is written with zero as white: tifffile reads it back, Pillow opens its negative.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" pillow==13.0.0 tifffile==2026.3.3 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys

import numpy as np
import tifffile
from PIL import Image

print("tifffile", tifffile.__version__)
print("guess: True is written as 1, and is white for every reader")
path = pathlib.Path(sys.argv[1]) / "mask.tif"
mask = np.eye(8, dtype=bool)
tifffile.imwrite(path, mask)
with tifffile.TiffFile(path) as file:
    photometric = file.pages[0].photometric.name
with Image.open(path) as image:
    opened = np.asarray(image)
print(f"seen: photometric {photometric}; read again equal: {np.array_equal(tifffile.imread(path), mask)}; "
      f"opened with Pillow as its negative: {np.array_equal(opened, ~mask)}")
assert photometric == "MINISWHITE"
assert np.array_equal(tifffile.imread(path), mask)
assert np.array_equal(opened, ~mask)
PY
