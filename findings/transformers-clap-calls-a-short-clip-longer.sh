#!/usr/bin/env bash
# transformers: with its default truncation CLAP's feature extractor draws one short clip of a batch by NumPy's global generator and
# marks it as longer than ten seconds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.13.0 transformers==5.24.0 numpy==2.4.6
PYTHONPATH="$folder/packages" TRANSFORMERS_VERBOSITY=error python3 - <<'PY'
import numpy as np
import transformers
from transformers import ClapFeatureExtractor

RATE = 48000
print("transformers", transformers.__version__)
print("guess: is_longer is a property of a clip: False for one of a second, in each call and beside any other")
extract = ClapFeatureExtractor()
rng = np.random.default_rng(0)
short = [(0.1 * rng.standard_normal(RATE)).astype(np.float32) for _ in range(4)]
long = (0.1 * rng.standard_normal(12 * RATE)).astype(np.float32)


def longer(clips):
    return [bool(flag) for flag in np.ravel(extract(clips, sampling_rate=RATE, return_tensors="np")["is_longer"])]


np.random.seed(0)
calls = [longer(short) for _ in range(8)]
alone, beside = longer([short[0]]), longer([short[0], long])
print("seen: marked clip of four equal in length, by call:", [flags.index(True) for flags in calls])
print("seen: alone:", alone, "and before a clip of 12 s:", beside)
assert all(sum(flags) == 1 for flags in calls)
assert len({flags.index(True) for flags in calls}) > 1
assert alone == [True]
assert beside == [False, True]
PY
