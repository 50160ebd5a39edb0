"""Planes of arrays that are stored whole, with labels beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sslkit.plugin import DataError
from sslkit_science.layout import Layout
from sslkit_science.reader import Plane


def labeled_planes(layout: Layout, labels: NDArray[np.generic] | None, where: str) -> list[Plane]:
    """The images of an array; `labels` holds one number or text for each.

    Raises:
        DataError: there are other labels than images, or they are neither whole numbers from 0 nor text.
    """
    count = layout.images
    texts: list[int | str | None] = [None] * count
    if labels is not None:
        if labels.size != count:
            raise DataError(f"{where}: has {count} images and {labels.size} labels")
        if labels.dtype.kind not in "iuUST" or (
            labels.dtype.kind in "i" and labels.size and int(labels.min()) < 0
        ):
            raise DataError(f"{where}: its labels are {labels.dtype}; expected whole numbers from 0, or text")
        flat = labels.reshape(-1)
        texts = [value.decode() if flat.dtype.kind == "S" else value for value in flat.tolist()]
    return [
        Plane((image,), layout.name(image), layout.channels, *layout.size, label=texts[image])
        for image in range(count)
    ]
