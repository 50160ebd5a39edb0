#!/usr/bin/env bash
# create_optimizer_v2 gives Muon the momentum of SGD.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import timm.optim
import torch

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: create_optimizer_v2(parameters, 'muon') is Muon(parameters) with the defaults of the class")
weights = [torch.nn.Parameter(torch.zeros(8, 8))]
factory = timm.optim.create_optimizer_v2(weights, "muon", lr=0.1).param_groups[0]["momentum"]
direct = timm.optim.Muon(weights).param_groups[0]["momentum"]
print("seen: momentum of the factory", factory, "and of the class", direct)
assert (factory, direct) == (0.9, 0.95)
PY
