"""Random resized crop and resize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sslkit.functional.random_boxes import random_boxes
from sslkit.functional.resize import Box, Interpolation, pair_of, resize_bytes, resize_center, resize_crop
from sslkit.functional.resize_floats import resize_floats, widened
from sslkit.interfaces import Augment, Draw, to_float, to_uint8
from sslkit.plugin import Size

BYTES_SIDE = 64
"""On a CPU, images with a longer side than this are cut one by one, by kernels for bytes."""
SUMS_SIDE = 192
"""On a CPU, float images of several channels with at least so long a side are cut as sums of rows, which is quicker."""


@final
class RandomResizedCropAugment(Augment):
    """A random part of the image, resized."""

    fixes_size = True

    def __init__(
        self, size: Size, scale: tuple[float, float], ratio: tuple[float, float], interpolation: Interpolation
    ) -> None:
        height, width = self.sides = pair_of(size)
        self.scale = scale
        aspect = width / height
        self.ratio = (ratio[0] * aspect, ratio[1] * aspect)
        self.interpolation = interpolation

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, *sides]`."""
        boxes = random_boxes(draw, images.shape[-2], images.shape[-1], self.scale, self.ratio)
        return resize_crop(images, boxes, self.sides, self.interpolation).clamp(0, 1)

    def cut(self, images: Tensor | Sequence[Tensor], draw: Draw) -> Tensor:
        """The same crops of decoded images; what is large is cut from the bytes, within 1/255 of the floats."""
        alike = isinstance(images, Tensor) or len({(x.shape, x.dtype) for x in images}) == 1
        if alike and (draw.device.type != "cpu" or max(images[0].shape[-2:]) <= BYTES_SIDE):
            batch = images if isinstance(images, Tensor) else torch.stack(list(images))
            boxes = random_boxes(draw, batch.shape[-2], batch.shape[-1], self.scale, self.ratio)
            return self._batch(batch, boxes)
        heights, widths = (torch.tensor([x.shape[axis] for x in images]) for axis in (-2, -1))
        boxes = random_boxes(draw, heights, widths, self.scale, self.ratio)
        return torch.stack([self._one(image, box) for image, box in zip(images, boxes, strict=True)])

    def _one(self, image: Tensor, box_4: Tensor) -> Tensor:
        """`[C, *sides]`; the way depends on the image's own size and type only, not on its batch."""
        if max(image.shape[-2:]) <= BYTES_SIDE:
            return self._batch(image[None], box_4[None])[0]
        box = Box(*box_4.tolist())
        if image.dtype == torch.uint8:
            return resize_bytes(image, box, self.sides, self.interpolation)
        if image.shape[0] == 1 or max(image.shape[-2:]) < SUMS_SIDE:
            crop = box.of(image).contiguous()[None]  # so that its layout changes no bit
            return self._batch(crop, torch.tensor([[0, 0, box.height, box.width]]))[0]
        near = widened(box, image.shape[-1])
        inside = box._replace(top=0, left=box.left - near.left)
        return resize_floats(to_float(near.of(image)), inside, self.sides, self.interpolation).clamp_(0, 1)

    def _batch(self, images_BCHW: Tensor, boxes_B4: Tensor) -> Tensor:
        """`[B, C, *sides]`: uint8 from uint8, rounded once; else float32."""
        crops = resize_crop(to_float(images_BCHW), boxes_B4, self.sides, self.interpolation)
        return to_uint8(crops) if images_BCHW.dtype == torch.uint8 else crops.clamp(0, 1)


@final
class ResizeAugment(Augment):
    """The center, resized."""

    fixes_size = True

    def __init__(self, size: Size, crop: float) -> None:
        self.size = size
        self.crop = crop

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, *sides]`; draws nothing."""
        return resize_center(images, self.size, self.crop)
