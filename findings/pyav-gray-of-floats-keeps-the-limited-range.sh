#!/usr/bin/env bash
# PyAV: black and white of an ordinary video are 0 and 255 as "gray", 0 and 1 nearly as planes of color in float, and 0.06 and 0.92 as
# gray in float.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" av==18.1.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import av
import numpy as np

print("PyAV", av.__version__)
print("guess: every format that a frame is converted to spans its own range: 0 to 255, to 65535 or to 1")
seen = {}
for name, value in (("black", 0), ("white", 255)):
    stored = av.VideoFrame.from_ndarray(np.full((64, 64, 3), value, np.uint8), format="rgb24").reformat(format="yuv420p")
    for form, top in (("gray", 255), ("rgb24", 255), ("gray16le", 65535), ("gbrpf32le", 1.0), ("grayf32le", 1.0)):
        seen[form, name] = float(stored.to_ndarray(format=form).reshape(-1)[0]) / top
for form in ("gray", "rgb24", "gray16le", "gbrpf32le", "grayf32le"):
    print(f"seen: {form}: black {seen[form, 'black']:.4f}, white {seen[form, 'white']:.4f} of the range")
    if form != "grayf32le":
        assert seen[form, "black"] == 0 and seen[form, "white"] > 0.99
assert abs(seen["grayf32le", "black"] - 16 / 255) < 5e-3
assert abs(seen["grayf32le", "white"] - 235 / 255) < 5e-3
PY
