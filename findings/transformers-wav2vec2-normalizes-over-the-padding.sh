#!/usr/bin/env bash
# transformers: Wav2Vec2's feature extractor counts the zeros that pad a batch in a clip's mean and variance, so that a clip's values
# depend on the longest clip beside it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  transformers==5.24.0 numpy==2.4.6
PYTHONPATH="$folder/packages" TRANSFORMERS_VERBOSITY=error python3 - <<'PY'
import numpy as np
import transformers
from transformers import Wav2Vec2FeatureExtractor

print("transformers", transformers.__version__)
print('guess: do_normalize ("zero-mean unit-variance normalize the input") gives a clip mean 0 and deviation 1 whatever it is batched with')
rng = np.random.default_rng(0)
clip = (0.02 + 0.1 * rng.standard_normal(16000)).astype(np.float32)
long = (0.1 * rng.standard_normal(160000)).astype(np.float32)
seen = {}
for mask in (False, True):  # False is the default, and what the settings of the base model say
    extract = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=mask)
    alone = extract(clip, sampling_rate=16000, return_tensors="np")["input_values"][0]
    beside = extract([clip, long], sampling_rate=16000, padding=True, return_tensors="np")["input_values"][0][: len(clip)]
    seen[mask] = (alone.std(), beside.std(), np.abs(alone - beside).max())
    print(f"seen: mask {mask}: deviation {seen[mask][0]:.2f} alone, {seen[mask][1]:.2f} beside a clip of ten times its length")
assert Wav2Vec2FeatureExtractor().return_attention_mask is False
assert abs(seen[False][0] - 1) < 1e-3
assert seen[False][1] > 2.5
assert seen[True][2] < 1e-4
PY
