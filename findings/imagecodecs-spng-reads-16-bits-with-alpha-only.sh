#!/usr/bin/env bash
# One of two PNG decoders of a package reads 16-bit images with alpha and refuses them without, gray or color; the other reads all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" imagecodecs==2026.3.6 numpy
PYTHONPATH="$folder/packages" python3 - <<'PY'
from importlib.metadata import version

import imagecodecs
import numpy as np

print("imagecodecs", version("imagecodecs"))
print("guess: spng_decode reads every PNG that png_encode writes, as png_decode does")
seen = {}
for name, shape in {"gray": (16, 16), "color": (16, 16, 3), "color and alpha": (16, 16, 4)}.items():
    for bits, dtype in ((8, np.uint8), (16, np.uint16)):
        pixels = (np.arange(np.prod(shape)) * (50 if bits == 16 else 1)).astype(dtype).reshape(shape)
        stored = imagecodecs.png_encode(pixels)
        assert np.array_equal(imagecodecs.png_decode(stored), pixels)
        try:
            seen[name, bits] = "read" if np.array_equal(imagecodecs.spng_decode(stored), pixels) else "other values"
        except imagecodecs.SpngError as error:
            seen[name, bits] = f"refused: {error}"
        print(f"seen: {bits}-bit {name}: {seen[name, bits]}")
assert {seen[name, 8] for name in ("gray", "color", "color and alpha")} == {"read"}
assert seen["color and alpha", 16] == "read"
assert seen["gray", 16].startswith("refused")
assert seen["color", 16].startswith("refused")
PY
