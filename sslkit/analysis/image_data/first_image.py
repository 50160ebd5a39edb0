"""The first image of a run in words: what it is, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from sslkit.analysis.image_data.data_fields import HasImages
from sslkit.analysis.image_data.network_inputs import crops_of
from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.data.unreadable import readable
from sslkit.errors import DataError


def first_image_lines(spec: HasImages, source: Source, views: Mapping[str, View]) -> Iterator[str]:
    """The image, then for each view the crops that the network gets of it in row 0 of step 0."""
    try:
        image, skipped = readable(source, 0)
    except DataError as error:
        yield f"first image cannot be read: {error}"
        return
    channels, height, width = image.shape
    dtype = str(image.dtype).removeprefix("torch.")
    yield (
        f"first image {source.name(len(skipped))}: {height} x {width}, {channels} channel{'s' * (channels > 1)} of "
        f"{dtype}, {_range(image)}"
    )
    for name, crops in crops_of(spec, views, image, 0, 0).items():
        count, _, size, _ = crops.shape
        statistics = spec.views[name].normalize
        means, deviations = (", ".join(f"{x:g}" for x in some) for some in (statistics.mean, statistics.std))
        yield (
            f"  becomes   {name} {count} x {size} x {size}, {channels} channel{'s' * (channels > 1)} of float32, "
            f"less [{means}] by [{deviations}]: {_range(crops)}"
        )


def _range(values: Tensor) -> str:
    array = values.cpu().numpy()  # torch has no least of 16-bit values
    return (
        f"{array.min():.4g} to {array.max():.4g}"
        if values.is_floating_point()
        else f"{array.min()} to {array.max()}"
    )
