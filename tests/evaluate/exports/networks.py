"""Small networks of every kind of backbone, as they are exported, and a Python that has no sslkit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sslkit import CNN, Readout, Swin, Timm, ViT
from sslkit.core.view import View
from sslkit.evaluate.exports.named_tokens import last_tokens
from sslkit.evaluate.exports.opened_model import OpenedModel
from tests.plugins.backbones.variants import VARIANTS, perturbed, spec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
KINDS = {
    "vit": ViT(name="vit_tiny_patch16_224", patch=4, width=16, depth=2, heads=2),
    "swin": Swin.example(),
    "cnn": CNN.example(),
    "cnn with a small stem": CNN(name="resnet18", stem="cifar", arguments={"channels": [8, 8, 8, 8]}),
    "timm": Timm(name="test_convnext"),
}
"""One of each kind, and a network that no argument of timm makes."""
REFUSING = """
import importlib.abc, sys

class Refusing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0].startswith("sslkit"):
            raise ModuleNotFoundError(f"{name}: must not be asked for")

sys.meta_path.insert(0, Refusing())
"""


def model(kind, pool="cls", layer=-1, size=16, seed=0):
    """The network called `kind`, of `KINDS` or of the variants of `vit`, opened; statistics differ by channel."""
    torch.manual_seed(seed)
    size = max(size, 32) if kind not in VARIANTS and kind != "vit" else size
    chosen = spec(kind) if kind in VARIANTS else KINDS[kind]
    net = perturbed(chosen.build(View(size, 1, 3, MEAN, STD))).requires_grad_(False)
    return OpenedModel(kind, net, View(size, 1, 3, MEAN, STD), Readout(pool=pool, layer=layer), None)


def elsewhere(code: str, tmp_path: Path, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What `code` puts into `answers`, in a Python that refuses sslkit; it finds `images` as a tensor."""
    given, answered = tmp_path / "given.safetensors", tmp_path / "answered.safetensors"
    save_file({"images": images}, given)
    program = (
        f"{REFUSING}\nimport torch\nfrom safetensors.torch import load_file, save_file\n"
        f"images, answers = load_file({str(given)!r})['images'], {{}}\n"
        f"with torch.no_grad():\n{indented(code)}\n"
        f"save_file({{k: torch.as_tensor(v).contiguous().clone() for k, v in answers.items()}}, {str(answered)!r})\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return load_file(answered)


def indented(code: str) -> str:
    """`code` as the body of a block."""
    return "\n".join(f"    {line}" for line in code.strip().splitlines())


def expected(opened: OpenedModel, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tokens of the last block, by the network itself."""
    with torch.no_grad():
        return dict(last_tokens(opened)(images))


def near(actual: torch.Tensor, ours: torch.Tensor) -> bool:
    """Equal to 1e-5 of the largest value."""
    return actual.shape == ours.shape and float((actual - ours).abs().max()) <= 1e-5 * float(ours.abs().max())
