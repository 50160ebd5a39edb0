#!/usr/bin/env bash
# torchaudio.save takes an int16 tensor, which it stored as it is up to 2.8, and writes every sample beyond 1 as full scale: noise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 torchaudio==2.11.1 torchcodec==0.17.0 av==18.1.0 soundfile==0.14.0 numpy==2.4.6
# FFmpeg's libraries from the wheel of PyAV, under the names that torchcodec looks for
mkdir "$folder/ffmpeg"
for file in "$folder"/packages/av.libs/lib{avutil,avcodec,avformat,avfilter,avdevice,swscale,swresample}-*.so.*; do
  name=$(basename "$file") number=${file##*.so.}
  ln -s "$file" "$folder/ffmpeg/${name%%-*}.so.${number%%.*}"
done
LD_LIBRARY_PATH="$folder/ffmpeg:$folder/packages/av.libs" PYTHONPATH="$folder/packages" python3 - "$folder/sound.wav" <<'PY'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import soundfile
import torch
import torchaudio

path = sys.argv[1]
print("torchaudio", version("torchaudio"), "torchcodec", version("torchcodec"))
print("guess: samples of 16 bits are written as they are, into a file of 16 bits; or they are refused")
floats = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)[None]
seen = {}
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    for name, sound in {"float32": floats, "int16": (floats * 32767).to(torch.int16)}.items():
        torchaudio.save(path, sound, 16000)
        stored, _ = soundfile.read(path, dtype="int16")
        assert soundfile.info(path).subtype == "PCM_16"
        seen[name] = float((np.abs(stored.astype(int)) >= 32767).mean())
        print(f"seen: {name}: largest {np.abs(stored.astype(int)).max()} for {round(32767 * 0.5)}, {seen[name]:.0%} of samples at full scale")
print("seen: warnings:", len(warned))
assert seen["float32"] == 0
assert seen["int16"] > 0.9
assert not warned
PY
