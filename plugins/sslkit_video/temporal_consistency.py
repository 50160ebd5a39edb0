"""Features that change slowly. V clips, B videos, T moments, N patches, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.plugin import Env


class Nearness(NamedTuple):
    """What is near what, and how far it is."""

    moments: float
    clips: float
    loss: Literal["cosine", "l2"]


def of_moments(patches: Tensor, moments: int) -> Tensor:
    """The mean feature of each moment, `[V, B, T, D]`, of patches `[V, B, N, D]` that lie moment by moment."""
    means: Tensor = patches.unflatten(2, (moments, -1)).mean(3)
    return means


@final
class TemporalConsistencyObjective(Objective):
    """Mean distance of neighboring moments, and of clips of one video; it has nothing to train."""

    def __init__(self, view: str, nearness: Nearness, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: 2 if nearness.clips else 1}
        self.nearness, self.count = nearness, env.grid(view).shape[0]

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum of both means; a clip of one moment has no neighbors, and then adds 0."""
        (seen,) = tokens
        how = self.nearness
        moments = of_moments(seen.patch, self.count)
        metrics = {"feature_std": feature_std(seen.cls)}
        loss = seen.cls.new_zeros(())
        if how.moments and self.count > 1:
            metrics["moment_distance"] = regression(moments[:, :, 1:], moments[:, :, :-1], how.loss).mean()
            loss = loss + how.moments * metrics["moment_distance"]
        if how.clips:
            metrics["clip_distance"] = self._between_clips(seen.cls)
            loss = loss + how.clips * metrics["clip_distance"]
        return Output(loss, {name: value.detach() for name, value in metrics.items()})

    def _between_clips(self, cls: Tensor) -> Tensor:
        """Mean over pairs of clips."""
        count = len(cls)
        pairs = [(i, j) for i in range(count) for j in range(i)]
        return sum(
            (regression(cls[i], cls[j], self.nearness.loss).mean() for i, j in pairs), cls.new_zeros(())
        ) / len(pairs)
