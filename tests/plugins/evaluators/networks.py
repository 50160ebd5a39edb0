"""Subjects made of a network and of images whose labels are known."""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from torch import Tensor

from sslkit.core.source import Source
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import evaluating, reading_of
from sslkit.evaluate.subject import NetSubject
from sslkit.runtime.parallel import Single
from sslkit.specs.families import EvaluatorSpec, SourceSpec
from sslkit.testing.tiny_run import CHANNELS, IMAGE, stage
from sslkit.train.compose import compose


@final
class PlantedSource(Source):
    """Colors by class on noise, with an attribute that is the class's parity and one that is random."""

    def __init__(self, split: str, count: int, classes: int, damaged: frozenset[int]) -> None:
        generator = torch.Generator().manual_seed(len(split))
        self.channels, self.fingerprint, self.damaged = CHANNELS, f"planted {split} {count}", damaged
        self.labels = torch.arange(count) % classes
        self.classes = tuple(f"class {i}" for i in range(classes))
        base = torch.randint(0, 256, (classes, CHANNELS, 1, 1), generator=torch.Generator().manual_seed(7))
        noise = torch.randint(-30, 30, (count, CHANNELS, IMAGE, IMAGE), generator=generator)
        self.images = (base[self.labels] + noise).clamp(0, 255).to(torch.uint8)
        coin = torch.randint(0, 2, (count,), generator=generator)
        self.attributes = {
            "parity": self.labels % 2,
            "coin": torch.where(torch.arange(count) % 4 == 0, -1, coin),
        }

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Tensor:
        if index in self.damaged:
            from sslkit.errors import DataError

            raise DataError(f"image {index} is damaged")
        return self.images[index]

    def resident(self) -> Tensor | None:
        return None if self.damaged else self.images


@final
class Planted(SourceSpec):
    """The images; no entry point offers them."""

    kind: Literal["planted"] = "planted"
    train: int = 64
    tests: int = 40
    classes: int = 4
    damaged: frozenset[int] = frozenset()

    def build(self, split: str) -> Source:
        train = split == "train"
        return PlantedSource(
            split, self.train if train else self.tests, self.classes, self.damaged if train else frozenset()
        )


def network(evaluator: EvaluatorSpec, **parts: Any) -> NetSubject:
    """A subject of the kit's run on planted images, its network fresh and always the same."""
    parts.setdefault("data", Planted())
    run, here = stage(evaluate=(evaluator,), **parts), Single(torch.device("cpu"))
    torch.manual_seed(0)
    composed = compose(run, here)
    reading = reading_of(run, composed.env.views["global"], here, composed.step.autocast)
    net = composed.system.nets["student"]
    return NetSubject(net, reading, run.data, evaluator, Sources(), {})


def run(evaluator: EvaluatorSpec, subject: NetSubject) -> Any:
    """The evaluator's scores, with the network in evaluation mode as in a run."""
    with evaluating(subject.backbone()):
        return evaluator.build()(subject)
