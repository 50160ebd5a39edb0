"""From uint8 images to normalized crops: the augmentations of every view, split where workers hand over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from sslkit.core.augment import Augment
from sslkit.core.draw import Draw
from sslkit.core.env import View
from sslkit.functional.resize import resize_center
from sslkit.spec.parts import ViewSpec
from sslkit.train import rng


@final
class Resized(Augment):
    """The centre square at the view's size: what a view does whose augmentations leave the size open."""

    fixes_size = True

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, size, size]`."""
        return resize_center(images, self.size)


@final
class Pipeline:
    """The crops of every view. Each augmentation of each crop draws from a stream of its own."""

    def __init__(self, specs: Mapping[str, ViewSpec], views: Mapping[str, View], seed: int) -> None:
        self.views, self.seed = views, seed
        self.steps: dict[str, Sequence[Augment]] = {name: _steps(spec) for name, spec in specs.items()}
        self._cut = {name: _first_fixing(steps) + 1 for name, steps in self.steps.items()}
        self._moments: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}

    def whole(self, images: Tensor, step: int, rows: Tensor) -> dict[str, Tensor]:
        """Normalized crops `[V, B, C, S, S]` by view, from uint8 `[B, C, H, W]` on the training device."""
        return self.rest(self._cropped(images, step, rows), step, rows)

    def first(self, image: Tensor, step: int, row: Tensor) -> dict[str, Tensor]:
        """A worker's part: crops `[V, C, S, S]` uint8 by view, up to the step that fixes their size."""
        return {name: crops[0] for name, crops in self._cropped(image[None], step, row).items()}

    def rest(self, crops: Mapping[str, Tensor], step: int, rows: Tensor) -> dict[str, Tensor]:
        """What follows `first`, on the training device, from `[B, V, C, S, S]` uint8 by view."""
        done = {}
        for name, images in crops.items():
            floats = to_float(images).transpose(0, 1)
            parts = [self._run(name, x, step, rows, i, self._cut[name]) for i, x in enumerate(floats)]
            done[name] = self._finish(name, parts)
        return done

    def _cropped(self, images: Tensor, step: int, rows: Tensor) -> dict[str, Tensor]:
        """Crops `[B, V, C, S, S]` uint8 by view: the same bytes whether a worker or the device made them."""
        floats, cropped = to_float(images), {}
        for name, view in self.views.items():
            crops = [self._run(name, floats, step, rows, i, 0, self._cut[name]) for i in range(view.crops)]
            cropped[name] = to_uint8(torch.stack(crops, dim=1))
        return cropped

    def _run(
        self,
        view: str,
        images: Tensor,
        step: int,
        rows: Tensor,
        crop: int,
        begin: int,
        end: int | None = None,
    ) -> Tensor:
        for i, augment in list(enumerate(self.steps[view]))[begin:end]:
            images = augment(images, rng.draw(self.seed, step, "augment", view, crop, i, rows=rows))
        return images

    def _finish(self, view: str, crops: Sequence[Tensor]) -> Tensor:
        return self.normalize(torch.stack(list(crops)), view)

    def normalize(self, images: Tensor, view: str) -> Tensor:
        """`images` `[..., C, H, W]` in [0, 1], with the statistics of `view`."""
        place = (view, images.device)
        if place not in self._moments:
            self._moments[place] = moments(self.views[view], images.device)
        mean, std = self._moments[place]
        return (images - mean) / std


def moments(view: View, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of `view`, each `[C, 1, 1]` float32."""
    mean = torch.tensor(view.mean, dtype=torch.float32, device=device)
    return mean[:, None, None], torch.tensor(view.std, dtype=torch.float32, device=device)[:, None, None]


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]."""
    return images.to(torch.float32) / 255


def to_uint8(images: Tensor) -> Tensor:
    """float32 in [0, 1] -> uint8, rounded."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _steps(spec: ViewSpec) -> list[Augment]:
    made = [augment.build(spec.size) for augment in spec.augment]
    return made if any(step.fixes_size for step in made) else [Resized(spec.size), *made]


def _first_fixing(steps: Sequence[Augment]) -> int:
    return next(i for i, step in enumerate(steps) if step.fixes_size)
