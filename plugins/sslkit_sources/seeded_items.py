"""Items of a dataset, read so that each is the same whenever it is read, whatever transforms the dataset has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sslkit.plugin import DataError, reason_of
from sslkit_sources.item_images import Keys, Lazy, Pixels, parts_of, raw_pixels

LOOKED_AT = 16
"""Items at most that tell what a dataset is like."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's generators begin at `seed` inside, and go on afterwards as if nothing was drawn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # transforms draw of it
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def item_of(dataset: Lazy, index: int, keys: Keys, seed: int | None = None) -> tuple[object, object]:
    """The image and the label of item `index`, with a seed of its own.

    Raises:
        DataError: it cannot be read, or has no image.
    """
    try:
        with seeded(index if seed is None else seed):
            item = dataset[index]
    except Exception as error:
        raise DataError(f"item {index}: {reason_of(error)}") from error
    try:
        return parts_of(item, keys)
    except DataError as error:
        raise DataError(f"item {index}: {error}") from None


def pixels_of(
    dataset: Lazy, index: int, keys: Keys, channels: int | None = None, seed: int | None = None
) -> Pixels:
    """The image of item `index`, `[C, H, W]`, its values as they are. Raises DataError."""
    image, _ = item_of(dataset, index, keys, seed)
    try:
        return raw_pixels(image, channels)
    except DataError as error:
        raise DataError(f"item {index}: {error}") from None


def places(count: int) -> list[int]:
    """Up to `LOOKED_AT` indices from the first to the last, evenly."""
    return sorted({round(i * (count - 1) / max(1, LOOKED_AT - 1)) for i in range(LOOKED_AT)}) if count else []


def random_note(dataset: Lazy, keys: Keys) -> str:
    """What is to be told of a dataset that changes its images at random; empty where it does not."""
    looked = places(len(dataset))[:8]
    if not all(np.array_equal(pixels_of(dataset, i, keys), pixels_of(dataset, i, keys)) for i in looked):
        return (
            "the dataset changes its images at random, by a generator that is not torch's, NumPy's or Python's: the "
            "run can be repeated only roughly. Leave such transforms out, and set `augment` of the views"
        )
    if not all(
        np.array_equal(pixels_of(dataset, i, keys), pixels_of(dataset, i, keys, seed=len(dataset) + i))
        for i in looked
    ):
        return (
            "the dataset changes its images at random; each is read with a seed of its own, so it is the same in every "
            "epoch. Leave such transforms out, and set `augment` of the views, which differ from step to step"
        )
    return ""
