#!/usr/bin/env bash
# The mean of forward_features is not the vector that many timm networks classify.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import torch

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: without a class token, net(x) with num_classes=0 is the mean of forward_features(x) over places")
torch.manual_seed(0)
images, seen = torch.randn(2, 3, 64, 64), {}
for name in ("resnet10t", "convnext_atto", "mobilenetv4_conv_small", "mambaout_femto"):
    net = timm.create_model(name, num_classes=0).eval()
    with torch.no_grad():
        features, pooled = net.forward_features(images), net(images)
    mean = features.mean((1, 2) if features.shape[-1] == net.num_features else (2, 3))
    alike = mean.shape == pooled.shape and torch.allclose(mean, pooled, atol=1e-5)
    seen[name] = "equal" if alike else f"{tuple(mean.shape)} against {tuple(pooled.shape)}, not equal"
for name, text in seen.items():
    print("seen:", name, text)
assert seen["resnet10t"] == "equal"
assert all("not equal" in seen[name] for name in list(seen)[1:])
PY
