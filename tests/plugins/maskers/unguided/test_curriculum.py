"""A masker whose ratio, or any other number, changes over the run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from sslkit import (
    BernoulliMasker,
    CurriculumMasker,
    GridMasker,
    InverseBlockMasker,
    MixtureMasker,
    RandomMasker,
    UnitMasker,
)
from sslkit.core.masker import Masker, Scene
from sslkit.core.passes import Mask
from sslkit.core.random_stream import Draw
from sslkit.core.system import System
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.train.compose import compose
from sslkit.train.step import compile_system as compiling
from sslkit.train.step.mask_schedule import timeline
from sslkit_maskers.unguided.curriculum import CurriculumSampler
from tests import tiny
from tests.masks import UNSEEN, on

VIT = Grid(14, 14, 16)
RANDOM = {"kind": "random"}
SMALL = {
    "views": {"global": {**tiny.VIEW, "size": 16}},
    "backbone": {**tiny.VIT, "depth": 1},
    "batch_size": 8,
}
"""4 x 4 patches."""


def ratio(start: float, end: float, **fields: Any) -> CurriculumMasker:
    return CurriculumMasker(masker=RandomMasker(), field="ratio", start=start, end=end, **fields)


def run_of(**changes: Any):
    """A run that hides 4 and then more patches of 16, at steps 0, 2 and 5."""
    masker = {
        "kind": "curriculum",
        "masker": RANDOM,
        "field": "ratio",
        "start": 0.25,
        "end": 0.5,
        "levels": 3,
    }
    objective = {"kind": "mae", "masker": masker, "decoder": tiny.DECODER}
    return tiny.spec(objective=objective, steps=6, **SMALL, **changes)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"levels": 2}, [0.5, 0.5, 0.5, 0.8, 0.8, 0.8]),
        ({"levels": 4}, [0.5, 0.6, 0.6, 0.7, 0.7, 0.8]),
        ({"levels": 4, "until": 0.5}, [0.5, 0.6, 0.7, 0.8, 0.8, 0.8]),
        ({"levels": 4, "shape": "cosine"}, [0.5, 0.5, 0.6, 0.7, 0.8, 0.8]),
    ],
)
def test_the_level_nearest_to_the_schedule_is_in_force(fields, expected):
    masker = ratio(0.5, 0.8, **fields).build(*on(VIT))
    found = [masker.at(progress) for progress in (0, 0.2, 0.4, 0.5001, 0.8, 0.999)]
    assert [stage.label for stage in found] == [f"ratio {value}" for value in expected]
    for stage, value in zip(found, expected, strict=True):
        plain = RandomMasker(ratio=value).build(*on(VIT))
        draw = Draw(3, torch.arange(5))
        assert torch.equal(stage.sample(draw, UNSEEN), plain.sample(Draw(3, torch.arange(5)), UNSEEN))
        assert (stage.visible, stage.most) == (plain.visible, plain.most)


def test_on_its_own_it_is_its_first_level():
    masker, first = ratio(0.9, 0.3).build(*on(VIT)), RandomMasker(ratio=0.9).build(*on(VIT))
    assert (masker.visible, masker.most, masker.passes) == (first.visible, first.most, first.passes)
    made = [m.sample(Draw(1, torch.arange(4)), UNSEEN) for m in (masker, first, masker.at(0))]
    assert all(torch.equal(made[0], mask) for mask in made)


def test_values_are_those_that_a_person_would_write():
    """0.5 + 5 x 0.05 in floats is 0.75 only by luck; a ratio one bit higher leaves a patch less."""
    stages = ratio(0.1, 0.9, levels=9).build(*on(Grid(10, 10, 16))).stages()
    assert [stage.visible for stage in stages] == [90, 80, 70, 60, 50, 40, 30, 20, 10]


def test_whole_numbers_are_rounded_and_equal_levels_are_one():
    spec = CurriculumMasker(masker=GridMasker(), field="cell", start=5, end=2, levels=16)
    masker = spec.build(*on(VIT))
    assert [stage.label for stage in masker.stages()] == ["cell 5", "cell 4", "cell 3", "cell 2"]
    assert [stage.visible for stage in masker.stages()] == [9, 16, 25, 49]
    assert {masker.at(i / 100) for i in range(100)} == set(masker.stages())


def test_paths_lead_into_mixtures_ranges_and_fields_without_a_value():
    mixed = MixtureMasker(maskers=(RandomMasker(ratio=0.5), InverseBlockMasker(ratio=0.5)), weights=(1, 1))
    masker = CurriculumMasker(masker=mixed, field="weights.1", start=1, end=3, levels=2).build(*on(VIT))
    assert [stage.bounds for stage in masker.stages()] == [(0.5,), (0.25,)]
    masker = CurriculumMasker(masker=mixed, field="maskers.1.ratio", start=0.5, end=0.75, levels=2).build(
        *on(VIT)
    )
    assert [(stage.visible, stage.most) for stage in masker.stages()] == [(98, 98), (None, 147)]
    block = {"kind": "block", "recipe": "ibot"}
    for field, inner in (("ratio.1", {**block, "ratio": [0.1, 0.3]}), ("ratio", block)):
        data = {"kind": "curriculum", "masker": inner, "field": field, "start": 0.3, "end": 0.5, "levels": 2}
        masker = CurriculumMasker.model_validate(data).build(*on(VIT))
        assert [stage.high for stage in masker.stages()] == pytest.approx([58.8, 98.0])


def test_two_curricula_multiply_their_levels():
    inner = CurriculumMasker(masker=UnitMasker(), field="ratio", start=0.25, end=0.5, levels=2, until=0.5)
    outer = CurriculumMasker(masker=inner, field="masker.unit", start=16, end=32, levels=2)
    masker = outer.build(*on(VIT))
    labels = ["masker.unit 16, ratio 0.25", "masker.unit 16, ratio 0.5", "masker.unit 32, ratio 0.5"]
    assert [masker.at(progress).label for progress in (0, 0.3, 0.6)] == labels
    assert len(masker.stages()) == 4
    assert {stage.visible for stage in masker.stages()} == {147, 98, 144, 96}


def test_a_mixture_refuses_a_curriculum_inside():
    with pytest.raises(
        SpecError, match=r"put the curriculum around the mixture instead, .* `maskers\.0\.ratio`"
    ):
        MixtureMasker(maskers=(RandomMasker(), ratio(0.5, 0.75))).build(*on(VIT))


BLOCKS = {"kind": "block", "ratio": 0.3}
MIXED = {"kind": "mixture", "maskers": [RANDOM, BLOCKS]}


@pytest.mark.parametrize(
    ("masker", "field", "start", "message"),
    [
        (RANDOM, "ration", 0.5, r"field: 'ration' is not a field of RandomMasker\. Did you mean 'ratio'\?"),
        (
            RANDOM,
            "ratio.0",
            0.5,
            r"field: '0' leads into 0\.75, which has no such part; name a field that is set",
        ),
        (MIXED, "maskers.2.ratio", 0.5, r"field: '2' leads into a list of 2, counted from 0"),
        (
            MIXED,
            "weights.0",
            0.5,
            r"field: '0' leads into None, which has no such part; name a field that is set",
        ),
        (MIXED, "maskers", 0.5, r"field: 'maskers' is no number of 'mixture'; name a field that is one"),
        (BLOCKS, "recipe", 0.5, r"field: 'recipe' is no number of 'block'"),
        ({"kind": "grid"}, "jitter", 1, r"field: 'jitter' is no number of 'grid'"),
        (
            {"kind": "grid"},
            "cell",
            2.5,
            r"start: cell 2\.5: cell: must be a whole number, found 2\.5 \(float\)",
        ),
        (RANDOM, "ratio", 1.5, r"start: ratio 1\.5: ratio: must be less than 1, found 1\.5 \(float\)"),
        (
            MIXED,
            "maskers.0.ratio",
            -0.5,
            r"start: maskers\.0\.ratio -0\.5: maskers\.0\.ratio: must be greater than 0",
        ),
        (
            MIXED,
            "maskers.1.share",
            0,
            r"start: maskers\.1\.share 0: maskers\.1\.share: must be greater than 0",
        ),
    ],
)
def test_numbers_that_cannot_change_are_refused_before_anything_is_built(masker, field, start, message):
    made = {"kind": "curriculum", "masker": masker, "field": field, "start": start, "end": 3}
    with pytest.raises(SpecError, match=rf"(?m)^objective\.masker\.{message}"):
        tiny.spec(objective={"kind": "mae", "masker": made})


def test_a_level_that_does_not_fit_the_grid_is_named():
    masker = {
        "kind": "curriculum",
        "masker": RANDOM,
        "field": "ratio",
        "start": 0.5,
        "end": 0.95,
        "levels": 2,
    }
    run = tiny.spec(objective={"kind": "mae", "masker": masker, "decoder": tiny.DECODER})
    said = r"^masker: masker: at level ratio 0\.95: ratio 0\.95 hides 4 of 4 patches"
    with pytest.raises(SpecError, match=said):
        compose(run, tiny.CPU)
    with pytest.raises(SpecError, match=r"^field: 'ration' is not a field of RandomMasker"):
        CurriculumMasker(masker=RandomMasker(), field="ration", start=0.5, end=0.7).build(*on(VIT))


def test_every_level_needs_a_fixed_count_where_hidden_patches_are_left_out():
    mixed = {"kind": "mixture", "maskers": [RANDOM, {"kind": "inverse_block", "ratio": 0.75}]}
    masker = {"kind": "curriculum", "masker": mixed, "field": "maskers.0.ratio", "start": 0.75, "end": 0.5}
    with pytest.raises(SpecError, match=r"masker: 'curriculum' hides a varying number of patches"):
        compose(
            tiny.spec(objective={"kind": "mae", "masker": masker, "decoder": tiny.DECODER}, **SMALL), tiny.CPU
        )
    run = tiny.spec(objective={"kind": "simmim", "masker": masker}, **SMALL)
    stages = compose(run, tiny.CPU).step.masking.maskers[0].stages()
    assert [stage.most for stage in stages] == [12] * 8
    assert [stage.visible for stage in stages] == [4, 4, *[None] * 6]


class Learner(Masker):
    """Hides the first `most` patches of 4, and counts what it is taught."""

    total: Tensor

    def __init__(self, most: int) -> None:
        super().__init__()
        self.visible, self.most = 4 - most, most
        self.register_buffer("total", torch.zeros(()))

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return (torch.arange(4) < self.most).expand(*draw.shape, 4)

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        return {"hidden": mask.hidden.sum(-1).flatten()}

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        self.total += rows["hidden"].sum()


def test_what_one_level_learns_all_know(monkeypatch):
    """The level in force observes; every level is taught."""
    monkeypatch.setattr(RandomMasker, "build", lambda self, env, view: Learner(round(4 * self.ratio)))
    masker = {
        "kind": "curriculum",
        "masker": RANDOM,
        "field": "ratio",
        "start": 0.25,
        "end": 0.75,
        "levels": 3,
    }
    run = tiny.spec(objective={"kind": "mae", "masker": masker, "decoder": tiny.DECODER}, micro_batch_size=8)
    composed, _ = tiny.steps(run, 8)
    levels = composed.step.masking.maskers[0].stages()
    hidden = [1, 1, 2, 2, 2, 2, 3, 3]
    assert [level.total.item() for level in levels] == [32 * sum(hidden)] * 3
    saved = composed.step.state_dict()["masking"]
    assert len(saved) == 3
    again = compose(run, tiny.CPU)
    again.step.masking.load_state_dict(saved)
    assert again.step.masking.maskers[0].at(0.99).total == 32 * sum(hidden)


def test_a_guided_share_grows_and_its_levels_stay_equal():
    """HPM's schedule, with a masker that learns."""
    inner = {"kind": "difficulty", "ratio": 0.5}
    masker = {"kind": "curriculum", "masker": inner, "field": "share", "start": 0, "end": 0.5, "levels": 3}
    objective = {"kind": "mae", "masker": masker, "decoder": tiny.DECODER}
    run = tiny.spec(objective=objective, nets={"teacher": {}}, steps=6, **SMALL)
    composed, losses = tiny.steps(run, 6)
    levels = composed.step.masking.maskers[0].stages()
    assert [level.guided for level in levels] == [0, 2, 4]
    first, *others = [level.state_dict() for level in levels]
    assert first["weight"].abs().sum() > 0
    assert all(torch.equal(state[name], first[name]) for state in others for name in first)
    resumed, part = compose(run, tiny.CPU), tiny.steps(run, 4)[0]
    resumed.step.load_state_dict(part.step.state_dict())
    feed = tiny.feed(run, resumed)
    assert [resumed.step(i, feed.step(i)).total.item() for i in (4, 5)] == losses[4:]


