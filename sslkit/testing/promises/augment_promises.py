"""Conformance checks of augmentations."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sslkit.core.augment import Augment, to_float
from sslkit.errors import PluginError, reason_of
from sslkit.runtime import seeds
from sslkit.specs.families import AugmentSpec
from sslkit.testing.kit_report import Checks, NotOffered, require
from sslkit.testing.tiny_run import CHANNELS, IMAGE

IMAGES = 8
SLACK = 1e-5
"""Float error that is let pass, in pixels of range 1."""
CUT_SLACK = 2.0
"""Mean difference of pixels of range 255 that integer arithmetic and rounding may make."""
OTHER_CHANNELS = (1, 2, 4, 13)
"""Numbers of channels that are tried."""
STORED = {torch.uint8: CUT_SLACK, torch.uint16: SLACK * 255, torch.float32: SLACK * 255}
"""Types of decoded images, and the mean difference that their cuts may have; all but bytes stay floats."""


def checks(spec: AugmentSpec) -> Checks:
    """The checks of an augmentation's images."""
    return {
        "keeps shape, type and range": partial(_keeps_range, spec),
        "equal draws give equal images": partial(_repeats, spec),
        "an image depends on its own row only": partial(_independent, spec),
        "cuts decoded images alike": partial(_cuts, spec),
        "changes any channels that it does not refuse": partial(_serves, spec),
    }


def _images(augment: Augment) -> Tensor:
    """`[B, C, H, W]`; not of the view's size where the augmentation brings it about."""
    height, width = (IMAGE + 8, IMAGE + 16) if augment.fixes_size else (IMAGE, IMAGE)
    return torch.rand(IMAGES, CHANNELS, height, width, generator=seeds.generator(0, "images"))


def _run(augment: Augment, images: Tensor, first: int = 0) -> Tensor:
    rows = torch.arange(first, first + len(images))
    return augment(images, seeds.draw(0, "augment", rows=rows))


def _keeps_range(spec: AugmentSpec) -> None:
    augment = spec.build(IMAGE)
    images = _images(augment)
    before, out = images.clone(), _run(augment, images)
    shape = (IMAGES, CHANNELS, IMAGE, IMAGE)
    require(out.shape == shape, f"gives {tuple(out.shape)} for {tuple(images.shape)}, expected {shape}")
    require(out.dtype == torch.float32, f"gives {out.dtype}, expected float32")
    low, high = float(out.min()), float(out.max())
    require(
        low >= -SLACK and high <= 1 + SLACK,
        f"gives values from {low:.3g} to {high:.3g}; clamp them to [0, 1]",
    )
    require(torch.equal(images, before), "changes the images it was given in place")


def _serves(spec: AugmentSpec) -> None:
    """Where `channel_problems` is silent, images of that many channels keep it, and their range."""
    augment = spec.build(IMAGE)
    for channels in OTHER_CHANNELS:
        if list(spec.channel_problems(channels)):
            continue
        images = _images(augment)[:, :1] * torch.linspace(0.5, 1, channels)[:, None, None]
        advice = "say in `channel_problems` which numbers of channels it cannot change"
        try:
            out = _run(augment, images)
        except Exception as error:
            raise PluginError(f"fails on {channels} channels: {reason_of(error)}; {advice}") from None
        right = (
            out.shape[:2] == images.shape[:2] and -SLACK <= float(out.min()) <= float(out.max()) <= 1 + SLACK
        )
        require(right, f"makes {tuple(out.shape)} of {channels} channels, or leaves [0, 1]; {advice}")


def _repeats(spec: AugmentSpec) -> None:
    outputs = []
    for seed in (1, 2):  # of torch's generator, which an augmentation must not read
        augment = spec.build(IMAGE)
        torch.manual_seed(seed)
        outputs += [_run(augment, _images(augment)), _run(augment, _images(augment))]
    same = all(torch.equal(outputs[0], images) for images in outputs[1:])
    require(same, "equal draws give different images; take all randomness from `draw`, and keep no state")


def _independent(spec: AugmentSpec) -> None:
    augment = spec.build(IMAGE)
    images = _images(augment)
    part = _run(augment, images[3:6], first=3)
    whole = _run(augment, images)
    same = torch.allclose(whole[3:6], part, rtol=0, atol=SLACK)
    require(same, "an image depends on the others of its batch, so micro-batches and ranks would change it")
    order = torch.tensor([5, 0, 7])
    moved = augment(images[order], seeds.draw(0, "augment", rows=order))
    same = torch.allclose(whole[order], moved, rtol=0, atol=SLACK)
    require(same, "an image depends on its place in the batch; take all randomness from `draw`")


def _cuts(spec: AugmentSpec) -> None:
    """What a worker does of an augmentation that brings the size about: images of many sizes, as they are decoded."""
    augment = spec.build(IMAGE)
    if not augment.fixes_size:
        raise NotOffered("leaves the size as it is")
    for dtype, slack in STORED.items():
        _cuts_of(augment, dtype, slack)


def _cuts_of(augment: Augment, dtype: torch.dtype, slack: float) -> None:
    most = {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    images = (_images(augment) * most).to(dtype)
    rows, shape = torch.arange(IMAGES), (IMAGES, CHANNELS, IMAGE, IMAGE)
    wanted = torch.uint8 if dtype == torch.uint8 else torch.float32
    cut = augment.cut(images, seeds.draw(0, "augment", rows=rows))
    require(
        cut.dtype == wanted and cut.shape == shape,
        f"`cut` of {dtype} gives {cut.dtype} {tuple(cut.shape)}, expected {wanted} {shape}",
    )
    cut = to_float(cut)
    apart = to_float(augment.cut(list(images), seeds.draw(0, "augment", rows=rows)))
    require(_same(cut, apart), "`cut` gives others for a list of images than for a tensor of them")
    part = to_float(augment.cut(list(images[3:6]), seeds.draw(0, "augment", rows=rows[3:6])))
    require(_same(cut[3:6], part), "`cut` of an image depends on the others of its batch")
    called = augment(to_float(images), seeds.draw(0, "augment", rows=rows))
    away = 255 * float((cut - called).abs().mean())
    require(away < slack, f"`cut` of {dtype} is {away:.3g} of 255 away from what a call gives, in the mean")


def _same(one: Tensor, other: Tensor) -> bool:
    """Within float error, which bytes are far apart from."""
    return torch.allclose(one, other, rtol=0, atol=SLACK)
