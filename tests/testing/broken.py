"""Components that break one promise each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from sslkit.core.augment import Augment
from sslkit.core.backbone import Backbone, Exported
from sslkit.core.balancer import Balancer
from sslkit.core.draw import Draw
from sslkit.core.env import Env, Grid, View
from sslkit.core.evaluator import Evaluator, Scores, Subject
from sslkit.core.logger import Logger
from sslkit.core.masker import Masker, Scene
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Pictures, Request, Tokens
from sslkit.core.source import Source
from sslkit.core.target import Target
from sslkit.errors import SpecError
from sslkit.spec.families import (
    AugmentSpec,
    BackboneSpec,
    BalancerSpec,
    EvaluatorSpec,
    LoggerSpec,
    MaskerSpec,
    ObjectiveSpec,
    SourceSpec,
    TargetSpec,
)
from sslkit.testing.stage import NoiseSource, helper


@final
class SampledBy(Masker):
    def __init__(
        self, sample: Callable[[Draw, int], Tensor], patches: int, most: int, visible: int | None
    ) -> None:
        super().__init__()
        self._sample, self._patches, self.most, self.visible = sample, patches, most, visible

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return self._sample(draw, self._patches)


@final
class MaskerOf(MaskerSpec):
    """Samples by a function; says that `hidden` patches are hidden, and at most `most`."""

    kind: Literal["masker_of"] = "masker_of"
    sample: Any
    hidden: int | None = None
    most: int | None = None

    def build(self, env: Env, view: str) -> Masker:
        grid = env.grid(view)
        most = self.most or self.hidden or grid.patches
        return SampledBy(
            self.sample, grid.patches, most, None if self.hidden is None else grid.patches - self.hidden
        )


@final
class Reads(Objective):
    """Trains a head on the class token by a function of (module, outputs of the head)."""

    def __init__(self, loss: Callable[[Reads, Tensor], Tensor], dim: int) -> None:
        super().__init__()
        self.passes = (Encode("global"),)
        self.head = nn.Linear(dim, 2)
        self.loss, self.count = loss, 0

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        return Output(self.loss(self, self.head(tokens[0].patch)))

    def pictures(self, *tokens: Tokens) -> Mapping[str, Pictures]:
        return {"wrong": Pictures(("one", "two"), tokens[0].image)}


@final
class ObjectiveOf(ObjectiveSpec):
    """An objective with a loss function."""

    kind: Literal["objective_of"] = "objective_of"
    loss: Any
    idle: bool = False

    def build(self, env: Env) -> Objective:
        made = Reads(self.loss, env.nets["student"].dim)
        if self.idle:
            made.register_parameter("idle", nn.Parameter(torch.zeros(1)))
        return made


@final
class Dice(Target):
    """Predicts numbers from Python's generator."""

    dim = 1

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        images, patches = seen.image.shape[1], seen.mask.hidden.shape[-1] if seen.mask else 0
        return torch.full((seen.image.shape[0], images, patches, 1), random.random())

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        return (guess - goal).square().mean(-1)


@final
class DiceSpec(TargetSpec):
    """Builds `Dice`."""

    kind: Literal["dice"] = "dice"

    def build(self, env: Env, view: str) -> Target:
        return Dice()


@final
class Wrapped(Backbone):
    """The kit's backbone, its answers changed by a function."""

    def __init__(self, net: Backbone, change: Callable[[Request, Tokens], Tokens], architecture: str) -> None:
        super().__init__()
        self.net, self.change, self.architecture = net, change, architecture
        self.dim, self.depth = net.dim, net.depth

    def grid(self, size: int) -> Grid:
        return self.net.grid(size)

    def serve(self, passes: Sequence[Encode]) -> None:
        self.net.serve(passes)

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        answers = self.net(requests)
        return [self.change(r, t) for r, t in zip(requests, answers, strict=True)]

    def export(self) -> Exported:
        if not self.architecture:
            raise SpecError("timm has no such network")
        return self.net.export()._replace(architecture=self.architecture)


@final
class BackboneOf(BackboneSpec):
    """The kit's backbone with changed answers."""

    kind: Literal["backbone_of"] = "backbone_of"
    change: Any = staticmethod(lambda request, tokens: tokens)
    says: Any = None
    architecture: str = "vit_tiny_patch16_224"

    def grid(self, size: int) -> Grid | None:
        return self.says

    def build(self, view: View) -> Backbone:
        net = helper("backbone", "vit").build(view)  # type: ignore[attr-defined]
        return Wrapped(net, self.change, self.architecture)


@final
class JoinedBy(Balancer):
    def __init__(self, join: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.join = join

    def forward(self, losses: Tensor) -> Tensor:
        return self.join(losses)


@final
class BalancerOf(BalancerSpec):
    """Joins losses by a function."""

    kind: Literal["balancer_of"] = "balancer_of"
    join: Any

    def build(self, names: Sequence[str]) -> Balancer:
        return JoinedBy(self.join)


@final
class SourceOf(SourceSpec):
    """The kit's images, changed in place by a function of (source, split); None where it gives None."""

    kind: Literal["source_of"] = "source_of"
    change: Any

    def build(self, split: str) -> Source | None:
        source = NoiseSource(split, 20)
        return self.change(source, split)


@final
class By(Augment):
    def __init__(self, change: Callable[[Tensor, Draw], Tensor], fixes: bool) -> None:
        self.change, self.fixes_size = change, fixes

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return self.change(images, draw)


@final
class AugmentOf(AugmentSpec):
    """Changes images by a function."""

    kind: Literal["augment_of"] = "augment_of"
    change: Any
    fixes: bool = False

    def build(self, size: int) -> Augment:
        return By(self.change, self.fixes)


@final
class ScoredBy(Evaluator):
    def __init__(self, score: Callable[[Subject], Scores | Mapping[str, float]], protocol: str) -> None:
        self.score, self.protocol = score, protocol

    def __call__(self, subject: Subject) -> Scores:
        found = self.score(subject)
        return found if isinstance(found, Scores) else Scores(found)


@final
class EvaluatorOf(EvaluatorSpec):
    """Scores by a function."""

    kind: Literal["evaluator_of"] = "evaluator_of"
    score: Any
    protocol: str = "given@1"

    def build(self) -> Evaluator:
        return ScoredBy(self.score, self.protocol)


@final
class Strict(Logger):
    def __init__(self, folder: Path) -> None:
        folder.joinpath("log").mkdir()  # fails where a run goes on

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        assert step >= 0

    def close(self) -> None:
        return None


@final
class LoggerOf(LoggerSpec):
    """Cannot start twice in one folder."""

    kind: Literal["logger_of"] = "logger_of"

    def build(self, run_dir: Path, name: str) -> Logger:
        return Strict(run_dir)
