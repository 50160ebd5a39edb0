#!/usr/bin/env bash
# pydub's set_frame_rate lowers the rate without a filter: a tone above the new limit comes back as another tone, nearly as loud.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  pydub==0.25.1 soxr==1.1.0 numpy==2.4.6 'audioop-lts==0.2.2; python_version >= "3.13"'
PYTHONPATH="$folder/packages" python3 - <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
import soxr

warnings.simplefilter("ignore")  # of tools that are not installed: none is needed here
from pydub import AudioSegment  # noqa: E402  after the filter

OLD, NEW, TONE = 44100, 16000, 9000
print("pydub", version("pydub"))
print("guess: at 16 kHz a tone of 9 kHz is gone, as every resampler filters what the new rate cannot hold")
tone = np.rint(16000 * np.sin(2 * np.pi * TONE * np.arange(OLD) / OLD)).astype(np.int16)
segment = AudioSegment(tone.tobytes(), frame_rate=OLD, sample_width=2, channels=1)
theirs = np.array(segment.set_frame_rate(NEW).get_array_of_samples(), float)
filtered = soxr.resample(tone.astype(float), OLD, NEW)
spectrum = np.abs(np.fft.rfft(theirs))
peak = np.argmax(spectrum) * NEW / len(theirs)
kept = theirs.std() / tone.std()
print(f"seen: {kept:.0%} of the amplitude is left, as a tone of {peak:.0f} Hz; soxr {version('soxr')} leaves {filtered.std() / tone.std():.1%}")
assert kept > 0.8
assert abs(peak - (NEW - TONE)) < 20
assert filtered.std() / tone.std() < 0.05
PY
