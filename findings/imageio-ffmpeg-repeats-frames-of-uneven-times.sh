#!/usr/bin/env bash
# imageio's FFMPEG reader fills the gaps of a video with uneven frame times: it gives four times the frames that it counts.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  imageio==2.38.1 imageio-ffmpeg==0.8.1 av==18.1.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder/uneven.mp4" <<'PY'
import sys
from fractions import Fraction
from importlib.metadata import version

import av
import imageio
import numpy as np

path = sys.argv[1]
times = [0, 1, 2, 3, 10, 11, 12, 20, 21, 40]  # in 25ths of a second, as a telephone or a screen recorder writes them
with av.open(path, "w") as file:
    stream = file.add_stream("libx264", rate=25, options={"crf": "0"})
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = time, Fraction(1, 25)
        file.mux(stream.encode(frame))
    file.mux(stream.encode())

print("imageio", version("imageio"), "imageio-ffmpeg", version("imageio-ffmpeg"))
print("guess: a reader gives the frames of the file, as many as count_frames() says, and index i is frame i")
seen = {}
for name in ("FFMPEG", "pyav"):
    numbers = [round(float(frame[8, 8, 0]) / 20) for frame in imageio.v3.imiter(path, plugin=name)]
    index = round(float(imageio.v3.imread(path, plugin=name, index=6)[8, 8, 0]) / 20)
    seen[name] = (len(numbers), len(set(numbers)), index)
    print(f"seen: {name}: {len(numbers)} frames, {len(set(numbers))} of them different; index 6 is frame {index}")
with imageio.get_reader(path, "FFMPEG") as reader:
    count = reader.count_frames()
print("seen: count_frames() of FFMPEG:", count)
assert count == 10
assert seen == {"FFMPEG": (41, 10, 3), "pyav": (10, 10, 6)}, seen
PY
