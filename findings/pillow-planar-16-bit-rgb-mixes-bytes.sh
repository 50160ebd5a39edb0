#!/usr/bin/env bash
# A 16-bit RGB TIFF with separate planes opens as 8-bit RGB in which low and high bytes take turns.
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

print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
print("guess: 16-bit RGB is refused, or becomes 8 bits by its high bytes, whatever the planes' layout")
folder = pathlib.Path(sys.argv[1])
values = (np.arange(48, dtype=np.uint16) * 1000).reshape(4, 4, 3)
tifffile.imwrite(folder / "together.tif", values, photometric="rgb")
tifffile.imwrite(folder / "apart.tif", values.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
assert np.array_equal(tifffile.imread(folder / "apart.tif").transpose(1, 2, 0), values)
seen = {}
for name in ("together", "apart"):
    with Image.open(folder / f"{name}.tif") as image:
        image.load()
        seen[name] = np.asarray(image)
        print(f"seen: {name}: mode {image.mode}, first values {seen[name].reshape(-1)[:4].tolist()} of 0, 1000, 2000, 3000")
assert np.array_equal(seen["together"], values >> 8)
assert not np.array_equal(seen["apart"], values >> 8)
plain = np.ascontiguousarray(values.transpose(2, 0, 1).astype("<u2")).reshape(3, -1).view(np.uint8)[:, :16].reshape(3, 4, 4)
mixed = np.array_equal(seen["apart"], plain.transpose(1, 2, 0))
print("seen: apart: the low and the high byte of a sample are neighbouring pixels:", mixed)
assert mixed
PY
