"""Cost of the passes of a step: the objectives that use each, and the total relative to each term alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sslkit.core.objective import Objective
from sslkit.core.pass_plan import same_pass
from sslkit.core.passes import Encode
from sslkit.core.system import STUDENT, System
from sslkit.train.step.masking import Masking

Facts = Mapping[str, Any]
"""A pass, or a plan, as the lock has them under `resolved`."""

FORWARD = 1 / 3
"""Of a forward with its backward, which takes twice the forward."""


class Asker(NamedTuple):
    """The passes that an objective requests of a step, as keys of `same_pass`."""

    passes: frozenset[Encode]
    guides: frozenset[Encode]
    """Passes that its maskers read."""


def askers(system: System, masking: Masking) -> dict[str, Asker]:
    """The requests of every objective, by name."""
    return {name: _asker(objective, system, masking) for name, objective in system.objectives.items()}


def _asker(objective: Objective, system: System, masking: Masking) -> Asker:
    masked = [masking.maskers[system.plan.index(p)] for p in objective.passes if p.mask is not None]
    guides = [guide for masker in masked for stage in masker.stages() for guide in stage.passes]
    return Asker(frozenset(map(same_pass, objective.passes)), frozenset(map(same_pass, guides)))


def users(request: Encode, early: bool, wants: Mapping[str, Asker], trained: Collection[str]) -> list[str]:
    """The objectives that a pass serves; `early`: it runs before the masks are drawn."""
    key = same_pass(request)
    taught = early and request.net not in trained  # those are encoded again where a loss needs their gradient
    return [
        name
        for name, asker in wants.items()
        if (key in asker.guides if early else key in asker.passes) or (taught and key in asker.passes)
    ]


def plan(system: System, masking: Masking, passes: Sequence[Facts]) -> dict[str, object]:
    """How many passes are asked for and run, their tokens, and the cost of the step.

    Args:
        system: the nets and objectives.
        masking: their maskers.
        passes: what runs, with `net`, `guide`, `tokens_per_step` and `for`.

    Returns:
        `asked`, `run`, `tokens_per_step`, `terms` (each term's cost alone, over that of the dearest) and `cost` (that
        of all, alike). A token counts one for a forward and two for each backward through it. Heads, that nets may
        differ in size, and what only some steps measure (`log.conflict`) are left out.
    """
    asked = sum(len(asker.passes) + len(asker.guides) for asker in askers(system, masking).values())
    weighing = system.balancer.weighs_gradients and system.balancer.space == "parameters"
    alone = {
        term: sum(_cost(one, 1, system.trained) for one in passes if term in _terms(one))
        for term in system.terms
    }
    whole = sum(_cost(one, len(_terms(one)) if weighing else 1, system.trained) for one in passes)
    dearest = max(alone.values())
    return {
        "asked": asked,
        "run": len(passes),
        "tokens_per_step": sum(one["tokens_per_step"] for one in passes),
        "terms": {term: round(cost / dearest, 4) for term, cost in alone.items()},
        "cost": round(whole / dearest, 4),
    }


def encoded(passes: Sequence[Facts], planned: Facts, trained: Collection[str] = (STUDENT,)) -> float:
    """What a step of this plan of `passes` costs, in tokens that nets encode and differentiate once."""
    return float(planned["cost"]) * max(
        sum(_cost(one, 1, trained) for one in passes if term in _terms(one)) for term in planned["terms"]
    )


def _terms(one: Facts) -> set[str]:
    return {name.partition("/")[0] for name in one["for"]}


def _cost(one: Facts, backwards: int, trained: Collection[str]) -> float:
    """Of a pass, in tokens that are encoded with gradient."""
    learns = one["net"] in trained and not one["guide"]
    cost: float = one["tokens_per_step"] * (FORWARD + (1 - FORWARD) * backwards if learns else FORWARD)
    return cost
