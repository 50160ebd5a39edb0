"""Components that break one promise each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from sslkit.core.augment import Augment
from sslkit.core.backbone import Backbone, Exported
from sslkit.core.balancer import Balancer
from sslkit.core.context import Env
from sslkit.core.evaluator import Evaluator, Scores, Setting, Subject
from sslkit.core.logger import Logger
from sslkit.core.masker import Masker, Scene
from sslkit.core.objective import Objective, Part
from sslkit.core.passes import Encode, Mask, Output, Pictures, Request, Tokens
from sslkit.core.problem import Problem
from sslkit.core.random_stream import Draw
from sslkit.core.source import Source
from sslkit.core.target import Target
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.specs.families import (
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
from sslkit.specs.metrics import Metric, Metrics
from sslkit.testing.tiny_run import NoiseSource, helper


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
class Learner(Masker):
    """Hides what it hid before; learns by a function of (masker, rows), in a buffer and in plain attributes."""

    memory: Tensor

    def __init__(
        self, patches: int, learn: Callable[[Learner, Tensor], None], rows: Callable[[Mask], Tensor]
    ) -> None:
        super().__init__()
        self.patches, self.most, self.visible = patches, patches // 2, patches - patches // 2
        self.learn, self.rows, self.plain = learn, rows, torch.zeros(patches)
        self.register_buffer("memory", torch.zeros(patches))

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        rank = (draw.uniform(self.patches) + self.plain + self.memory).argsort(-1).argsort(-1)
        return rank < self.most

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        return {"hidden": self.rows(mask)}

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        self.learn(self, rows["hidden"])


@final
class LearnerOf(MaskerSpec):
    """Learns by a function."""

    kind: Literal["learner_of"] = "learner_of"
    learn: Any
    rows: Any = staticmethod(lambda mask: mask.hidden.float().mean(0))

    def build(self, env: Env, view: str) -> Masker:
        return Learner(env.grid(view).patches, self.learn, self.rows)


@final
class Staged(Masker):
    """Gives a stage that it does not name."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.patches, self.most, self.visible = patches, 1, patches - 1

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return draw.permutation(self.patches) < 1

    def at(self, progress: float) -> Masker:
        return self if progress < 0.5 else Staged(self.patches)


@final
class StagedSpec(MaskerSpec):
    """Builds `Staged`."""

    kind: Literal["staged"] = "staged"

    def build(self, env: Env, view: str) -> Masker:
        return Staged(env.grid(view).patches)


