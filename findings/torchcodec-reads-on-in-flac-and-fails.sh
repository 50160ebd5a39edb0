#!/usr/bin/env bash
# torchcodec: one decoder that goes on to the last part of a short FLAC file raises; a new decoder reads the same part.
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
LD_LIBRARY_PATH="$folder/ffmpeg:$folder/packages/av.libs" PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys
from importlib.metadata import version

import numpy as np
import soundfile
from torchcodec.decoders import AudioDecoder

RATE = 16000
starts = [0.05 * number for number in range(17)]  # windows of 0.1 s, the last from 0.8 to 0.9 s
print("torchcodec", version("torchcodec"))
print("guess: windows that a new decoder reads, a decoder reads one after another, too, whatever lossless format the file has")
sound = 0.1 * np.random.default_rng(0).standard_normal(RATE)
refused = {}
for form in ("wav", "flac"):
    path = pathlib.Path(sys.argv[1]) / f"clip.{form}"
    soundfile.write(path, sound, RATE)
    kept = AudioDecoder(path)
    refused[form] = []
    for start in starts:
        fresh = AudioDecoder(path).get_samples_played_in_range(start, start + 0.1).data
        assert np.allclose(fresh[0].numpy(), sound[round(start * RATE) :][:1600], atol=1e-4)
        try:
            assert kept.get_samples_played_in_range(start, start + 0.1).data.equal(fresh)
        except RuntimeError as error:
            assert "Could not seek" in str(error)
            refused[form].append(round(start, 2))
    print(f"seen: {form}: a new decoder reads all {len(starts)} windows; one decoder refuses those from {refused[form]} s")
assert not refused["wav"]
assert refused["flac"]
PY
