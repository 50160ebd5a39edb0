#!/usr/bin/env bash
# timm's Lamb keeps its step count in the parameter group; state moved to new parameters starts bias correction anew.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import timm.optim
import torch

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: as in torch's optimizers, state[parameter] holds all that belongs to a parameter, its step count too")
weight = torch.nn.Parameter(torch.ones(3))
weight.grad = torch.ones(3)
lamb = timm.optim.create_optimizer_v2([{"params": [weight]}], opt="lamb", lr=0.1)
adamw = torch.optim.AdamW([weight], lr=0.1)
lamb.step()
adamw.step()
print("seen: Lamb:", sorted(lamb.state[weight]), "and in its group: step", lamb.param_groups[0].get("step"))
print("      AdamW:", sorted(adamw.state[weight]))
assert "step" not in lamb.state[weight] and lamb.param_groups[0]["step"] == 1
assert "step" in adamw.state[weight]
PY
