#!/usr/bin/env bash
# torchcodec and PyAV: both channels of a stereo file mixed to one are 3 dB louder than either, above 1 too, where samples are floats;
# PyAV's integers are not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 torchcodec==0.17.0 av==18.1.0 soundfile==0.14.0 numpy==2.4.6
# FFmpeg's libraries from the wheel of PyAV, under the names that torchcodec looks for
mkdir "$folder/ffmpeg"
for file in "$folder"/packages/av.libs/lib{avutil,avcodec,avformat,avfilter,avdevice,swscale,swresample}-*.so.*; do
  name=$(basename "$file") number=${file##*.so.}
  ln -s "$file" "$folder/ffmpeg/${name%%-*}.so.${number%%.*}"
done
LD_LIBRARY_PATH="$folder/ffmpeg:$folder/packages/av.libs" PYTHONPATH="$folder/packages" python3 - "$folder/stereo.wav" <<'PY'
import sys
from importlib.metadata import version

import av
import numpy as np
import soundfile
from torchcodec.decoders import AudioDecoder

path = sys.argv[1]
print("torchcodec", version("torchcodec"), "PyAV", version("av"))
print("guess: one channel of two equal ones is that channel (their mean), and stays within -1 and 1")
tone = 0.9 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
soundfile.write(path, np.stack([tone, tone], 1), 16000)
seen = {"torchcodec": AudioDecoder(path, num_channels=1).get_all_samples().data.abs().max().item()}
for name, top in (("fltp", 1), ("s16p", 1 << 15)):
    with av.open(path) as file:
        mix = av.AudioResampler(format=name, layout="mono", rate=16000)
        parts = [part.to_ndarray() for frame in file.decode(audio=0) for part in mix.resample(frame)]
    seen[f"PyAV, {name}"] = float(np.abs(np.concatenate(parts, 1).astype(float)).max() / top)
print("seen: a tone of 0.9 in both channels is, as one:", {name: round(value, 3) for name, value in seen.items()})
for name in ("torchcodec", "PyAV, fltp"):
    assert abs(seen[name] - 0.9 * 2**0.5) < 1e-3, seen
assert abs(seen["PyAV, s16p"] - 0.9) < 1e-3, seen
PY
