"""What arrives in the network: the crops of a step's first images, as a run of the spec makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.analysis.image_data.data_fields import HasImages
from sslkit.build.system import make_views, read_inputs
from sslkit.core.augment import to_float
from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.data.sampler import BatchShare, Order
from sslkit.data.unreadable import readable
from sslkit.errors import SpecError
from sslkit.functional.pixel_normalization import unnormalized
from sslkit.runs.input_sheet import SheetRow, ShownCrop, save_sheet
from sslkit.train.compose import training_source


class NetworkInput(NamedTuple):
    """One image, and what the network gets of it."""

    name: str
    image: Tensor
    """`[C, H, W]`, as the source gives it."""
    step: int
    row: int
    """Its place in the step's batch."""
    crops: dict[str, Tensor]
    """View -> `[V, C, S, S]`, normalized: V crops."""


def network_inputs(spec: HasImages, images: int = 4, step: int = 0) -> list[NetworkInput]:
    """The first `images` training images from `step` on, and their crops: those of a run of `spec`, to the bit.

    Without `batch_size` all are taken to be of one step. Where an image cannot be read, the next one stands in its
    place, as in training.

    Raises:
        SpecError: there are no views, or their statistics are of another number of channels.
        DataError: there are no images that can be read.
    """
    return list(_inputs(spec, images, step))


def draw_inputs(spec: HasImages, path: Path, images: int = 4, step: int = 0) -> list[NetworkInput]:
    """Draw `network_inputs` as a sheet, and return them.

    Each row has the image, its crops with the normalization undone, its name, and histograms of both per channel.

    Args:
        spec: a `RunSpec`, or the fields of one that `load_fields` reads.
        path: the PNG; it is replaced as a whole, and its folder is made.
        images: rows.
        step: of the run.
    """
    inputs = network_inputs(spec, images, step)
    save_sheet(path, [_row(one, spec) for one in inputs])
    return inputs


def as_json(inputs: Iterable[NetworkInput]) -> dict[str, object]:
    """Where each comes from, and the range and mean of what the network gets of it, by view and channel."""
    return {
        "images": [
            {
                "image": one.name,
                "step": one.step,
                "row": one.row,
                "shape": list(one.image.shape),
                "dtype": str(one.image.dtype).removeprefix("torch."),
                "views": {view: _values(crops) for view, crops in one.crops.items()},
            }
            for one in inputs
        ]
    }


def _values(crops: Tensor) -> dict[str, object]:
    over = (0, 2, 3)
    return {
        "crops": len(crops),
        "size": crops.shape[-1],
        "min": crops.amin(over).tolist(),
        "max": crops.amax(over).tolist(),
        "mean": crops.mean(over).tolist(),
        "std": crops.std(over, correction=0).tolist(),
    }


def crops_of(
    spec: HasImages, views: Mapping[str, View], image: Tensor, step: int, row: int
) -> dict[str, Tensor]:
    """View -> `[V, C, S, S]`, normalized, of an image in row `row` of step `step`; other streams are left out."""
    first = next(iter(spec.data.streams))
    shown = {name: view for name, view in views.items() if view.stream == first and view.transform is None}
    pipeline = Pipeline({name: spec.views[name] for name in shown}, shown, spec.seed)
    rows = torch.tensor([row])
    finished = pipeline.rest(pipeline.first([image], step, rows), step, rows)
    return {name: crops[:, 0] for name, crops in finished.items()}


def _inputs(spec: HasImages, images: int, step: int) -> Iterator[NetworkInput]:
    if not spec.views:
        raise SpecError("views: is missing; what arrives in the network are crops of these")
    source = training_source(spec)
    views = make_views(spec, read_inputs(spec, source))
    for place, (index, at, row) in enumerate(_places(spec, source, step)):
        if place == images:
            return
        image, skipped = readable(source, index)
        name = source.name((index + len(skipped)) % len(source))
        yield NetworkInput(name, image, at, row, crops_of(spec, views, image, at, row))


def _places(spec: HasImages, source: Source, step: int) -> Iterator[tuple[int, int, int]]:
    """(index of the image, step, row in its batch), one after another as long as there are images in the epoch."""
    batch = min(spec.batch_size or len(source), len(source))
    order = Order(len(source), batch, spec.seed, BatchShare(0, 1, batch), source.blocks)
    for at in range(step, step + order.steps_per_epoch):
        for indices, rows in order.micro_batches(at):
            for index, row in zip(indices.tolist(), rows.tolist(), strict=True):
                yield index, at, row


def _row(one: NetworkInput, spec: HasImages) -> SheetRow:
    channels, height, width = one.image.shape
    name = f"{one.name}   {height} x {width}, {channels} x {str(one.image.dtype).removeprefix('torch.')}"
    crops = [
        ShownCrop(
            f"{view} {number}", crop, unnormalized(crop, normalize.mean, normalize.std), spec.views[view].show
        )
        for view, some in one.crops.items()
        for normalize in [spec.views[view].normalize]
        for number, crop in enumerate(some)
    ]
    return SheetRow(name, to_float(one.image), crops)
