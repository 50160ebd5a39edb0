"""Conformance checks of transforms."""

from __future__ import annotations

import pickle
from functools import partial

import torch
from torch import Tensor

from sslkit.core.source import Source, pixel_problem
from sslkit.core.transform import CropPlace, Transform
from sslkit.errors import PluginError
from sslkit.runtime import seeds
from sslkit.specs.families import TransformSpec
from sslkit.testing.kit_report import Checks, NotOffered, require
from sslkit.testing.tiny_run import IMAGE, Noise
from sslkit.testing.tiny_stream import STREAMS

SAMPLES = 8


def checks(spec: TransformSpec) -> Checks:
    """The checks of what a transform makes of the kit's stream of the type that it takes."""
    return {
        "learns the same of the same samples": partial(_learns, spec),
        "makes crops of the view's shape": partial(_shapes, spec),
        "makes what its spec and facts say": partial(_symbols, spec),
        "equal draws give equal crops": partial(_repeats, spec),
        "a crop depends on its own sample and row only": partial(_independent, spec),
        "crops of training and evaluation have one shape": partial(_shaped_alike, spec),
        "works in another process": partial(_pickles, spec),
    }


def _source(spec: TransformSpec) -> tuple[Source, str]:
    """The kit's training samples, and their stream of the type that it takes."""
    for name, stream in STREAMS.items():
        if stream.type == spec.takes:
            source = Noise().build("train")
            assert source is not None, "it has both splits"
            return source, name
    raise NotOffered(f"the kit has no stream of {spec.takes}")


def _built(spec: TransformSpec) -> tuple[Transform, list[Tensor]]:
    source, stream = _source(spec)
    samples = [source.read(i, stream) for i in range(SAMPLES)]
    return spec.build(IMAGE, spec.learn(source, stream)), samples


def _run(transform: Transform, samples: list[Tensor], first: int = 0) -> Tensor:
    return transform(samples, seeds.draw(0, "transform", rows=torch.arange(first, first + len(samples))))


def _learns(spec: TransformSpec) -> None:
    source, stream = _source(spec)
    one, two = spec.learn(source, stream), spec.learn(source, stream)
    require(isinstance(one, str), f"`learn` gives {type(one).__name__}; give text")
    require(one == two, "`learn` gives another text when it is asked again; ranks and repeats would differ")


def _shapes(spec: TransformSpec) -> None:
    transform, samples = _built(spec)
    before = [sample.clone() for sample in samples]
    crops = _run(transform, samples)
    sides = (IMAGE,) * spec.axes
    channels = transform.channels or samples[0].shape[0]
    shape = (SAMPLES, *sides) if transform.symbols else (SAMPLES, channels, *sides)
    actual = f"gives {crops.dtype} {tuple(crops.shape)}"
    require(crops.shape == shape, f"{actual}, expected {shape}")
    if transform.symbols:
        require(crops.dtype == torch.int64, f"{actual}, expected int64")
    else:
        right = crops.dtype in (torch.uint8, torch.float32)
        problem = pixel_problem(crops, channels, spec.axes)
        require(right and not problem, f"{actual}, expected uint8, or float32 in [0, 1]; {problem}")
    same = all(torch.equal(x, y) for x, y in zip(samples, before, strict=True))
    require(same, "changes the samples it was given in place")


def _shaped_alike(spec: TransformSpec) -> None:
    """What training gets of a crop's place, and what evaluation gets, repeat and are shaped as what the call gives."""
    transform, samples = _built(spec)
    expected, rows = _run(transform, samples), torch.arange(SAMPLES)
    place = CropPlace(1, 3, seeds.draw(0, "shared", rows=rows))
    still = torch.zeros_like(rows)

    def crop() -> Tensor:
        return transform.crop(samples, seeds.draw(0, "transform", rows=rows), place)

    def fixed() -> Tensor:
        return transform.fixed(samples, seeds.draw(0, "fixed", rows=still))

    for name, make in (("crop", crop), ("fixed", fixed)):
        crops = make()
        actual = f"`{name}` gives {crops.dtype} {tuple(crops.shape)}"
        require(crops.shape == expected.shape, f"{actual}, but a call gives {tuple(expected.shape)}")
        require(torch.equal(crops, make()), f"`{name}` gives other crops when it is asked again")


def _symbols(spec: TransformSpec) -> None:
    transform, samples = _built(spec)
    facts = transform.facts
    require(
        all(isinstance(x, int) for x in facts.values()), f"`facts` must be whole numbers, found {dict(facts)}"
    )
    require(
        spec.axes == 1 or not transform.symbols, f"makes symbols, which have 1 axis; `axes` says {spec.axes}"
    )
    if not transform.symbols:
        return
    size = facts.get("vocabulary", 0)
    require(size > 0, f"makes symbols, so `facts` must say how many: `vocabulary`; found {dict(facts)}")
    low, high = (int(end) for end in _run(transform, samples).aminmax())
    require(low >= 0 and high < size, f"gives symbols from {low} to {high}, but its vocabulary has {size}")
    special = [name for name, value in facts.items() if name != "vocabulary" and not 0 <= value < size]
    require(not special, f"`facts` name symbols outside of the vocabulary of {size}: {', '.join(special)}")


def _repeats(spec: TransformSpec) -> None:
    transform, samples = _built(spec)
    crops = []
    for seed in (1, 2):  # of torch's generator, which it must not read
        torch.manual_seed(seed)
        crops.append(_run(transform, samples))
    require(torch.equal(*crops), "equal draws give different crops; take all randomness from `draw`")


def _independent(spec: TransformSpec) -> None:
    transform, samples = _built(spec)
    whole, part = _run(transform, samples), _run(transform, samples[3:6], first=3)
    require(
        torch.equal(whole[3:6], part),
        "a crop depends on the other samples of its batch, or on its place in it",
    )


def _pickles(spec: TransformSpec) -> None:
    transform, samples = _built(spec)
    try:
        copied: Transform = pickle.loads(pickle.dumps(transform))  # noqa: S301 - what was just written
    except Exception as error:
        raise PluginError(f"cannot be sent to worker processes: {error}") from None
    require(torch.equal(_run(copied, samples), _run(transform, samples)), "its copy gives other crops")
