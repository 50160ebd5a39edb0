#!/usr/bin/env bash
# transformers 5.24.0: `save_pretrained` of a ViT writes names that its `state_dict()` does not have, so that weights saved by torch
# and a saved folder are two layouts of one network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 transformers==5.24.0 numpy==2.4.6
PYTHONPATH="$folder/packages" SAVED="$folder/saved" python3 - <<'PY'
import os

import transformers
from safetensors import safe_open
from transformers import ViTConfig, ViTModel

transformers.utils.logging.disable_progress_bar()
print("transformers", transformers.__version__)
print("guess: the file that save_pretrained writes has the names of state_dict()")
net = ViTModel(
    ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8)
)
net.save_pretrained(os.environ["SAVED"])
saved = set(safe_open(os.path.join(os.environ["SAVED"], "model.safetensors"), "pt").keys())
inside = set(net.state_dict())
query = sorted(name for name in saved ^ inside if name.endswith(("query.weight", "q_proj.weight")))
print("seen:", len(saved & inside), "names in common of", len(saved), "and of one array:", query)
assert query == ["encoder.layer.0.attention.attention.query.weight", "layers.0.attention.q_proj.weight"], query
assert len(saved) == len(inside) > len(saved & inside)
PY
