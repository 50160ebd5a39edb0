"""Feature regularization as an objective. V crops, B images, N of all ranks, D width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.interfaces import Encode, Mode, Objective, Output, Tokens
from sslkit.plugin import Env, MaskerSpec
from sslkit_objectives.all_ranks import of_all_ranks

Term = Callable[[Tensor], Tensor]
"""Features `[V, N, D]` -> one value a crop, `[V]`."""


@final
class SpreadObjective(Objective):
    """The mean over crops of a statistic of the pooled features of all ranks' images; it has nothing to train."""

    compares = True

    def __init__(self, view: str, masker: MaskerSpec | None, mode: Mode, term: Term, env: Env) -> None:
        """`mode` is that of a pass with a masker."""
        super().__init__()
        env.view(view)
        self.passes = (Encode(view, mask=masker, mode=mode if masker else "drop"),)
        self.crops = {view: 1}
        self.term = term

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over crops, of which each counts on its own, as those of an image may be alike."""
        (seen,) = tokens
        return Output(self.term(of_all_ranks(seen.cls)).mean(), {"feature_std": feature_std(seen.cls)})
