#!/usr/bin/env bash
# Where zero is white, an 8-bit TIFF opens inverted (zero is 255) and a 16-bit one as stored (zero is 0).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" pillow==13.0.0 tifffile==2026.3.3 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print("Pillow", PIL.__version__)
print("guess: PhotometricInterpretation WhiteIsZero is handled in one way at every bit depth")
folder = pathlib.Path(sys.argv[1])
seen = {}
for dtype in (np.uint8, np.uint16):
    values = np.array([[0, 1, 200]], dtype)
    tifffile.imwrite(folder / "a.tif", values, photometric="miniswhite")
    with Image.open(folder / "a.tif") as image:
        seen[dtype] = np.asarray(image).reshape(-1).tolist()
        print(f"seen: {np.dtype(dtype)} [0, 1, 200] -> mode {image.mode} {seen[dtype]}")
assert seen[np.uint8] == [255, 254, 55]
assert seen[np.uint16] == [0, 1, 200]
PY