def test_itself_it_observes_as_its_first_level():
    masker = CurriculumSampler([Learner(1), Learner(3)], [0, 1], "linear", 1.0)
    hidden = torch.tensor([[[True, False, True, False]]])
    mask = Mask(hidden, *[torch.zeros(0, dtype=torch.int64)] * 3)
    rows = masker.observe(UNSEEN, mask, None)
    assert rows["hidden"].tolist() == [2]


def test_it_resumes_in_the_middle_of_a_level_and_of_all_levels_bit_equal():
    run = run_of()
    whole, saved, losses = compose(run, tiny.CPU), {}, []
    feed = tiny.feed(run, whole)
    for step in range(6):
        saved[step] = copy.deepcopy(whole.step.state_dict())
        losses.append(whole.step(step, feed.step(step)).total.item())
    assert list(timeline(whole.step.masking.maskers, whole.length)) == [0, 2, 5]
    for start in (2, 3):
        resumed = compose(run, tiny.CPU)
        resumed.step.load_state_dict(saved[start])
        assert [resumed.step(i, feed.step(i)).total.item() for i in range(start, 6)] == losses[start:]
        assert tiny.same(whole, resumed)


@pytest.fixture
def _fresh_compiler(monkeypatch):
    """No graph is allowed but those that the masks' shapes are known to need; more make `fullgraph` raise."""
    monkeypatch.setattr(compiling, "SPARE_GRAPHS", 0)
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=1, accumulated_recompile_limit=1):
        yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh_compiler")
