"""A trained run and a folder of images for the tests of embeddings."""

from __future__ import annotations

from pathlib import Path

from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import images
from tests.train.test_trainer import silent

COUNT, BATCH = 22, 4
"""Images in the folder, and of a batch: five and a half batches."""
BROKEN = (3, 8, 9, 10, 11)
"""A single image, and a whole batch of them."""


def trained(out: Path) -> Path:
    """A run of one step on digits of 8 pixels."""
    train(tiny.spec(out, steps=1), silent)
    return out


def labeled(root: Path, broken: tuple[int, ...] = ()) -> Path:
    """A folder of two classes; the images `broken` hold no image."""
    for name in ("cats", "dogs"):
        images(root / name, COUNT // 2)
    for i, path in enumerate(sorted(root.rglob("*.png"))):
        if i in broken:
            path.write_bytes(b"no image")
    return root
