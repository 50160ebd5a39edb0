#!/usr/bin/env bash
# timm 1.0.31: SigLIP's image towers apply the exact GELU; the configuration of the same networks in transformers 5.24.0 has its
# approximation by tanh. Weights load either way, and tokens are another function of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 torchvision==0.29.1 \
  timm==1.0.31 transformers==5.24.0 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import timm
import torch
import transformers
from transformers import SiglipVisionConfig, SiglipVisionModel

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
print("timm", timm.__version__, "transformers", transformers.__version__)
print("guess: vit_base_patch16_siglip_224 computes what the model of that name in transformers does")
torch.manual_seed(0)
theirs = SiglipVisionModel(SiglipVisionConfig(**SMALL, image_size=32, patch_size=8)).eval()
inside = getattr(theirs, "vision_model", theirs)
mlp = inside.encoder.layers[0].mlp.eval()
with torch.no_grad():
    for weight in mlp.parameters():
        weight.normal_()
net = timm.create_model(
    "vit_base_patch16_siglip_224", img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, mlp_ratio=2,
    num_classes=0,
).eval()  # fmt: skip
block = net.blocks[0].mlp
block.load_state_dict(mlp.state_dict())
x = torch.randn(4, 9, 32)
with torch.no_grad():
    apart = (block(x) - mlp(x)).abs().max().item()
    block.act = torch.nn.GELU(approximate="tanh")
    same = (block(x) - mlp(x)).abs().max().item()
act = timm.create_model("vit_base_patch16_siglip_224", embed_dim=32, depth=1, num_heads=2).blocks[0].mlp.act
print("seen:", act, "against", SiglipVisionConfig().hidden_act, "- the same weights differ by", apart, "and with tanh by", same)
assert act.approximate == "none" and SiglipVisionConfig().hidden_act == "gelu_pytorch_tanh"
assert apart > 1e-3 > 1e-4 > same, (apart, same)
PY
