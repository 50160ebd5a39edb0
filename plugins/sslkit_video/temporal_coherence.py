"""Mutual information of features over time. N videos, T times, D width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.interfaces import Evaluator, Scores, Split, Subject, mean_interval, seeds
from sslkit.plugin import DataError
from sslkit_video.moments_of_videos import clips_at, frames_needed

WEIGHT_DECAY = 1e-2
SCALE = math.log(10.0)
"""Logarithm of what cosines are multiplied by at the start."""
HELD_OUT = 5
"""One of so many training videos chooses when to stop."""
EVERY = 10
"""Steps between looks at them."""


class Critic(NamedTuple):
    """How a critic is fitted."""

    dim: int
    steps: int
    learning_rate: float


@final
class TemporalCoherenceEvaluator(Evaluator):
    """InfoNCE's bound at each lag."""

    labeled = False

    def __init__(
        self, lags: Sequence[int], max_videos: int, critic: Critic, *, still: bool, protocol: str
    ) -> None:
        self.lags, self.max_videos, self.critic = lags, max_videos, critic
        self.still, self.protocol = still, protocol

    def __call__(self, subject: Subject) -> Scores:
        train, test = (self._features(subject, split) for split in self.needs)
        mean, std = train.mean((0, 1)), train.std((0, 1)).clamp(min=1e-6)
        train, test = (train - mean) / std, (test - mean) / std
        metrics, intervals = {}, {}
        for lag in self.lags:
            values = information(train, test, lag, self.critic, subject.seed)
            metrics[f"information_{lag}"] = float(values.mean())
            interval = mean_interval(values.cpu().numpy(), seed=subject.seed)
            intervals[f"information_{lag}"] = (interval.low, interval.high)
        ceiling = math.log(len(test))
        table = {"lags": list(self.lags), "information": list(metrics.values()), "ceiling": ceiling}
        bounds = list(intervals.values())
        figures = {"curve": lambda path: draw(path, self.lags, list(metrics.values()), bounds, ceiling)}
        return Scores(metrics, None, table, figures, intervals)

    def _features(self, subject: Subject, split: Split) -> Tensor:
        """`[N, T, D]`: at as many times as every video of the split has.

        Raises:
            DataError: a video is too short for the longest lag.
        """
        source, stream = subject.source(split), subject.view.stream
        some = torch.arange(min(len(source), self.max_videos))
        taken = 1 if self.still else frames_needed(subject)
        lengths = [source.read(int(i), stream).shape[1] for i in some]
        times = min(lengths) - taken + 1
        if times <= max(self.lags):
            shortest = source.name(int(some[lengths.index(min(lengths))]))
            raise DataError(
                f"lag {max(self.lags)} needs videos of {max(self.lags) + taken} frames, and {shortest} has "
                f"{min(lengths)}; give smaller `lags`"
            )

        def make(images: Tensor, indices: Tensor) -> Tensor:
            rows = []
            for index in indices.tolist():
                clips = clips_at(subject, source.read(index, stream), times, still=self.still)
                rows.append(subject.encode(clips.to(images.device)).flatten())
            return torch.stack(rows)

        rows = subject.rows(split, make, some)
        features: Tensor = rows.values.unflatten(1, (times, -1))
        return features


def information(train: Tensor, test: Tensor, lag: int, critic: Critic, seed: int) -> Tensor:
    """`[N]`: of each test video, the mean over times of log N minus its loss, in nats.

    Args:
        train: `[M, T, D]`, which fit the critic.
        test: `[N, T', D]`.
        lag: from the first of the two times to the second.
        critic: how it is fitted.
        seed: of its first weights and of the times that it is shown.
    """
    generator = seeds.generator(seed, "critic", lag)
    width = train.shape[-1]
    first = torch.randn(width, critic.dim, generator=generator) / math.sqrt(width)
    maps = [first.to(train.device).clone().requires_grad_() for _ in range(2)]  # alike at first
    scale = torch.tensor(SCALE, device=train.device, requires_grad=True)
    optimizer = torch.optim.AdamW([*maps, scale], critic.learning_rate, weight_decay=WEIGHT_DECAY)
    held = train[: max(1, len(train) // HELD_OUT)]
    fitted, times = train[len(held) :], train.shape[1] - lag
    best, most = [*(m.detach() for m in maps), scale.new_tensor(-math.inf)], 0.0  # one that tells nothing
    with torch.enable_grad():
        for step in range(critic.steps):
            t = int(torch.randint(times, (), generator=generator))
            loss = _losses(fitted, t, lag, [*maps, scale]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % EVERY and step + 1 < critic.steps:
                continue
            with torch.no_grad():
                value = _bound(held, lag, [*maps, scale]).mean().item()
            if value > most:
                best, most = [part.detach().clone() for part in (*maps, scale)], value
    with torch.no_grad():
        return _bound(test, lag, best)


def _bound(features: Tensor, lag: int, parts: Sequence[Tensor]) -> Tensor:
    """`[N]`: log N minus the loss of each video, the mean over times."""
    losses = [_losses(features, t, lag, parts) for t in range(features.shape[1] - lag)]
    return math.log(len(features)) - torch.stack(losses).double().mean(0)


def _losses(features: Tensor, t: int, lag: int, parts: Sequence[Tensor]) -> Tensor:
    """`[N]`, of the critic with these two maps and the logarithm of its scale."""
    *maps, scale = parts
    goal = torch.arange(len(features), device=features.device)
    return F.cross_entropy(_scores(features[:, t], features[:, t + lag], maps, scale), goal, reduction="none")


def _scores(now: Tensor, later: Tensor, maps: Sequence[Tensor], scale: Tensor) -> Tensor:
    """`[N, N]`: scaled cosines of each video's features now with every video's later ones."""
    left, right = (F.normalize(x @ m, dim=-1) for x, m in zip((now, later), maps, strict=True))
    return scale.exp() * left @ right.T


def draw(
    path: Path,
    lags: Sequence[int],
    values: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    ceiling: float,
) -> None:
    """The curve with its intervals, below the most that so many videos can show."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    low, high = zip(*bounds, strict=True)
    axes.fill_between(lags, low, high, alpha=0.2)
    axes.plot(lags, values, marker="o", markersize=4)
    axes.axhline(ceiling, color="0.35", linestyle="--", linewidth=1, label=f"log N = {ceiling:.2f}")
    axes.set(xlabel="frames between, k", ylabel="I(x_t; x_t+k) in nats, at least", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
