"""Components that the tests of the trainer need and that no plugin offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, final

import torch
from torch import Tensor, nn

from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_views
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Masker, Scene
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.errors import DataError
from sslkit.functional.precision import at_least_float32
from sslkit.nn.frozen import frozen_copy
from sslkit.runtime import seeds
from sslkit.specs.families import MaskerSpec
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, make_length, make_order
from sslkit.train.step.stepper import Stepper
from tests import tiny


@final
class MadeSource(Source):
    """Images in memory, handed out one by one; those in `broken` cannot be read."""

    def __init__(
        self, images: Tensor, labels: Tensor | None = None, broken: frozenset[int] = frozenset()
    ) -> None:
        self.images, self.labels, self.broken = images, labels, broken
        self.channels = images.shape[1]
        self.classes = () if labels is None else tuple(map(str, range(int(labels.max()) + 1)))
        self.fingerprint = "made"

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Tensor:
        if index in self.broken:
            raise DataError(f"image {index} is broken")
        return self.images[index]


def pictures(count: int, channels: int = 1, side: int = 12, seed: int = 0) -> Tensor:
    """Random images, `[count, channels, side, side]` uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)


@final
class Coins(Masker):
    """Hides each patch by the toss of a coin: the count varies."""

    visible = None

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.most = patches
        self.patches = patches

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return draw.chance(0.5, self.patches)


class CoinMasker(MaskerSpec):
    """Spec of `Coins`; not registered."""

    kind: Literal["coins"] = "coins"

    def build(self, env: Env, view: str) -> Masker:
        return Coins(env.grid(view).patches)


class Everything(Objective):
    """Uses all that an objective may: a teacher, a twin head, a schedule, metrics, a queue, a gradient rule."""

    follows = "teacher"

    def __init__(self, dim: int, total: int, *, idle: bool = False) -> None:
        super().__init__()
        self.passes = (Encode("global"), Encode("global", net="teacher"))
        self.head = nn.Linear(dim, 4)
        self.slow = nn.Linear(dim, 4).requires_grad_(False)
        self.slow.load_state_dict(self.head.state_dict())
        self.twins = {"head": "slow"}
        self.schedules = {"temperature": lambda step: 1.0 + step / total}
        self.register_buffer("queue", torch.zeros(64, 4))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        if idle:
            self.unused = nn.Parameter(torch.zeros(3))
        self.seen: list[dict[str, Tensor]] = []
        self.now: list[Tensor] = []
        self.before: list[int] = []

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        self.now.append(now["temperature"].clone())
        student, teacher = tokens
        guess, goal = (at_least_float32(x) for x in (self.head(student.cls[0]), self.slow(teacher.cls[0])))
        pull = (guess - goal.detach()).square().mean() / now["temperature"]
        push = (guess @ self.queue.detach().T).square().mean()
        rows = goal.detach()
        return Output(
            pull + push + guess.square().mean(),
            {"pull": pull},
            {"rows": rows, "images": student.image[0, :, 0, 0]},
        )

    def before_update(self, step: int) -> None:
        self.before.append(step)
        if step == 0:
            self.head.bias.grad = None

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        self.seen.append({name: rows.clone() for name, rows in carry.items()})
        rows = carry["rows"]
        self.queue.copy_(torch.cat([rows, self.queue])[: len(self.queue)])
        self.filled += len(rows)


def compose_everything(run: RunSpec, *, idle: bool = False) -> Composed:
    """`run` with `Everything` in place of its objective; the run must have a net called `teacher`."""
    return compose_with(run, lambda dim, steps: Everything(dim, steps, idle=idle))


def compose_with(run: RunSpec, build: Callable[[int, int], Objective]) -> Composed:
    """`run`, which has a net called `teacher`, with the objective built for a width and a number of steps."""
    source = run.data.build("train")
    assert source is not None
    views: dict[str, View] = make_views(run, source.channels)
    seeds.seed_torch(run.seed, "init")
    student = run.backbone.build(views["global"])
    nets = {"student": student, "teacher": frozen_copy(student)}
    order = make_order(run, source, tiny.CPU)
    length = make_length(run, order.steps_per_epoch)
    objective = build(student.dim, length.steps)
    student.serve([p for p in objective.passes if p.net == "student"])
    system = System(nets, {"all": objective}, run.balance.build(["all"]))
    grids = {"global": student.grid(views["global"].size)}
    env = Env(views, dict.fromkeys(nets, NetInfo(student.dim, student.depth, grids)), grids)
    stepper = Stepper(run, system, make_maskers(system, env), length, tiny.CPU)
    return Composed(system, stepper, source, env, order, length)
