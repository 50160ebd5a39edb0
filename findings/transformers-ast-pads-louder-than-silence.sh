#!/usr/bin/env bash
# transformers: the audio spectrogram transformer's feature extractor pads a short clip with a value far above silence, above most
# sounds: it pads logarithms with 0 and normalizes after that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.13.0 transformers==5.24.0 numpy==2.4.6
PYTHONPATH="$folder/packages" TRANSFORMERS_VERBOSITY=error python3 - <<'PY'
import numpy as np
import transformers
from transformers import ASTFeatureExtractor

RATE = 16000
print("transformers", transformers.__version__)
print("guess: what is missing of a clip looks like silence, or like the mean (0), as padding_value=0.0 says")
extract = ASTFeatureExtractor()
rng = np.random.default_rng(0)


def features(sound):
    return extract(sound.astype(np.float32), sampling_rate=RATE, return_tensors="np")


noise = {level: features(level * rng.standard_normal(RATE))["input_values"][0] for level in (0.001, 0.01, 0.1)}
silence = features(np.zeros(RATE))["input_values"][0][:98].max()
padding = noise[0.1][100:]
levels = {level: round(float(values[:98].mean()), 2) for level, values in noise.items()}
print(f"seen: silence {silence:.2f}, padding {padding.mean():.2f}, white noise by its deviation {levels}; keys {list(features(np.zeros(RATE)))}")
assert padding.min() == padding.max()
assert silence < -1.2
assert 0.46 < padding.mean() < 0.48
assert all(level < padding.mean() for level in levels.values())
assert "attention_mask" not in features(np.zeros(RATE))
PY
