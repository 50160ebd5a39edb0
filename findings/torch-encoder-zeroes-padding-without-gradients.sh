#!/usr/bin/env bash
# nn.TransformerEncoder: tokens at the padding are zeros when an evaluated network runs without gradients, and numbers with them, so
# that a mean over tokens is another feature.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" torch==2.13.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")  # nested tensors are a prototype
print("torch", torch.__version__)
print("guess: torch.no_grad changes no value of a network in evaluation mode")
torch.manual_seed(0)
net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
tokens = torch.randn(2, 10, 16)
padding = torch.arange(10) >= torch.tensor([[10], [6]])
with torch.no_grad():
    off = net(tokens, src_key_padding_mask=padding)
on = net(tokens, src_key_padding_mask=padding).detach()
apart = {"words": (on - off)[~padding].abs().max().item(), "padding": (on - off)[padding].abs().max().item()}
means = (on.mean(1) - off.mean(1)).abs().amax(1)
print("seen: largest difference", apart, "- padding is", "zeros" if off[padding].eq(0).all() else "numbers", "without gradients")
print("seen: the mean over tokens is apart by", [f"{value:.1g}" for value in means.tolist()], "for a whole and a padded row")
assert apart["words"] < 1e-4
assert off[padding].eq(0).all()
assert on[padding].abs().min() > 0
assert means[0] < 1e-4 and means[1] > 0.1
PY
