"""Balance of a step's terms: weights, gradient norms, cosines, and the updates of balancers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple, cast, final

import torch
from torch import Tensor

from sslkit.core.balancer import Balancer
from sslkit.core.context import Length
from sslkit.core.system import Stepped, System
from sslkit.functional import gradient_weights
from sslkit.runtime.parallel import Parallel


class Balance(NamedTuple):
    """How the terms of one step were joined."""

    weights: Tensor | None
    """`[K]`; None where the balancer does not say."""
    gram: Tensor | None
    """`[K, K]` float64, products of the terms' gradients; None where nobody asked for them."""

    def metrics(self, terms: Sequence[str]) -> dict[str, Tensor]:
        """By the names that records use; nothing for a single term. Tensors, so that nobody waits for the device.

        `balance/TERM/weight`, `balance/TERM/gradient_norm` (before weighing), `balance/TERM_TERM/cosine` for each
        pair, and `balance/conflict`, the share of pairs whose cosine is below 0.
        """
        values: dict[str, Tensor] = {}
        if len(terms) < 2:
            return values
        if self.weights is not None:
            values |= {f"balance/{n}/weight": w for n, w in zip(terms, self.weights.unbind(), strict=True)}
        if self.gram is not None:
            lengths, cosines = gradient_weights.norms(self.gram), gradient_weights.cosines(self.gram)
            values |= {f"balance/{n}/gradient_norm": x for n, x in zip(terms, lengths.unbind(), strict=True)}
            for (i, one), (j, two) in combinations(enumerate(terms), 2):
                values[f"balance/{one}_{two}/cosine"] = cosines[i, j]
            values["balance/conflict"] = gradient_weights.conflict(self.gram)
        return values


@final
class Balancing:
    """Updates the balancers of a run, those of hybrids inside too, by the mean losses of every step."""

    def __init__(self, system: System, parallel: Parallel, length: Length) -> None:
        self._parallel = parallel
        self._balancers: list[Balancer] = [
            system.balancer,
            *cast("Iterable[Balancer]", system.inner.values()),
        ]
        self._hybrids = list(system.inner)
        self._losses: list[list[Tensor]] = []
        for balancer in self._balancers:
            balancer.prepare(length)

    def add(self, stepped: Stepped) -> None:
        """Note the losses of a micro-batch."""
        joined = torch.stack([loss.detach() for loss in stepped.losses])
        self._losses.append([joined, *(stepped.inner[name] for name in self._hybrids)])

    def commit(self, gram: Tensor | None) -> None:
        """After the optimizer. `gram`: what the balancer of the whole run weighed, if it did."""
        means = [torch.stack(parts).mean(0) for parts in zip(*self._losses, strict=True)]
        shared = self._parallel.mean(torch.cat(means)).split([len(mean) for mean in means])
        self._losses = []
        for i, (balancer, losses) in enumerate(zip(self._balancers, shared, strict=True)):
            balancer.commit(losses, gram if i == 0 and balancer.weighs_gradients else None)
