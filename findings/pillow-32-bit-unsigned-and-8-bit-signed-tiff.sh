#!/usr/bin/env bash
# TIFF of unsigned 32-bit and signed 8-bit samples open with another sign, without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" pillow==13.0.0 tifffile==2026.3.3 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys
import warnings

import numpy as np
import PIL
import tifffile
from PIL import Image

warnings.simplefilter("error")
print("Pillow", PIL.__version__)
print("guess: values keep their sign, or the file is refused")
folder = pathlib.Path(sys.argv[1])
cases = {
    "uint32": (np.array([[0, 1, 2**31, 2**32 - 1]], np.uint32), [0, 1, -(2**31), -1]),
    "int8": (np.array([[0, 1, -128, -1]], np.int8), [0, 1, 128, 255]),
    "int16": (np.array([[0, 1, -32768, -1]], np.int16), [0, 1, -32768, -1]),
}
for name, (values, expected) in cases.items():
    tifffile.imwrite(folder / "a.tif", values)
    with Image.open(folder / "a.tif") as image:
        seen = np.asarray(image).reshape(-1).tolist()
        print(f"seen: {name} {values.reshape(-1).tolist()} -> mode {image.mode} {seen}")
    assert seen == expected, seen
PY
