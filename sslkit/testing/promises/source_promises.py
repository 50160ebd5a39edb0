"""Conformance checks of sources."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from sslkit.core.fingerprint import SIZE
from sslkit.core.source import Source, pixel_problem
from sslkit.errors import PluginError
from sslkit.specs.families import SourceSpec
from sslkit.testing.kit_report import Checks, require

TRIED = 16
"""Images that are loaded."""
UNKNOWN = 255
"""In masks: pixels that are not told."""


def checks(spec: SourceSpec) -> Checks:
    """The checks of the training split, and of the test split where there is one."""
    return {
        "gives pixels of one scale": partial(_images, spec),
        "gives every stream that its spec names": partial(_streams, spec),
        "labels every image or none": partial(_labels, spec),
        "names every image": partial(_names, spec),
        "its attributes are numbers from -1": partial(_attributes, spec),
        "its masks fit its images": partial(_masks, spec),
        "has a stable fingerprint": partial(_fingerprint, spec),
        "gives its images as they are stored, or none": partial(_encoded, spec),
        "its files are as their checksums say": partial(_files, spec),
        "its splits agree": partial(_splits, spec),
    }


def _train(spec: SourceSpec) -> Source:
    source = spec.build("train")
    if source is None:
        raise PluginError("has no training split")
    return source


def _images(spec: SourceSpec) -> None:
    source, axes = _train(spec), next(iter(spec.streams.values())).axes
    require(len(source) > 0, "has no images")
    resident = source.resident()
    if resident is not None:
        _pixels(resident, 2, source.channels, axes, "`resident`")
    for index in _some(source):
        image = source.load(index)
        actual = f"image {index} is {image.dtype} {tuple(image.shape)}"
        _pixels(image, 1, source.channels, axes, f"image {index}")
        require(torch.equal(image, source.load(index)), f"image {index} differs when it is loaded again")
        size = (image.shape[-2], image.shape[-1])
        require(source.sizes is None or size in source.sizes, f"{actual}, a size that `sizes` leaves out")
        same = resident is None or (resident.dtype == image.dtype and torch.equal(resident[index], image))
        require(same, f"image {index} differs between `load` and `resident`")
    require(
        resident is None or len(resident) == len(source), "`resident` has another number of images than `len`"
    )


def _streams(spec: SourceSpec) -> None:
    """Samples, of the axes that the spec says; the first stream is what `load` gives."""
    source, first = _train(spec), next(iter(spec.streams))
    for name, stream in spec.streams.items():
        channels, held = source.channels_of(name), source.held(name)
        require(held is None or len(held) == len(source), f"`held` has another number of {name!r} than `len`")
        for index in _some(source):
            sample = source.read(index, name)
            problem = pixel_problem(sample, channels, stream.axes)
            require(not problem, f"{name} {index}: a source gives {problem}")
            require(
                sample.ndim == stream.axes + 1,
                f"{name} {index} has {sample.ndim - 1} axes, not {stream.axes}",
            )
            again = source.load(index) if name == first else source.read(index, name)
            require(torch.equal(sample, again), f"{name} {index} differs when it is read again, or by `load`")
            same = held is None or torch.equal(held[index], sample)
            require(same, f"{name} {index} differs between `read` and `held`")


def _pixels(images: Tensor, ndim: int, channels: int, axes: int, subject: str) -> None:
    """`ndim`: dimensions in front of the `axes`, that of channels among them."""
    problem, ndim = pixel_problem(images, channels, axes), ndim + axes
    require(not problem, f"{subject}: a source gives images as {problem}")
    require(images.ndim == ndim, f"{subject} has {images.ndim} dimensions, expected {ndim}")


def _some(source: Source) -> list[int]:
    """Places spread over all images, the first and the last among them."""
    return sorted({round(i * (len(source) - 1) / (TRIED - 1)) for i in range(TRIED)})


def _names(spec: SourceSpec) -> None:
    """By which warnings and figures call an image."""
    source = _train(spec)
    names = [source.name(index) for index in _some(source)]
    require(all(isinstance(name, str) and name for name in names), f"`name` gives {names[0]!r}; give a text")
    require(
        len(set(names)) == len(names), "`name` gives one name for several images; use the file or the row"
    )


def _attributes(spec: SourceSpec) -> None:
    source = _train(spec)
    for name, values in source.attributes.items():
        actual = f"attribute {name!r} is {values.dtype} {tuple(values.shape)}"
        right = values.dtype == torch.int64 and values.shape == (len(source),)
        require(right, f"{actual}, expected int64 [{len(source)}]")
        require(
            int(values.min()) >= -1, f"attribute {name!r} has {int(values.min())}; -1 is unknown, 0 the first"
        )


def _masks(spec: SourceSpec) -> None:
    """Of sources that name regions; others give no masks."""
    source = _train(spec)
    for index in _some(source):
        mask = source.mask(index)
        if mask is None or not source.regions:
            require(
                mask is None and not source.regions, "names regions without masks, or has masks without them"
            )
            continue
        size, actual = source.load(index).shape[1:], f"mask {index} is {mask.dtype} {tuple(mask.shape)}"
        require(mask.dtype == torch.uint8 and mask.shape == size, f"{actual}, expected uint8 {tuple(size)}")
        labeled = mask[mask != UNKNOWN]
        highest = int(labeled.max()) if len(labeled) else 0
        require(highest < len(source.regions), f"mask {index} has {highest}, which is no region")


def _labels(spec: SourceSpec) -> None:
    source = _train(spec)
    if source.labels is None:
        require(not source.classes, "names classes but has no labels")
        return
    actual = f"{source.labels.dtype} {tuple(source.labels.shape)}"
    right = source.labels.dtype == torch.int64 and source.labels.shape == (len(source),)
    require(right, f"labels are {actual}, expected int64 [{len(source)}]")
    low, high = int(source.labels.min()), int(source.labels.max())
    require(
        low >= 0 and high < len(source.classes), f"labels {low} to {high} for {len(source.classes)} classes"
    )


def _fingerprint(spec: SourceSpec) -> None:
    one, two = _train(spec), _train(spec)
    first, second = one.fingerprint, two.fingerprint
    require(bool(first), "the fingerprint is empty")
    require(first == second, f"the fingerprint is {first!r}, and {second!r} when built again")
    digests, again = one.digests(), two.digests()
    if digests is None or again is None:
        return
    actual = f"`digests` is {digests.dtype} {digests.shape}"
    require(
        digests.dtype == np.uint8 and digests.shape == (len(one), SIZE),
        f"{actual}, expected uint8 [N, {SIZE}]",
    )
    require(np.array_equal(digests, again), "`digests` differ when the source is built again")


def _encoded(spec: SourceSpec) -> None:
    """For `sslkit data pack`, which writes some as they are and would draw the others anew."""
    source = _train(spec)
    images = [source.encoded(index) for index in _some(source)]
    stored = [image for image in images if image is not None]
    require(len(stored) in (0, len(images)), "`encoded` gives some images and not others")
    for data, name in stored:
        require(isinstance(data, bytes) and bool(data), f"`encoded` gives no bytes of {name!r}")
        require(isinstance(name, str) and bool(name), f"`encoded` names an image {name!r}; give a text")
    again = [source.encoded(index) for index in _some(source)]
    require(images == again, "`encoded` gives other bytes when it is asked again")


def _files(spec: SourceSpec) -> None:
    faults = list(_train(spec).file_faults())
    require(not faults, f"`file_faults`: {', '.join(f'{file}: {fault}' for file, fault in faults[:3])}")


def _splits(spec: SourceSpec) -> None:
    train, test = _train(spec), spec.build("test")
    if test is not None:
        require(
            train.channels == test.channels, f"{train.channels} channels to train, {test.channels} to test"
        )
        require(train.classes == test.classes, "the splits name different classes")
        require(train.fingerprint != test.fingerprint, "both splits have the same fingerprint")