def test_every_shape_compiles_once_and_no_more():
    run = run_of(compile={"enabled": True, "backend": "eager"})
    composed = compose(run, tiny.CPU)
    assert torch._dynamo.config.recompile_limit == 3
    feed, made, losses = tiny.feed(run, composed), [], []
    for step in [*range(6), *range(6)]:
        losses.append(composed.step(step, feed.step(step)).total.item())
        made.append(counters["stats"]["unique_graphs"])
    assert made == [1, 1, 2, 2, 2, 3, *[3] * 6]
    assert losses[:6] == pytest.approx(tiny.steps(run_of(), 6)[1], rel=1e-4)


def test_limits_of_torch_are_raised_and_never_lowered(monkeypatch):
    """By default torch stops after 8 graphs."""
    monkeypatch.setattr(System, "compile", lambda self, **options: None)
    run = run_of(compile={"enabled": True, "backend": "eager"})
    masker = run.objective.masker.model_copy(update={"levels": 12, "start": 0.1, "end": 0.9})
    many = run.model_copy(
        update={"objective": run.objective.model_copy(update={"masker": masker}), "steps": 99}
    )
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=256):
        for spec, limit in ((run, 10), (many, 19), (run, 19)):
            shapes = {stage.visible for stage in compose(spec, tiny.CPU).step.masking.maskers[0].stages()}
            assert torch._dynamo.config.recompile_limit == limit
            assert torch._dynamo.config.accumulated_recompile_limit == 32 * limit
            assert len(shapes) <= limit - 7


def test_probabilities_share_one_shape():
    spec = CurriculumMasker(masker=BernoulliMasker(), field="ratio", start=0.2, end=0.8)
    stages = spec.build(*on(VIT)).stages()
    assert {(stage.visible, stage.most) for stage in stages} == {(None, 196)}
    shares = [stage.sample(Draw(0, torch.arange(400)), UNSEEN).double().mean() for stage in stages]
    torch.testing.assert_close(torch.stack(shares), torch.linspace(0.2, 0.8, 8).double(), atol=0.01, rtol=0)
