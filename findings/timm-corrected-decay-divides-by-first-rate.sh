#!/usr/bin/env bash
# timm's optimizers with corrected weight decay (adamc, sgdc, ...) divide by the rate at construction.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import timm.optim
import torch

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: decay is lr^2 / max lr, of the largest rate that a schedule sets: 0.16 * 0.1 = 0.016 at that rate")
weight = torch.nn.Parameter(torch.ones(2, 2))
optimizer = timm.optim.create_optimizer_v2([weight], "sgdc", lr=0.01, weight_decay=0.1)
optimizer.param_groups[0]["lr"] = 0.16  # a schedule's peak
weight.grad = torch.zeros_like(weight)
optimizer.step()
decayed = 1 - weight[0, 0].item()
print(f"seen: a weight of 1 loses {decayed:.4f} in a step at that peak, 16 times as much")
assert abs(decayed - 0.256) < 1e-5, decayed
PY
