#!/usr/bin/env bash
# timm 1.0.31: the filter of published DINOv3 files drops biases of queries and values that are not 0 where the network has none,
# and what is left loads strictly; all that is said is a line on the standard output about `q_bias`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 \
  timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import contextlib
import io

import timm
import torch
from timm.models.eva import checkpoint_filter_fn

SMALL = {"embed_dim": 48, "depth": 1, "num_heads": 2, "num_classes": 0, "img_size": 32}
NAMES = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
print("timm", timm.__version__)
print("guess: values that find no place are refused, as by load_state_dict with strict=True")
torch.manual_seed(0)
net = timm.create_model("vit_small_patch16_dinov3", **SMALL)
published = {}
for name, value in net.state_dict().items():
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    published[name] = value.clone()
published["blocks.0.attn.qkv.bias"] = torch.full((144,), 0.5)
published["blocks.0.attn.qkv.bias_mask"] = torch.cat([torch.ones(48), torch.zeros(48), torch.ones(48)])
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    kept = checkpoint_filter_fn(published, net)
net.load_state_dict(kept, strict=True)
seen = {"biases kept": [name for name in kept if "attn" in name and "proj" not in name and "bias" in name]}
seen["printed"] = printed.getvalue().strip()
print("seen:", seen)
assert seen["biases kept"] == [], seen
assert "q_bias" in seen["printed"], seen
PY
