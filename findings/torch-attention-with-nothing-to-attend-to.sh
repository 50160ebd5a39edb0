#!/usr/bin/env bash
# nn.MultiheadAttention where all keys are masked: zeros or not-a-number by need_weights, and by whether gradients are on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" torch==2.13.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import torch
import torch.nn.functional as F

print("torch", torch.__version__)
print("guess: a row without keys (an empty caption) gives one answer, whatever is asked for beside it: 0, as scaled_dot_product_attention")
torch.manual_seed(0)
tokens, masked = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
layer = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
plain = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=~masked[:, None])
assert plain.eq(0).all()
seen = {}
for weights in (False, True):
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            out, _ = layer(tokens, tokens, tokens, key_padding_mask=masked, need_weights=weights)
        seen[weights, gradients] = "zeros" if out.eq(0).all() else "not a number" if out.isnan().all() else "numbers"
        print(f"seen: need_weights={weights}, gradients {'on' if gradients else 'off'}: {seen[weights, gradients]}")
assert seen[False, True] == "zeros"
assert {seen[key] for key in seen if key != (False, True)} == {"not a number"}
PY
