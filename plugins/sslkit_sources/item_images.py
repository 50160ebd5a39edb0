"""Images and labels in the items of a map-style dataset: PIL images, arrays and tensors, alone, in pairs or by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sslkit.plugin import DataError

Pixels = NDArray[np.generic]
"""`[C, H, W]` of any numeric type."""
IMAGE_KEYS = ("image", "img", "pixel_values", "images")
"""Names of the image in items that are mappings, the first that is there."""
LABEL_KEYS = ("label", "labels", "target", "fine_label", "class")
"""Names of the label."""
MOST_CHANNELS = 16
"""Of images whose channels come last; an axis that is longer is one of pixels."""
PLAIN_MODES = frozenset({"RGB", "L", "F"})
"""Modes of PIL whose values are read as they are; those of more than 8 bits begin with `I`."""

Key = str | int


class Keys(NamedTuple):
    """Where an item has its parts; found by itself where it is None."""

    image: Key | None = None
    label: Key | None = None


@runtime_checkable
class Lazy(Protocol):
    """What torch calls a map-style dataset, and any list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


def parts_of(item: object, keys: Keys) -> tuple[object, object]:
    """The image and the label in `item`; None for no label.

    Raises:
        DataError: there is no image in it.
    """
    match item:
        case Mapping():
            return _named(item, keys.image, IMAGE_KEYS, needed=True), _named(item, keys.label, LABEL_KEYS)
        case tuple() | list():
            parts: dict[Key, object] = dict(enumerate(item))
            label = 1 if keys.label is None else keys.label
            return _named(parts, 0 if keys.image is None else keys.image, (), needed=True), parts.get(
                int(label)
            )
    return item, None


def _named(
    item: Mapping[Key, object], key: Key | None, names: tuple[str, ...], *, needed: bool = False
) -> object:
    name = key if key is not None else next((name for name in names if name in item), None)
    if name is not None and name in item:
        return item[name]
    if needed or key is not None:
        wanted = repr(key) if key is not None else " or ".join(map(repr, names))
        raise DataError(
            f"an item has no {wanted}, but {', '.join(map(repr, item)) or 'nothing'}; name what is the image in "
            "`image_key`, and the label in `label_key`"
        )
    return None


def raw_pixels(image: object, channels: int | None = None) -> Pixels:
    """`image` as `[C, H, W]`, its values as they are; gray and color become one another where `channels` asks for it.

    Args:
        image: a PIL image; a tensor `[C, H, W]` or `[H, W]`; an array `[H, W, C]` or `[H, W]`. The other order of axes
            is read where no image could have this one.
        channels: how many it shall have. Default: as many as it has.

    Raises:
        DataError: it is no image.
    """
    match image:
        case Image.Image():
            return _of_pil(image, channels)
        case torch.Tensor():
            plain = image.detach().cpu()
            return _channels_first(
                (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy(), first=True
            )
        case np.ndarray():
            return _channels_first(image, first=False)
        case tuple() | list():
            raise DataError(
                f"an image is a {type(image).__name__} of {len(image)}: the crops of a view are made by the run, so "
                "leave transforms that make several images out of the dataset"
            )
    raise DataError(f"an image is a {type(image).__name__}; expected a PIL image, a tensor or an array")


def _of_pil(image: Image.Image, channels: int | None) -> Pixels:
    deep = image.mode[:1] in ("I", "F")
    if not deep and image.mode not in PLAIN_MODES:
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    if not deep and channels in (1, 3) and len(image.getbands()) != channels:
        image = image.convert("L" if channels == 1 else "RGB")
    return _channels_first(np.asarray(image), first=False)


def _channels_first(array: Pixels, *, first: bool) -> Pixels:
    """`array` as `[C, H, W]`; `first`: whether its channels come first where either could be."""
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3 or not array.size:
        raise DataError(
            f"an image has the shape {list(array.shape)}; expected [C, H, W], [H, W, C] or [H, W]"
        )
    front, back = array.shape[0] <= MOST_CHANNELS, array.shape[2] <= MOST_CHANNELS
    return array if front and (first or not back) else array.transpose(2, 0, 1) if back else array


def label_of(value: object) -> int | str | None:
    """A label as a number or a word; None for what is neither, as a mask or several values."""
    match value:
        case torch.Tensor() | np.ndarray() | np.generic():
            return label_of(value.item()) if np.prod(value.shape) == 1 else None
        case bool():
            return int(value)
        case int() | str():
            return value
    return None
