"""CIFAR-10 from torchvision's files or from parquet."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.io import decode_image

from sslkit.plugin import DataError, read_bytes
from sslkit_sources.cifar10_files import CIFAR10_BATCHES, cifar10_parquet, cifar10_problem
from sslkit_sources.parquet_images import read_images
from sslkit_sources.parquet_labels import read_labels
from sslkit_sources.resident_source import ResidentSource

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
_ALLOWED = frozenset(
    {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
    | {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
    | {(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}
)
"""(module, name) of what arrays are pickled as; of a module that is not named here, nothing is imported."""


def cifar10(root: Path, split: str, limit: int | None) -> ResidentSource:
    """The first `limit` images of `split`, `[N, 3, 32, 32]`, in the official order.

    Raises:
        DataError: neither layout is found below `root`, or a file is damaged.
    """
    problem = cifar10_problem(root, split)
    if problem:
        raise DataError(problem)
    batches = root / "cifar-10-batches-py"
    if batches.is_dir():
        images, labels = _from_batches(batches, split)
    else:
        images, labels = _from_parquet(cifar10_parquet(root, split), limit)
    return ResidentSource(images[:limit], labels[:limit], CLASSES, f"CIFAR-10 {split} image")


def _from_batches(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    batches = [_read_batch(folder / name) for name in CIFAR10_BATCHES[split]]
    images = torch.cat([torch.from_numpy(np.array(batch["data"], dtype=np.uint8)) for batch in batches])
    labels = torch.tensor([label for batch in batches for label in batch["labels"]])
    return images.reshape(-1, *SHAPE), labels


@final
class Batch(TypedDict):
    """What this package reads of a file of torchvision's."""

    data: NDArray[np.uint8]
    """`[N, 3072]`, channels before rows."""
    labels: list[int]


def _read_batch(path: Path) -> Batch:
    content = io.BytesIO(read_bytes(path))
    try:
        batch: Batch = _Unpickler(content, encoding="latin1").load()
        if len(batch["labels"]) != len(batch["data"]) or batch["data"].shape[1:] != (3072,):
            raise ValueError(
                f"expected a label and 3072 values an image, found data of shape {batch['data'].shape}"
            )
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: is not a CIFAR-10 batch: {error or type(error).__name__}") from None
    return batch


@final
class _Unpickler(pickle.Unpickler):
    """Arrays, lists and strings only: an arbitrary pickle would run code."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which no CIFAR-10 file does")


def _from_parquet(files: Sequence[Path], limit: int | None) -> tuple[Tensor, Tensor]:
    data: list[tuple[bytes, str]] = []
    for path in files:
        column = read_images(path, "img")
        wanted = column if limit is None else column[: limit - len(data)]
        data += [(value, f"{path} row {row}") for row, value in enumerate(wanted.to_pylist())]
    with ThreadPoolExecutor() as pool:  # torchvision's decoders release the interpreter; PIL's WebP does not
        images = list(pool.map(_decode, data, chunksize=256))
    labels, _ = read_labels(files, "label", CLASSES, numbers_agree=True)
    assert labels is not None  # a column was named
    return torch.stack(images), labels


def _decode(item: tuple[bytes, str]) -> Tensor:
    data, name = item
    try:
        with Image.open(io.BytesIO(data)) as header:  # a larger one is refused before it costs anything
            size = header.size
        if size != SHAPE[:0:-1]:
            raise DataError(f"{name}: has {size[0]:,} x {size[1]:,} pixels; a CIFAR-10 image has 32 x 32")
        image: Tensor = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever their format's parser meets
        raise DataError(f"{name}: cannot be decoded: {error}") from None
    if tuple(image.shape) != SHAPE:
        raise DataError(f"{name}: has shape {tuple(image.shape)}; a CIFAR-10 image has {SHAPE}")
    return image
