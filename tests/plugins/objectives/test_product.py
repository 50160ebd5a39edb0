"""Masked objectives, maskers that fit and targets, every two together: trains, resumes, compiles to one graph."""

from __future__ import annotations

import copy
from itertools import combinations, groupby, product

import pytest
import torch
from torch._dynamo.utils import counters

from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.registry.manager import registry
from sslkit.specs.families import MaskerSpec
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from sslkit.train.step.masking import Masking
from tests import tiny
from tests.masks import on

SIZE, STEPS = 16, 3
VIEW = {**tiny.VIEW, "size": SIZE}
OBJECTIVES = {"mae": {"decoder": tiny.DECODER}, "simmim": {}}
TARGETS = {
    "pixel": {},
    "normalized_pixel": {},
    "hog": {"cell": 4},
    "frequency": {},
    "teacher_feature": {},
    "perceptual": {"layers": [0]},
    "patch_colors": {"levels": 5},
}
"""Targets and the fields that they need on patches of 4 pixels."""
NETS = {"teacher": {"momentum": 0.9}}
"""A teacher for the parts that read one."""
SIZED = {
    "block": {"min_block": 2, "ratio": 0.75},
    "unit": {"unit": 8, "ratio": 0.75},
    "inverse_block": {"ratio": 0.75},
    "multi_block": {"scale": [0.1, 0.3], "ratio": 0.75},
    "curriculum": {"masker": {"kind": "random"}, "field": "ratio", "start": 0.75, "end": 0.5, "levels": 2},
}
"""Fields that maskers need on a grid of 4 x 4, where those of a fixed count hide 12 patches."""
VARYING = {"bernoulli", "block"}
"""Maskers that `drop` cannot use."""


def maskers() -> dict[str, dict[str, object]]:
    """An example of every masker that sslkit offers."""
    own = [p for p in registry().plugins if p.name.startswith("sslkit:")]
    kinds = [kind for plugin in own for family, kind in plugin.kinds if family == "masker"]
    return {kind: masker(kind) for kind in kinds}


def masker(kind: str) -> dict[str, object]:
    if kind in SIZED:
        return {"kind": kind, **SIZED[kind]}
    return registry().kinds("masker")[kind].example().model_dump()


MASKERS = maskers()
FITTING = [
    parts
    for parts in product(OBJECTIVES, MASKERS, TARGETS)
    if not (parts[0] == "mae" and parts[1] in VARYING)
]
PAIRS = [
    (objective, kind, target)
    for objective, kind, target in FITTING
    if kind in VARYING
    or (list(MASKERS).index(kind) + list(TARGETS).index(target)) % 2 == (objective == "mae")
]
"""Every two kinds together: no code asks for all three. A masker meets every target, half of them in each objective."""


def run_of(objective, masker_kind, target, **changes):
    parts = {"kind": objective, "masker": MASKERS[masker_kind], **OBJECTIVES[objective]}
    parts["target"] = {"kind": target, **TARGETS[target]}
    return parse(
        tiny.fields(
            objective=parts,
            backbone=tiny.ONE_BLOCK,
            views={"global": VIEW},
            nets=NETS,
            batch_size=8,
            steps=STEPS,
            **changes,
        )
    )


def test_every_two_kinds_that_fit_meet():
    every, met = ({pair for parts in of for pair in combinations(parts, 2)} for of in (FITTING, PAIRS))
    assert met == every
    assert len(PAIRS) < 0.6 * len(FITTING)


@pytest.mark.parametrize(("objective", "masker_kind", "target"), PAIRS)
def test_it_trains_and_resumes_bit_equal(objective, masker_kind, target):
    run = run_of(objective, masker_kind, target)
    whole, feed, losses, saved = compose(run, tiny.CPU), None, [], None
    feed = tiny.feed(run, whole)
    for step in range(STEPS):
        if step == 1:
            saved = copy.deepcopy(whole.step.state_dict())
        losses.append(whole.step(step, feed.step(step)).total)
    assert torch.stack(losses).isfinite().all()
    assert len({loss.item() for loss in losses}) == STEPS
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(saved)
    again = [resumed.step(step, feed.step(step)).total for step in range(1, STEPS)]
    assert torch.equal(torch.stack(again), torch.stack(losses[1:]))
    assert tiny.same(whole, resumed)


def shapes(kind: str) -> tuple[int, int, str]:
    """What decides the shapes of a masker's masks, and the passes that it reads."""
    made = sampler(kind)
    return made.visible or 0, made.most, str(made.passes)


def sampler(kind: str):
    return spec_of(kind).build(*on(Grid(4, 4, 4))).at(0)


def spec_of(kind: str) -> MaskerSpec:
    return run_of("simmim", kind, "pixel").objective.masker


def alike(objective: str) -> list[list[str]]:
    """Maskers that fit, in groups whose masks have equal shapes, so that one graph must do for all of a group."""
    fitting = sorted({m for o, m, _ in FITTING if o == objective}, key=lambda kind: (shapes(kind), kind))
    return [list(group) for _, group in groupby(fitting, shapes)]


def targets_for(objective: str, kinds: list[str]) -> tuple[str, ...]:
    """Every target with the group of `random` and one objective; elsewhere one, as the engine is the same.

    Maskers that read passes share theirs with a target that reads a teacher.
    """
    if objective == "mae" and "random" in kinds:
        return tuple(TARGETS)
    return ("teacher_feature",) if sampler(kinds[0]).passes else ("pixel",)


@pytest.mark.parametrize(
    ("objective", "kinds", "target"),
    [(o, kinds, target) for o in OBJECTIVES for kinds in alike(o) for target in targets_for(o, kinds)],
    ids=str,
)
def test_one_graph_serves_all_maskers_of_equal_shapes(objective, kinds, target):
    """Three steps with each masker in turn: another graph, or a break in it, is an error.

    What maskers read is a graph of its own, since masks are drawn between the two.
    """
    torch._dynamo.reset()
    counters.clear()
    whole = objective == "mae" and "random" in kinds and target in ("pixel", "teacher_feature")
    backend = "aot_eager" if whole else "eager"  # traces only, in half the time
    options = {"compile": {"enabled": True, "backend": backend}}
    made = [steps_with(kinds, run_of(objective, kinds[0], target, **o)) for o in (options, {})]
    assert counters["stats"]["unique_graphs"] == (2 if sampler(kinds[0]).passes else 1)
    assert not counters["graph_break"]
    assert made[0] == pytest.approx(made[1], rel=1e-4)


def steps_with(kinds, run):
    """Losses of steps in which the masker changes."""
    composed = compose(run, tiny.CPU)
    feed, losses = tiny.feed(run, composed), []
    for step in range(STEPS * len(kinds)):
        made = spec_of(kinds[step // STEPS]).build(composed.env, "global").at(0)
        composed.step.masking = Masking(composed.system.plan, {0: made}, run.seed)
        losses.append(composed.step(step, feed.step(step)).total.item())
    return losses


@pytest.mark.parametrize("kind", sorted(VARYING & MASKERS.keys()))
def test_maskers_of_varying_counts_are_refused_by_mae(kind):
    with pytest.raises(SpecError, match=f"masker: '{kind}' hides a varying number of patches"):
        compose(run_of("mae", kind, "pixel"), tiny.CPU)
