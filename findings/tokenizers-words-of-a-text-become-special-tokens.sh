#!/usr/bin/env bash
# tokenizers: text that spells a special token is that token; the switch against it is not saved with the tokenizer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" tokenizers==0.23.3
PYTHONPATH="$folder/packages" python3 - <<'PY'
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

print("tokenizers", tokenizers.__version__)
print("guess: special tokens come from the template alone; words of a caption stay words; to_str() keeps every setting")
tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
special = ["[UNK]", "[PAD]", "[EOS]"]
captions = ["a photo of the sign [PAD] and [EOS]", "a photo of a cat"]
tokenizer.train_from_iterator(captions * 9, trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False))
tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
caption = "a photo of [EOS] and a cat"
plain = tokenizer.encode(caption)
print("seen:", plain.tokens, "- the first end is at", plain.ids.index(2), "of", len(plain.ids))
tokenizer.encode_special_tokens = True
switched = tokenizer.encode(caption)
again = Tokenizer.from_str(tokenizer.to_str())
print("seen: with encode_special_tokens:", switched.tokens, "- and after saving:", again.encode_special_tokens, again.encode(caption).tokens)
assert plain.ids.count(2) == 2 and plain.ids.index(2) == 3
assert switched.ids.count(2) == 1
assert not again.encode_special_tokens
assert again.encode(caption).ids == plain.ids
PY
