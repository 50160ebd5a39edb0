"""The conformance kit on streams, transforms and networks that read what they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.core.random_stream import Draw
from sslkit.core.transform import Transform
from sslkit.testing.conformance import check_spec
from sslkit.testing.tiny_stream import Letters, LetterTower, LetterTransform
from tests import streams


@pytest.fixture(autouse=True)
def _kinds() -> Any:
    with streams.registered():
        yield


def failures(spec: Any) -> str:
    return "\n".join(str(one) for one in check_spec(spec).failures)


def test_its_own_transform_and_network_pass() -> None:
    assert failures(Letters()) == ""
    assert failures(LetterTower()) == ""


def test_a_source_with_streams_passes_and_one_that_mixes_them_up_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "stream" not in failures(streams.NamedDigitsSpec())
    monkeypatch.setattr(streams.NamedDigits, "held", lambda self, stream: self.images)
    assert "caption 0 differs between `read` and `held`" in failures(streams.NamedDigitsSpec())


class Careless(Transform):
    """Breaks what the kit promises, in one way."""

    symbols = True

    def __init__(self, way: str) -> None:
        self.way, self.inner = way, LetterTransform(32, bytes(range(256)))
        self.facts = (
            {} if way == "silent" else self.inner.facts | ({"vocabulary": 5} if way == "small" else {})
        )
        self.local = (lambda: None) if way == "stuck" else None

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        rows = self.inner(samples, draw)
        if self.way == "short":
            return rows[:, :5]
        if self.way == "global":
            return rows.roll(int(torch.randint(1, 30, ())), 1)
        return rows + len(samples) * (self.way == "together")


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("short", "gives torch.int64 (8, 5), expected (8, 32)"),
        ("silent", "so `facts` must say how many: `vocabulary`"),
        ("small", "but its vocabulary has 5"),
        ("global", "equal draws give different crops"),
        ("together", "a crop depends on the other samples of its batch"),
        ("stuck", "cannot be sent to worker processes"),
    ],
)
def test_a_transform_that_breaks_a_promise_is_told(
    monkeypatch: pytest.MonkeyPatch, way: str, message: str
) -> None:
    monkeypatch.setattr(Letters, "build", lambda self, size, learned: Careless(way))
    assert message in failures(Letters())


def test_a_transform_that_learns_something_else_each_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter("abcdefghijklmnopqrstuvwxyz")
    monkeypatch.setattr(Letters, "learn", lambda self, source, stream: next(texts))
    assert "`learn` gives another text when it is asked again" in failures(Letters())
