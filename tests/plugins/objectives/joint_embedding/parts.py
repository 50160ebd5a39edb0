"""What tests of joint embeddings without negatives share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.objective import Objective
from sslkit.core.passes import Output, Tokens
from sslkit.core.view import Grid, View
from sslkit.specs.families import ObjectiveSpec
from sslkit.specs.run import RunSpec
from sslkit.train.compose import compose
from tests import tiny

HEAD = {"hidden": 16, "out": 8}
TWO = {"global": {**tiny.VIEW, "crops": 2}}
TEACHER = {"teacher": {"momentum": 0.9}}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@final
class Passing(nn.Module):
    """A head that passes embeddings on as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def per_crop(self, x: Tensor) -> Tensor:
        return x


def env(dim: int = 12) -> Env:
    """Two views and two nets of one width."""
    grids = {"global": Grid(2, 2, 4), "local": Grid(1, 1, 4)}
    views = {name: View(8, 2, 1, (0.0,), (1.0,)) for name in grids}
    infos = {name: NetInfo(dim, 2, grids) for name in ("student", "teacher")}
    return Env(views, infos, grids, Length(100, 10))


def bare(spec: ObjectiveSpec, *heads: str) -> Objective:
    """The objective with some heads replaced, so that it compares the features it is given."""
    objective = spec.build(env())
    for head in heads:
        setattr(objective, head, Passing())
    return objective


def tokens(cls: Tensor) -> Tokens:
    """An answer of a backbone, `[V, B, D]`."""
    crops, images, dim = cls.shape
    patch, image = torch.zeros(crops, images, 4, dim), torch.zeros(crops, images, 1, 8, 8)
    return Tokens(image, cls, patch, None, ())


def loss_of(objective: Objective, *cls: Tensor) -> Output:
    """What the objective says of features, one tensor for each of its passes."""
    found = objective({}, *map(tokens, cls))
    assert isinstance(found, Output)
    return found


def pair(arrays: Mapping[str, Tensor], dtype: torch.dtype, *names: str) -> Tensor:
    """Embeddings of two crops, `[2, B, D]`, with gradient."""
    return torch.stack([arrays[name] for name in names]).to(dtype).requires_grad_()


def random(*shape: int, seed: int = 0) -> Tensor:
    """Float64 features."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run_of(objective: dict[str, Any], **changes: Any) -> RunSpec:
    """The tiny run with two crops and a teacher."""
    return tiny.spec(**{"views": TWO, "nets": TEACHER, "objective": objective, **changes})


def learn(
    objective: dict[str, Any], steps: int = 40, **changes: Any
) -> tuple[float, float, Mapping[str, Tensor]]:
    """Train: mean loss of the first five and of the last five steps, and the values of the last."""
    run = run_of(objective, **{"optimizer": {"lr": 0.1}, "steps": steps, **changes})
    composed = compose(run, tiny.CPU)
    feed = tiny.feed(run, composed)
    done = [composed.step(i, feed.step(i)) for i in range(steps)]
    losses = [step.total.item() for step in done]
    return sum(losses[:5]) / 5, sum(losses[-5:]) / 5, done[-1].values
