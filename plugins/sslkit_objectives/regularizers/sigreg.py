"""SIGReg as a term of a hybrid. V crops, N images of all ranks, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.sliced_normality import sigreg
from sslkit.interfaces import Encode, Mode, Objective, Output, Tokens
from sslkit.plugin import Env, MaskerSpec
from sslkit_objectives.all_ranks import of_all_ranks
from sslkit_objectives.regularizers.random_directions import SCHEDULES, RandomDirections


@final
class SIGRegObjective(Objective):
    """Pooled features of each crop are drawn to a standard normal; it has nothing to train."""

    compares = True

    def __init__(self, view: str, masker: MaskerSpec | None, mode: Mode, directions: int, env: Env) -> None:
        """`mode` is that of a pass with a masker."""
        super().__init__()
        env.view(view)
        self.passes = (Encode(view, mask=masker, mode=mode if masker else "drop"),)
        self.crops = {view: 1}
        self.schedules = SCHEDULES
        self.directions = RandomDirections(env.net("student").dim, directions)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over crops."""
        (seen,) = tokens
        loss = sigreg(of_all_ranks(seen.cls), self.directions(now)).mean()
        return Output(loss, {"feature_std": feature_std(seen.cls)})
