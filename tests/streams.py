"""A run with a second stream and a tower: digits and their names, on the parts of the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import sslkit
from sslkit.core.source import Source
from sslkit.core.transform import bytes_of
from sslkit.core.view import Stream
from sslkit.data.crops import Pipeline
from sslkit.data.loaders import Feed, ResidentFeed
from sslkit.data.resident import resident_streams
from sslkit.errors import DataError
from sslkit.registry.manager import registry
from sslkit.specs.families import SourceSpec
from sslkit.specs.run import RunSpec
from sslkit.testing.tiny_stream import Letters, LetterTower, Pairs
from sslkit.train.compose import Composed
from tests import tiny

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class NamedDigits(Source):
    """64 noisy digits of 8 pixels in memory with their names, of which some may be missing."""

    def __init__(self, split: str, missing: tuple[int, ...], *, in_memory: bool) -> None:
        generator = torch.Generator().manual_seed(len(split))
        self.channels, self.fingerprint = 1, f"named digits {split} {missing}"
        self.labels, self.classes = torch.arange(64) % 10, tuple(NAMES)
        noise = torch.randint(0, 64, (64, 1, 8, 8), generator=generator)
        self.images = (noise + 19 * self.labels[:, None, None, None]).to(torch.uint8)
        self.missing, self.in_memory = missing, in_memory

    def __len__(self) -> int:
        return 64

    def load(self, index: int) -> Tensor:
        return self.images[index]

    def read(self, index: int, stream: str) -> Tensor:
        if stream == "image":
            return self.load(index)
        if index in self.missing:
            raise DataError(f"row {index} has no caption")
        assert self.labels is not None
        return bytes_of(NAMES[int(self.labels[index])])

    def channels_of(self, stream: str) -> int:
        return 1

    def held(self, stream: str) -> Tensor | list[Tensor] | None:
        if not self.in_memory or self.missing:
            return None
        return self.images if stream == "image" else [self.read(i, stream) for i in range(64)]


class NamedDigitsSpec(SourceSpec):
    """Digits with captions."""

    kind: Literal["named_digits"] = "named_digits"
    missing: tuple[int, ...] = ()
    in_memory: bool = True

    @property
    def streams(self) -> Mapping[str, Stream]:
        return {"image": Stream(), "caption": Stream("text", 1)}

    def build(self, split: str) -> Source:
        return NamedDigits(split, self.missing, in_memory=self.in_memory)


@contextmanager
def registered() -> Iterator[None]:
    """The kinds of such a run, for a block."""
    for cls in (NamedDigitsSpec, Letters, LetterTower, Pairs):
        sslkit.register(cls)
    try:
        yield
    finally:
        registry.cache_clear()


WORDS = {"stream": "caption", "size": 7, "transform": {"kind": "letters"}}
PAIRS = {"kind": "pairs"}
LAST = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}


def fields(out: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Fields of a run whose tower reads words."""
    return tiny.fields(
        out,
        **{
            "data": {"kind": "named_digits"},
            "views": {"global": tiny.VIEW, "words": WORDS},
            "backbone": tiny.ONE_BLOCK,
            "towers": {"text": {"kind": "letter_net"}},
            "objective": None,
            "objectives": {"pairs": PAIRS, "pixels": LAST},
            **changes,
        },
    )


def spec(out: Path | None = None, **changes: Any) -> RunSpec:
    """Such a run, with some fields changed."""
    return tiny.parse(fields(out, **changes))


def feed(run: RunSpec, composed: Composed) -> Feed:
    """The batches that a trainer would see."""
    views = composed.env.views
    held = resident_streams(composed.source, views, 0, tiny.CPU.device, 0, lambda index, reason: None)
    assert held is not None
    return ResidentFeed(held, composed.order, Pipeline(run.views, views, run.seed), tiny.CPU.device)
