"""Folders of images whose statistics are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sslkit.analysis.image_data.data_fields import DataFields

SIZES = ((12, 20), (12, 20), (9, 7), (12, 20), (31, 5))
"""(height, width)"""


def arrays(count: int, seed: int = 0, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[NDArray[np.uint8]]:
    """Random images `[H, W, 3]` of several sizes, each channel in a range of its own."""
    random = np.random.default_rng(seed)
    low, high = (10, 0, 100), (200, 256, 140)
    return [
        np.stack(
            [random.integers(a, b, sizes[i % len(sizes)], np.uint8) for a, b in zip(low, high, strict=True)],
            -1,
        )
        for i in range(count)
    ]


def save(root: Path, images: list[NDArray[np.uint8]], classes: int = 2) -> Path:
    """Image i as a PNG of class i modulo `classes`."""
    for i, image in enumerate(images):
        folder = root / f"class{i % classes}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return root


def fields(root: Path, test: Path | None = None, **changes: object) -> DataFields:
    """The images in `root` (and `test`), decoded in this process."""
    data = {"kind": "folder", "root": str(root), **({} if test is None else {"test": str(test)})}
    return DataFields.model_validate({"data": data, "workers": 0, **changes})
