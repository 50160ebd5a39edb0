"""Samples of several streams in memory, and the order of their decoding."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sslkit.core.source import Source, pixel_problem, readable_samples
from sslkit.core.transform import bytes_of, text_of
from sslkit.core.view import View
from sslkit.data.crops import Pipeline
from sslkit.data.fixed_crops import as_input, fixed_crops
from sslkit.data.resident import resident, resident_streams
from sslkit.data.unreadable import decoded_of, readable_sample, sample
from sslkit.errors import DataError
from sslkit.specs.views import ViewSpec
from sslkit.testing.tiny_stream import LetterTransform
from tests.tiny import CPU

LETTERS = LetterTransform(6, b"abcdefghij")
VIEWS = {
    "image": View(4, 1, 1, (0.25,), (0.5,)),
    "words": View(6, 1, 1, (), (), type="tokens", stream="text", axes=1, transform=LETTERS),
}
AXES = {"image": 2, "text": 1}


class Pairs(Source):
    """Ten images and as many words, each one letter longer than the last."""

    labels, classes, fingerprint, channels = None, (), "pairs", 1

    def __init__(self, broken: Sequence[int] = (), larger: Sequence[int] = ()) -> None:
        self.broken, self.larger, self.reads = broken, larger, 0

    def __len__(self) -> int:
        return 10

    def load(self, index: int) -> Tensor:
        side = 8 if index in self.larger else 4
        return torch.full((1, side, side), index, dtype=torch.uint8)

    def read(self, index: int, stream: str) -> Tensor:
        self.reads += 1
        if stream == "image":
            return self.load(index)
        if index in self.broken:
            raise DataError(f"row {index}: no words")
        return bytes_of("abcdefghij"[: index + 1])


class Held(Pairs):
    """The same in memory."""

    def held(self, stream: str) -> Tensor | list[Tensor]:
        samples = [self.read(i, stream) for i in range(10)]
        return torch.stack(samples) if stream == "image" else samples


def everything(source: Source, budget: int = 1 << 20) -> tuple[object, dict[int, str]]:
    reasons: dict[int, str] = {}
    return resident_streams(source, VIEWS, budget, CPU.device, 0, reasons.__setitem__), reasons


def test_a_stream_of_one_size_is_a_tensor_and_words_are_a_list() -> None:
    held, reasons = everything(Pairs())
    assert isinstance(held, dict)
    assert held["image"].shape == (10, 1, 4, 4)
    assert [text_of(words) for words in held["text"]] == ["abcdefghij"[: i + 1] for i in range(10)]
    assert reasons == {}


def test_what_the_source_holds_is_taken_as_it_is() -> None:
    source = Held()
    held, _ = everything(source, budget=0)
    assert isinstance(held, dict)
    assert held["image"].dtype == torch.uint8
    assert len(held["text"]) == 10


def test_where_words_are_missing_the_next_pair_stands_with_both() -> None:
    held, reasons = everything(Pairs(broken=[2, 3]))
    assert isinstance(held, dict)
    assert held["image"][:, 0, 0, 0].tolist() == [0, 1, 4, 4, 4, 5, 6, 7, 8, 9]
    assert [len(words[0]) for words in held["text"]] == [1, 2, 5, 5, 5, 6, 7, 8, 9, 10]
    assert reasons == {2: "row 2: no words", 3: "row 3: no words"}


def test_images_of_several_sizes_and_little_memory_are_left_to_workers() -> None:
    assert everything(Pairs(larger=[7]))[0] is None
    assert everything(Pairs(), budget=20)[0] is None
    assert everything(Pairs(), budget=0)[0] is None


def test_one_stream_is_as_simple_as_ever() -> None:
    class Plain(Source):
        labels, classes, fingerprint, channels = None, (), "plain", 1

        def __len__(self) -> int:
            return 3

        def load(self, index: int) -> Tensor:
            return torch.full((1, 4, 4), index, dtype=torch.uint8)

        def resident(self) -> Tensor:
            return torch.stack([self.load(i) for i in range(3)])

    source = Plain()
    images = resident(source, 0, CPU.device, 0, lambda index, reason: None)
    assert images is not None
    assert torch.equal(images, source.resident())
    assert torch.equal(source.read(1, "image"), source.load(1))
    assert source.channels_of("image") == 1
    held = source.held("image")
    assert held is not None
    assert torch.equal(torch.as_tensor(held), source.resident())
    assert Pairs().held("text") is None


def test_a_sample_is_readable_where_all_its_streams_are() -> None:
    source = Pairs(broken=[0, 1])
    streams, reasons = readable_sample(source, 0, AXES)
    assert int(streams["image"][0, 0, 0]) == 2
    assert text_of(streams["text"]) == "abc"
    assert [index for index, _ in reasons] == [0, 1]
    assert readable_sample(source, 0, {"image": 2})[1] == []
    with pytest.raises(DataError, match="10 images in a row cannot be read; the first: row 4: no words"):
        readable_sample(Pairs(broken=range(10)), 4, AXES)


def test_one_stream_of_a_sample_tells_why_it_cannot_be_read() -> None:
    source = Pairs(broken=[1])
    assert decoded_of(source, 1, "text", 1).reason == "row 1: no words"
    assert decoded_of(source, 1, "image", 2).image is not None
    assert set(sample(source, 0, AXES)) == {"image", "text"}
    assert [text_of(words) for words in readable_samples(source, "text")][:2] == ["a", "abc"]


@pytest.mark.parametrize(
    ("sample_of", "channels", "axes", "problem"),
    [
        (torch.zeros(1, 5, dtype=torch.uint8), 1, 1, ""),
        (torch.zeros(3, 2, 4, 4), 3, 3, ""),
        (torch.zeros(1, 5, dtype=torch.int64), 1, 1, r"[1, L], but this is torch.int64 (1, 5)"),
        (torch.zeros(5, dtype=torch.uint8), 1, 1, r"[1, L], but this is torch.uint8 (5,)"),
        (torch.zeros(1, 4, 4), 3, 2, r"[3, H, W], but this is torch.float32 (1, 4, 4)"),
        (torch.zeros(3, 4, 4), 3, 3, r"[3, T, H, W], but this is torch.float32 (3, 4, 4)"),
        (torch.full((1, 5), 2.0), 1, 1, "has values from 2 to 2"),
    ],
)
def test_samples_have_the_axes_of_their_stream(
    sample_of: Tensor, channels: int, axes: int, problem: str
) -> None:
    told = pixel_problem(sample_of, channels, axes)
    assert problem in told if problem else told == ""


def test_crops_without_random_changes() -> None:
    images = torch.arange(2 * 6 * 6).reshape(2, 1, 6, 6).to(torch.uint8)
    crops = fixed_crops(images, VIEWS["image"])
    assert crops.shape == (2, 1, 4, 4)
    assert crops.dtype == torch.uint8
    alone = fixed_crops([images[0], images[1].float() / 255], VIEWS["image"])
    assert alone.dtype == torch.float32
    assert torch.allclose(alone[0] * 255, crops[0].float(), atol=0.6)
    values = as_input(crops, VIEWS["image"])
    assert torch.allclose(values, (crops.float() / 255 - 0.25) / 0.5)
    words = fixed_crops([bytes_of("ab"), bytes_of("")], VIEWS["words"])
    assert words.tolist() == [[2, 4, 5, 3, 0, 0], [2, 3, 0, 0, 0, 0]]
    assert torch.equal(as_input(words, VIEWS["words"]), words)


def test_workers_hand_symbols_over_as_they_are() -> None:
    specs = {
        "image": ViewSpec(size=4),
        "words": ViewSpec.model_construct(size=6, crops=1),
    }
    samples = {
        "image": [torch.full((1, 4, 4), i, dtype=torch.uint8) for i in range(3)],
        "text": [bytes_of("abc"), bytes_of("j"), bytes_of("")],
    }
    rows = torch.arange(3)
    whole = Pipeline(specs, VIEWS, 0).crops(samples, 0, rows)
    for in_workers in (False, True):
        pipeline = Pipeline(specs, VIEWS, 0, in_workers=in_workers)
        first = pipeline.first(samples, 0, rows)
        assert first["words"].dtype == torch.int64
        rest = pipeline.rest(first, 0, rows)
        for name, crops in whole.items():
            assert torch.equal(rest[name], crops), (name, in_workers)
    assert whole["words"][0].tolist() == [[2, 4, 5, 6, 3, 0], [2, 13, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0]]