@final
class Reads(Objective):
    """Trains a head on the class token by a function of (module, outputs of the head)."""

    def __init__(self, loss: Callable[[Reads, Tensor], Tensor], dim: int) -> None:
        super().__init__()
        self.passes = (Encode("global"),)
        self.head = nn.Linear(dim, 2)
        self.loss, self.count = loss, 0
        self.register_buffer("buffer", torch.zeros(()))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        return Output(self.loss(self, self.head(tokens[0].patch)))

    def parts(self) -> Mapping[str, Part]:
        return {"head": Part("nowhere", self.head.state_dict(), {})}

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
class Sketch(Target):
    """Predicts the mean of a patch; what it does wrong is given by functions of (target, tokens)."""

    dim = 1

    def __init__(self, patches: int, wrong: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self.patches, self.wrong = patches, wrong
        self.register_buffer("count", torch.zeros(()))

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        mean = seen.image.mean((2, 3, 4))
        goal = mean[:, :, None, None].expand(-1, -1, self.patches, 1)
        return self.wrong["goal"](self, goal, seen) if "goal" in self.wrong else goal

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        score = (guess - goal).square().mean(-1)
        return self.wrong["score"](score) if "score" in self.wrong else score

    def metrics(self, guess: Tensor, goal: Tensor, real: Tensor) -> Mapping[str, Tensor]:
        return self.wrong["metrics"](guess) if "metrics" in self.wrong else {}

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor | None:
        return self.wrong["image"](seen) if "image" in self.wrong else None

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor | None:
        return self.wrong["drawn"](seen) if "drawn" in self.wrong else None


@final
class SketchOf(TargetSpec):
    """Builds `Sketch`."""

    kind: Literal["sketch_of"] = "sketch_of"
    wrong: Any

    def build(self, env: Env, view: str) -> Target:
        return Sketch(env.grid(view).patches, self.wrong)


@final
class Held(Backbone):
    """Answers by a function that holds the network it was made with."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net, self.dim, self.depth = net, net.dim, net.depth
        self.answer = lambda requests: net(requests)

    def grid(self, size: int) -> Grid:
        return self.net.grid(size)

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        return list(self.answer(requests))

    def units(self) -> Sequence[nn.Module]:
        return (nn.Linear(1, 1),)

    def layer_of(self, name: str) -> int:
        return self.depth + 2

    def export(self) -> Exported:
        raise SpecError("timm has no such network")


@final
class HeldSpec(BackboneSpec):
    """Builds `Held`."""

    kind: Literal["held"] = "held"

    def grid(self, size: int) -> Grid | None:
        return None

    def build(self, view: View) -> Backbone:
        return Held(helper("backbone", "vit").build(view))  # type: ignore[attr-defined]


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
    def __init__(
        self, join: Callable[[Tensor], Tensor], factors: Tensor | None, weigh: Callable[..., Tensor] | None
    ) -> None:
        super().__init__()
        self.join, self._factors, self._weigh = join, factors, weigh
        self.weighs_gradients = weigh is not None

    def forward(self, losses: Tensor) -> Tensor:
        return self.join(losses)

    def factors(self) -> Tensor | None:
        return self._factors

    def weigh(self, gram: Tensor, draw: Draw) -> Tensor:
        assert self._weigh is not None
        return self._weigh(gram, draw)


@final
class BalancerOf(BalancerSpec):
    """Joins losses by a function."""

    kind: Literal["balancer_of"] = "balancer_of"
    join: Any = staticmethod(torch.sum)
    factors: Any = None
    weigh: Any = None

    def build(self, names: Sequence[str]) -> Balancer:
        return JoinedBy(self.join, self.factors, self.weigh)


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
    def __init__(self, change: Callable[[Tensor, Draw], Tensor], fixes: bool, cut: Any) -> None:
        self.change, self.fixes_size, self._cut = change, fixes, cut

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return self.change(images, draw)

    def cut(self, images: Tensor | Sequence[Tensor], draw: Draw) -> Tensor:
        return super().cut(images, draw) if self._cut is None else self._cut(images)


@final
class AugmentOf(AugmentSpec):
    """Changes images by a function."""

    kind: Literal["augment_of"] = "augment_of"
    change: Any
    fixes: bool = False
    cut: Any = None

    def build(self, size: int) -> Augment:
        return By(self.change, self.fixes, self.cut)


@final
class ScoredBy(Evaluator):
    def __init__(
        self, score: Callable[[Subject], Scores | Mapping[str, float]], protocol: str, asks: Any, idle: str
    ) -> None:
        self.score, self.protocol, self.asks, self.idle = score, protocol, asks, idle

    def check(self, setting: Setting) -> Iterator[Problem]:
        if self.asks is not None:
            for source in setting.sources.values():
                yield from self.asks(source)

    def unused(self, setting: Setting) -> Iterator[Problem]:
        if self.idle:
            yield Problem(self.idle, "has no effect")

    def __call__(self, subject: Subject) -> Scores:
        found = self.score(subject)
        return found if isinstance(found, Scores) else Scores(found)


@final
class EvaluatorOf(EvaluatorSpec):
    """Scores by a function."""

    kind: Literal["evaluator_of"] = "evaluator_of"
    score: Any
    protocol: str = "given@1"
    asks: Any = None
    idle: str = ""
    declares: Any = None

    def reported_metrics(self) -> Metrics:
        metrics: Metrics = {"accuracy": Metric("higher")} if self.declares is None else self.declares
        return metrics

    def build(self) -> Evaluator:
        return ScoredBy(self.score, self.protocol, self.asks, self.idle)


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
