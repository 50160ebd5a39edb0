"""Augmentation pipeline: samples to normalized crops, split between workers and the training device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.core.augment import Augment, as_stored, to_float, to_uint8
from sslkit.core.random_stream import Draw
from sslkit.core.transform import CropPlace, Transform
from sslkit.core.view import Size, View
from sslkit.functional.pixel_normalization import channel_statistics, normalized
from sslkit.functional.resize import resize_center
from sslkit.runtime import seeds
from sslkit.specs.views import ViewSpec

Samples = Tensor | Sequence[Tensor]
"""Samples of one stream: `[B, C, *axes]`, or B of them of any sizes."""
AT_ONCE = 1 << 20
"""Values of crops that go through their augmentations together on a CPU: more fall out of its caches."""
FEWEST = 32
"""But so many crops at least: to draw for one costs as much as to draw for many."""


@final
class Resized(Augment):
    """The center at the view's size: what a view does whose augmentations leave the size open."""

    fixes_size = True

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, *sides]`."""
        return resize_center(images, self.size)


@final
class Transformed(Augment):
    """A transform as the first step of a view, which makes crops of one size of samples of any."""

    fixes_size = True

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return self.transform(list(images), draw)


class Chain(NamedTuple):
    """The augmentations of one crop."""

    steps: Sequence[Augment]
    fixing: int
    """The first of them that fixes the size. Behind it, crops of uint8 images are uint8 for a moment, anywhere."""
    transform: Transform | None
    """What the first of them calls, where that is one."""


class Place(NamedTuple):
    """Which crop of which images: what the streams of random numbers are named by, beside the seed."""

    view: str
    crop: int
    step: int
    rows: Tensor


@final
class Pipeline:
    """The crops of every view. Each augmentation of each crop draws from a stream of its own."""

    def __init__(
        self, specs: Mapping[str, ViewSpec], views: Mapping[str, View], seed: int, *, in_workers: bool = False
    ) -> None:
        """`in_workers`: worker processes also do what follows the cut, with the same result."""
        self.views, self.seed, self.in_workers = views, seed, in_workers
        self.chains = {
            name: [_chain(spec, i, views[name].transform) for i in range(spec.crops)]
            for name, spec in specs.items()
        }
        self.axes = {view.stream: view.axes for view in views.values()}
        """What is read of a sample: the streams of all views, and how many axes they have."""
        self._drawn_as = {name: spec.crops_like or name for name, spec in specs.items()}
        self._statistics: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}

    def crops(self, images: Samples | Mapping[str, Samples], step: int, rows: Tensor) -> dict[str, Tensor]:
        """Normalized crops `[V, B, *shape]` by view, from B samples on the training device.

        `images`: samples of each stream, or of the only one: `[B, C, H, W]` where they are of one size.
        """
        whole = self.by_stream(images)
        return {
            name: self._crops(
                name, whole[view.stream], step, _beside(whole[view.stream], rows), normalize=True
            )
            for name, view in self.views.items()
        }

    def first(self, images: Samples | Mapping[str, Samples], step: int, rows: Tensor) -> dict[str, Tensor]:
        """A worker's part: crops `[V, B, *shape]` by view, from B samples of any sizes and types.

        They end with the step that fixes their size, uint8 where all images are and else float32 in [0, 1]; or,
        `in_workers`, they are float32 in [0, 1] and only to be normalized. Symbols are int64.
        """
        whole = self.by_stream(images)
        if not self.in_workers:
            return {n: self._cuts(n, whole[view.stream], step, rows) for n, view in self.views.items()}
        return {
            n: self._crops(n, whole[view.stream], step, rows, normalize=False)
            for n, view in self.views.items()
        }

    def by_stream(self, samples: Samples | Mapping[str, Samples]) -> Mapping[str, Samples]:
        """`samples` by their stream; those of the only one may come without its name."""
        return samples if isinstance(samples, Mapping) else dict.fromkeys(self.axes, samples)

    def rest(self, crops: Mapping[str, Tensor], step: int, rows: Tensor) -> dict[str, Tensor]:
        """What follows `first`, on the training device."""
        return {
            name: self._normalized(x, name)
            if self.in_workers
            else self._finished(name, x, step, rows, normalize=True)
            for name, x in crops.items()
        }

    def normalize(self, images: Tensor, view: str) -> Tensor:
        """`images` `[..., C, *axes]` in [0, 1], with the statistics of `view`."""
        kind = self.views[view]
        return normalized(images, kind.mean, kind.std, len(kind.sides))

    def _crops(
        self, name: str, images: Tensor | Sequence[Tensor], step: int, rows: Tensor, *, normalize: bool
    ) -> Tensor:
        return self._finished(name, self._cuts(name, images, step, rows), step, rows, normalize=normalize)

    def _cuts(self, name: str, images: Tensor | Sequence[Tensor], step: int, rows: Tensor) -> Tensor:
        """`[V, B, *shape]`: the same whether a worker or the device makes them; uint8 where all images are."""
        if isinstance(images, Tensor):
            return self._cuts_alike(name, images, step, rows)
        places = _by_storage(images)
        if len(places) == 1:
            return self._cuts_alike(name, images, step, rows)
        view = self.views[name]
        output = torch.empty(view.crops, len(images), *view.shape, dtype=self._dtype(name))
        for some in places:
            output[:, some] = self._values(
                self._cuts_alike(name, [images[i] for i in some], step, rows[some]), name
            )
        return output

    def _cuts_alike(self, name: str, images: Tensor | Sequence[Tensor], step: int, rows: Tensor) -> Tensor:
        """`[V, B, *shape]` of images that are all uint8, or all not."""
        view = self.views[name]
        pieces = [
            torch.stack(
                [self._cut(images[part], Place(name, i, step, rows[part])) for i in range(view.crops)]
            )
            for part in _pieces(rows, math.prod(view.shape))
        ]
        return torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]

    def _cut(self, images: Tensor | Sequence[Tensor], place: Place) -> Tensor:
        chain = self.chains[place.view][place.crop]
        if chain.transform is not None:
            return chain.transform.crop(list(images), self._draw(place, 0), self._crop_place(place))
        if chain.fixing == 0:
            return chain.steps[0].cut(images, self._draw(place, 0))
        if isinstance(images, Tensor) and _together(images):
            return as_stored(self._run(to_float(images), place, 0, chain.fixing + 1), images)
        places = [place._replace(rows=row[None]) for row in place.rows]
        return torch.cat([self._cut(x[None], one) for x, one in zip(images, places, strict=True)])

    def _finished(self, name: str, crops: Tensor, step: int, rows: Tensor, *, normalize: bool) -> Tensor:
        """`[V, B, *shape]` float32 from cuts: in [0, 1], or normalized. Of symbols int64."""
        output = torch.empty(crops.shape, device=crops.device, dtype=self._dtype(name))
        for i, chain in enumerate(self.chains[name]):
            for part in _pieces(rows, crops[0, :1].numel()):
                place = Place(name, i, step, rows[part])
                cut = crops[i, part]
                rounded = cut.dtype == torch.uint8
                crop = self._run(
                    self._values(cut, name), place, chain.fixing + 1, len(chain.steps), rounded=rounded
                )
                output[i, part] = self._normalized(crop, name) if normalize else crop
        return output

    def _run(self, images: Tensor, place: Place, begin: int, end: int, *, rounded: bool = False) -> Tensor:
        """`rounded`: resized images have the levels of bytes again, as those of uint8 images do."""
        for i in range(begin, end):
            step = self.chains[place.view][place.crop].steps[i]
            images = step(images, self._draw(place, i))
            if rounded and step.fixes_size:
                images = to_float(to_uint8(images))
        return images

    def _draw(self, place: Place, index: int) -> Draw:
        view = self._drawn_as[place.view]
        return seeds.draw(self.seed, place.step, "augment", view, place.crop, index, rows=place.rows)

    def _crop_place(self, place: Place) -> CropPlace:
        view = self._drawn_as[place.view]
        shared = seeds.draw(self.seed, place.step, "augment", view, "all crops", rows=place.rows)
        return CropPlace(place.crop, place.step, shared)

    def _dtype(self, view: str) -> torch.dtype:
        return torch.int64 if self.views[view].symbols else torch.float32

    def _values(self, crops: Tensor, view: str) -> Tensor:
        """In [0, 1]; symbols as they are."""
        return crops if self.views[view].symbols else to_float(crops)

    def _normalized(self, crops: Tensor, view: str) -> Tensor:
        """`crops`, which nothing else reads, with the statistics of `view`; symbols as they are."""
        if self.views[view].symbols:
            return crops
        key, kind = (view, crops.device), self.views[view]
        if key not in self._statistics:
            self._statistics[key] = channel_statistics(
                kind.mean, kind.std, crops.device, axes=len(kind.sides)
            )
        mean, std = self._statistics[key]
        return crops.sub_(mean).div_(std)


def _beside(samples: Samples, rows: Tensor) -> Tensor:
    """`rows` on the device of the samples: a transform may read them from memory whatever the training device."""
    return rows.to(samples[0].device)


def _together(images: Tensor) -> bool:
    """Whether they are cut as one batch: on a CPU, floats of several images may round otherwise than those of one."""
    return len(images) == 1 or images.dtype == torch.uint8 or images.device.type != "cpu"


def _by_storage(images: Sequence[Tensor]) -> list[list[int]]:
    """The places of the uint8 images, and of all others; only those that there are."""
    small = [i for i, image in enumerate(images) if image.dtype == torch.uint8]
    large = [i for i, image in enumerate(images) if image.dtype != torch.uint8]
    return [places for places in (small, large) if places]


def _pieces(rows: Tensor, numel: int) -> Iterator[slice]:
    """Which of `rows` go together, where each has a crop of `numel` values; on a device that is not a CPU, all."""
    length = max(FEWEST, AT_ONCE // numel) if rows.device.type == "cpu" else len(rows)
    return (slice(start, start + length) for start in range(0, len(rows), length))


def _chain(spec: ViewSpec, crop: int, transform: Transform | None) -> Chain:
    steps = [augment.build(spec.size) for augment in spec.chains[crop]]
    if transform is not None:
        steps = [Transformed(transform), *steps]
    if not any(step.fixes_size for step in steps):
        steps = [Resized(spec.size), *steps]
    return Chain(steps, next(i for i, step in enumerate(steps) if step.fixes_size), transform)
