#!/usr/bin/env bash
# VOLO's first token is a class token, and nothing in the usual attributes says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import torch

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: num_prefix_tokens says how many tokens of forward_features stand before those of the patches")
net = timm.create_model("volo_d1_224", num_classes=0).eval()
with torch.no_grad():
    tokens = net.forward_features(torch.zeros(1, 3, 224, 224))
print("seen:", tokens.shape[1], "tokens for 14 x 14 patches; num_prefix_tokens:", getattr(net, "num_prefix_tokens", "missing"))
assert tokens.shape[1] == 14 * 14 + 1 and not hasattr(net, "num_prefix_tokens")
PY
