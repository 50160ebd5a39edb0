"""A run on objects of Python, as a user's script under `torchrun` makes it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sslkit import Run
from tests import tiny


def main(out: str, parallel: str = "ddp") -> None:
    """SimSiam of a small network on a tensor of images; every rank makes the same objects."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
    fields = tiny.fields(
        Path(out), objective={"kind": "simsiam"}, views={"global": {**tiny.VIEW, "crops": 2}}, steps=4
    )
    Run(**{**fields, "data": images, "backbone": network, "parallel": parallel}).fit()
