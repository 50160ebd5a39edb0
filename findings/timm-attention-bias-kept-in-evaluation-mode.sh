#!/usr/bin/env bash
# LeViT-like networks of timm keep their attention biases in evaluation mode: new weights have no effect.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import timm
import torch

print("timm", timm.__version__, "torch", torch.__version__)
print("guess: a network in evaluation mode computes with its present parameters, so a moving average may stay in it")
torch.manual_seed(0)
images, kept = torch.randn(1, 3, 224, 224), {}
for name in ("levit_128s", "efficientformer_l1"):
    net = timm.create_model(name, num_classes=0).eval()
    with torch.no_grad():
        before = net(images)
        for key, parameter in net.named_parameters():
            if key.endswith("attention_biases"):
                parameter.normal_(std=5)
        after = net(images)
        net.train()
        net.eval()
        fresh = net(images)
    kept[name] = (torch.equal(before, after), torch.equal(before, fresh))
print("seen: (old answer after the change, old answer after train() and eval()):", kept)
assert set(kept.values()) == {(True, False)}, kept
PY
