#!/usr/bin/env bash
# torch's fused AdamW on an x86 CPU rounds the last elements of a tensor in another way than the rest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.13.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import os

os.environ["ATEN_CPU_CAPABILITY"] = "avx2"  # before torch is imported; AVX-512 does the same with vectors of 16
import torch

print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
print("guess: an elementwise update of two halves of a tensor equals that of the whole, bit by bit, with every kernel")
torch.manual_seed(0)
values, gradients = torch.randn(101), torch.randn(5, 101) * 0.01


def updated(values, gradients, **kernel):
    weight = torch.nn.Parameter(values.clone())
    optimizer = torch.optim.AdamW([weight], lr=0.003, weight_decay=0.05, **kernel)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    state = optimizer.state[weight]
    return torch.stack([weight.detach(), state["exp_avg"], state["exp_avg_sq"]])


different = {}
for name, kernel in {"fused": {"fused": True}, "foreach": {"foreach": True}, "single": {"foreach": False}}.items():
    whole = updated(values, gradients, **kernel)
    halves = (
        torch.cat([updated(values[:c], gradients[:, :c], **kernel), updated(values[c:], gradients[:, c:], **kernel)], 1)
        for c in range(1, 101)
    )
    different[name] = sum(not torch.equal(half, whole) for half in halves)
print("seen: cuts of 100 whose halves differ from the whole in a weight or a moment:", different)
assert different["fused"] > 20 and different["foreach"] == different["single"] == 0, different
PY
