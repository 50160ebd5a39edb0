#!/usr/bin/env bash
# JPEG XL of 16-bit color opens as 8-bit RGB, while 16-bit gray keeps its bits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  pillow-jxl-plugin==1.3.8 pillow==13.0.0 imagecodecs==2026.3.6 numpy
PYTHONPATH="$folder/packages" python3 - <<'PY'
import io
from importlib.metadata import version

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401  registers the format
from PIL import Image

print("pillow-jxl-plugin", version("pillow-jxl-plugin"), "pillow", version("pillow"))
print("guess: 16-bit color is refused, or keeps its bits as 16-bit gray does")
rows = {}
for name, shape in {"gray": (16, 16), "color": (16, 16, 3)}.items():
    pixels = (np.arange(np.prod(shape)) * 80).astype(np.uint16).reshape(shape)
    stored = imagecodecs.jpegxl_encode(pixels, lossless=True)
    assert np.array_equal(imagecodecs.jpegxl_decode(stored), pixels), "the file itself holds all 16 bits"
    with Image.open(io.BytesIO(stored)) as image:
        seen = np.asarray(image)
        rows[name] = (image.mode, len(np.unique(pixels)), len(np.unique(seen)))
        print(f"seen: {name}: mode {image.mode}, {rows[name][1]} values in the file, {rows[name][2]} after opening")
assert rows["gray"] == ("I;16", 256, 256)
assert rows["color"][0] == "RGB"
assert rows["color"][1] == 768
assert rows["color"][2] <= 256
PY
