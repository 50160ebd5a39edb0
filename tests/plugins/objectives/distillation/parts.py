"""An environment without a run, and objectives of known numbers in it."""

from __future__ import annotations

import torch

from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View

DIM = 8
HEAD = {"layers": 2, "hidden": 16, "bottleneck": 6}
PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def env() -> Env:
    """Two global crops of 4 x 4 patches, three local ones of 2 x 2."""
    sizes = {"global": (32, 2), "local": (16, 3)}
    views = {name: View(size, crops, 3, (0.0,) * 3, (1.0,) * 3) for name, (size, crops) in sizes.items()}
    grids = {name: Grid(size // 8, size // 8, 8) for name, (size, _) in sizes.items()}
    net = NetInfo(DIM, 2, grids)
    return Env(views, {"student": net, "teacher": net}, grids, Length(60, 10))


def now(**values: float) -> dict[str, torch.Tensor]:
    """Scheduled values as the trainer gives them."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def tokens(crops: int, patches: int, images: int = 4, mask=None, seed: int = 0) -> Tokens:
    """Random answers of a backbone, in float64."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.zeros(crops, images, 3, 8, 8)
    cls = torch.randn(crops, images, DIM, generator=generator, dtype=torch.float64)
    patch = torch.randn(crops, images, patches, DIM, generator=generator, dtype=torch.float64)
    return Tokens(pictures, cls, patch, mask, ())
