"""Scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sslkit_sources.resident_source import ResidentSource


def digits(split: str, test_share: float, split_seed: int) -> ResidentSource:
    """The images of `split`, `[N, 1, 8, 8]`, with the 17 gray levels 0 .. 16 spread over 0 .. 255."""
    bunch = load_digits()
    train, test = train_test_split(
        np.arange(len(bunch.target)), test_size=test_share, stratify=bunch.target, random_state=split_seed
    )
    indices = np.sort(train if split == "train" else test)
    levels = np.rint(bunch.images[indices] * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(bunch.target[indices]).long()
    return ResidentSource(
        torch.from_numpy(levels).unsqueeze(1), labels, tuple("0123456789"), f"digits {split} image"
    )
