"""Random streams, each a pure function of (seed, names).

Masks and augmentations use `draw` (per image, equal however the batch is cut). Dropout and stochastic depth use
torch's generator, seeded at every step by `seed_torch`. Nothing random is therefore part of a checkpoint.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, Tensor

from sslkit.core.random_stream import Draw


def key(seed: int, *names: object) -> int:
    """63 bits that depend on `seed` and every one of `names` (blake2b; stable between processes and versions)."""
    text = repr((seed, *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def draw(seed: int, *names: object, rows: Tensor) -> Draw:
    """Streams for the images `rows`."""
    return Draw(key(seed, *names), rows)


def generator(seed: int, *names: object) -> Generator:
    """A torch generator on the CPU."""
    return Generator().manual_seed(key(seed, *names))


def seed_torch(seed: int, *names: object) -> None:
    """Seed torch's own generators, which dropout and initializations read."""
    torch.manual_seed(key(seed, *names))
