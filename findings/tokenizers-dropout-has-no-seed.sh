#!/usr/bin/env bash
# BPE dropout of tokenizers follows no seed: two runs of one script split a text in other ways, and a saved tokenizer goes on dropping.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" tokenizers==0.23.3 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import inspect
import random

import numpy as np
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

print("tokenizers", tokenizers.__version__)
print("guess: some seed repeats what dropout splits, and a tokenizer that is loaded to evaluate splits each text in one way")
tokenizer = Tokenizer(models.BPE(dropout=0.5))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.train_from_iterator(["a photograph of a kingfisher"] * 9, trainers.BpeTrainer(vocab_size=90, show_progress=False))


def splits(which):
    random.seed(0)
    np.random.seed(0)
    return tuple(tuple(which.encode("a photograph of a kingfisher").tokens) for _ in range(20))


first, second = splits(tokenizer), splits(tokenizer)
loaded = Tokenizer.from_str(tokenizer.to_str())
ways = len(set(splits(loaded)))
seeds = [name for name in dir(models.BPE) + dir(Tokenizer) + dir(tokenizers) if "seed" in name.lower()]
print(f"seen: seeded twice, equal: {first == second}; loaded, 20 encodings of one text in {ways} ways; names with 'seed': {seeds}")
assert first != second
assert loaded.model.dropout == 0.5 and ways > 5
assert not seeds and "seed" not in str(inspect.signature(Tokenizer.encode))
PY
