#!/usr/bin/env bash
# timm adapts weights of 3 channels to other counts when they come as `pretrained`, and not as `checkpoint_path`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  timm==1.0.31 torch==2.14.1 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import sys
from importlib.metadata import version

import timm
import torch

print("timm", version("timm"))
print("guess: a file of weights is adapted to five channels whichever way it is given")
file = f"{sys.argv[1]}/weights.pth"
torch.manual_seed(0)
torch.save(timm.create_model("resnet10t", num_classes=0).state_dict(), file)


def tried(**how):
    try:
        network = timm.create_model("resnet10t", num_classes=0, in_chans=5, **how)
    except RuntimeError as error:
        return f"refused: {str(error).splitlines()[-1].strip()[:90]}"
    return f"loaded, {tuple(network.conv1[0].weight.shape)}"


pretrained = tried(pretrained=True, pretrained_cfg_overlay={"file": file, "num_classes": 0})
checkpoint = tried(checkpoint_path=file)
print(f"seen: pretrained with this file: {pretrained}")
print(f"seen: checkpoint_path:           {checkpoint}")
assert pretrained == "loaded, (24, 5, 3, 3)"
assert checkpoint.startswith("refused: size mismatch for conv1.0.weight")
PY
