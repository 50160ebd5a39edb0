"""Scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sslkit_sources.resident_source import ResidentSource


def digits(split: str, test_share: float, split_seed: int) -> ResidentSource:
    """The images of `split`, `[N, 1, 8, 8]`, with the 17 gray levels 0 .. 16 spread over 0 .. 255."""
    images, classes = _whole()
    train, test = train_test_split(
        np.arange(len(classes)), test_size=test_share, stratify=classes, random_state=split_seed
    )
    indices = np.sort(train if split == "train" else test)
    labels = torch.from_numpy(classes[indices]).long()
    return ResidentSource(
        torch.from_numpy(images[indices]).unsqueeze(1), labels, tuple("0123456789"), f"digits {split} image"
    )


@lru_cache(maxsize=1)
def _whole() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`[1797, 8, 8]` images and their classes, read from a text file once for all splits and runs."""
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target
