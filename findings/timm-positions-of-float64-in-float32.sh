#!/usr/bin/env bash
# timm interpolates position tables of float64 networks in float32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: the table of a network in float64 is interpolated in float64, exact to about 1e-15")
torch.manual_seed(0)
table = torch.randn(1, 17, 8, dtype=torch.float64)
answer = resample_abs_pos_embed(table, new_size=[3, 3], old_size=[4, 4], num_prefix_tokens=1)
grid = table[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
exact = F.interpolate(grid, size=[3, 3], mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(1, 9, 8)
error = (answer[:, 1:] - exact).abs().max().item()
print(f"seen: {answer.dtype}, off by {error:.1e}")
assert answer.dtype == torch.float64 and 1e-10 < error < 1e-5, error
PY
