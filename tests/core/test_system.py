"""One step's forward: equal requests run once, and only the student learns."""

from __future__ import annotations

from typing import final

import pytest
import torch
from torch import nn

from sslkit import FixedWeights, RandomMasker
from sslkit.core.backbone import Backbone, Exported
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import make_mask
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.system import WEIGHTS, System
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from tests.masks import UNSEEN, on

MASKER = RandomMasker(ratio=0.5)


@final
class Means(Backbone):
    """A network whose tokens are means of rows of pixels; it counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.depth = 1, 1
        self.scale = nn.Parameter(torch.ones(()))
        self.asked = []

    def grid(self, size):
        return Grid(2, 2, size // 2)

    def forward(self, requests):
        self.asked.append(list(requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        patch = request.image.unfold(-1, 2, 2).unfold(-3, 2, 2).mean((-1, -2)).mean(2).flatten(2)[..., None]
        return Tokens(request.image, patch.mean(2) * self.scale, patch * self.scale, request.mask, ())

    def export(self):
        return Exported("means", {}, self.state_dict())


@final
class Asks(Objective):
    """Sums the class tokens of whatever it asks for."""

    def __init__(self, *passes: Encode) -> None:
        super().__init__()
        self.passes = passes
        self.received = []

    def forward(self, now, *tokens):
        self.received = list(tokens)
        return Output(
            torch.stack([t.cls.sum() for t in tokens]).sum(), {"count": torch.tensor(float(len(tokens)))}
        )


def system_of(**objectives):
    nets = {"student": Means(), "teacher": Means().requires_grad_(False)}
    return System(nets, objectives, FixedWeights(weights={"b": 0.5}).build(list(objectives)))


def run(system):
    images = {"a": torch.rand(1, 3, 1, 4, 4), "b": torch.rand(2, 3, 1, 4, 4)}
    rows = torch.arange(3)[None]
    mask = make_mask(MASKER.build(*on(Grid(2, 2, 2))), Draw(1, rows), UNSEEN)
    masks = [None if p.mask is None else mask for p in system.plan]
    return images, system(images, masks, {name: {} for name in system.objectives})


def test_equal_requests_of_all_objectives_run_once():
    shared, own = Encode("a"), Encode("b", net="teacher")
    system = system_of(a=Asks(shared, own), b=Asks(Encode("a"), Encode("a", mask=MASKER)), c=Asks(shared))
    assert system.plan == (shared, own, Encode("a", mask=MASKER))
    run(system)
    student, teacher = (system.nets[name].asked for name in ("student", "teacher"))
    assert [len(call) for call in student] == [2]
    assert [len(call) for call in teacher] == [1]


def test_requests_of_one_pass_share_it():
    system = system_of(
        a=Asks(Encode("a", attention=True)), b=Asks(Encode("a")), c=Asks(Encode("a", mode="token"))
    )
    assert len(system.plan) == 3
    run(system)
    assert [len(call) for call in system.nets["student"].asked] == [1]


def test_a_guides_pass_is_shared_unless_it_needs_gradients():
    asks = Asks(Encode("a"), Encode("a", net="teacher"), Encode("b", net="teacher"))
    system = system_of(a=asks)
    system.guided_by([Encode("a", net="teacher", attention=True), Encode("a")])
    images = {"a": torch.rand(1, 3, 1, 4, 4), "b": torch.rand(2, 3, 1, 4, 4)}
    looked = system.look(images)
    assert [t.cls.requires_grad for t in looked] == [False, False]
    system(images, [None] * 3, {"a": {}}, looked)
    student, teacher = (system.nets[name].asked for name in ("student", "teacher"))
    assert [len(call) for call in student] == [1, 1]
    assert [[request.attention for request in call] for call in teacher] == [[True], [False]]
    assert asks.received[0].cls.requires_grad
    assert asks.received[1].attention is None
    assert torch.equal(asks.received[1].cls, looked[0].cls)


def test_all_passes_of_a_cached_net_come_before_masks_and_run_as_far_as_they_are_asked_for():
    asks = Asks(Encode("a"), Encode("a", net="teacher", patches="none"), Encode("b", net="teacher"))
    system = system_of(a=asks)
    system.guided_by([], ["teacher"])
    assert [(run.view, run.net) for run in system.early.runs] == [("a", "teacher"), ("b", "teacher")]
    assert [run.net for run in system.late.runs] == ["student"]
    images = {"a": torch.rand(1, 3, 1, 4, 4), "b": torch.rand(2, 3, 1, 4, 4)}
    one, two = system.look(images)
    (rest,) = system.look(images, without=[0])
    assert torch.equal(rest.cls, two.cls)
    system(images, [None] * 3, {"a": {}}, [one._replace(cls=one.cls + 1), two])
    assert torch.equal(asks.received[1].cls, one.cls + 1), "whoever answered"
    assert asks.received[1].patch.shape[2] == 0


def test_every_objective_receives_its_own_answers_in_order():
    asks = {"a": Asks(Encode("b"), Encode("a")), "b": Asks(Encode("a"))}
    system = system_of(**asks)
    images, _ = run(system)
    assert asks["a"].received[0].image is images["b"]
    assert asks["a"].received[1].image is asks["b"].received[0].image is images["a"]


def test_a_net_that_nobody_asks_is_not_called():
    system = system_of(a=Asks(Encode("a")))
    run(system)
    assert system.nets["teacher"].asked == []


def test_only_the_student_builds_a_graph():
    system = system_of(a=Asks(Encode("a"), Encode("a", net="teacher")))
    system.nets["teacher"].requires_grad_(True)
    run(system)
    student, teacher = system.objectives["a"].received
    assert student.cls.requires_grad
    assert not teacher.cls.requires_grad


def test_the_total_is_the_balanced_sum():
    system = system_of(a=Asks(Encode("a")), b=Asks(Encode("b")))
    _, stepped = run(system)
    expected = stepped.outputs["a"].loss + 0.5 * stepped.outputs["b"].loss
    assert torch.allclose(stepped.total, expected)
    assert stepped.outputs["b"].metrics["count"] == 1


def test_requests_differ_by_every_field():
    requests = {
        Encode("a"), Encode("b"), Encode("a", net="teacher"), Encode("a", mask=MASKER),
        Encode("a", mask=MASKER, mode="token"), Encode("a", layers=(1,)), Encode("a", mask=RandomMasker(ratio=0.75)),
    }  # fmt: skip
    assert len(requests) == 7
    assert Encode("a", mask=RandomMasker(ratio=0.5)) in requests


def test_the_environment_names_what_it_does_not_have():
    env = Env({"a": View(8, 1, 3, (0,) * 3, (1,) * 3)}, {"student": NetInfo(4, 2)}, {"a": Grid(2, 3, 4)})
    assert env.grid("a").patches == 6
    with pytest.raises(SpecError, match=r"view 'b' is not a view of this run\. Known: a"):
        env.grid("b")


def hybrid_of(weights, **objectives):
    """`both` is a hybrid of `both/a` and `both/b`, which counts the second one half."""
    inner = {"both": FixedWeights(weights={"b": 0.5}).build(["a", "b"])}
    outer = FixedWeights().build(["both", "c"])
    return System({"student": Means()}, objectives, outer, weights, inner)


def step_of(system, now):
    images = {"a": torch.rand(1, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))}
    return system(images, [None] * len(system.plan), now)


def test_hybrids_inside_are_balanced_by_their_own():
    terms = {name: Asks(Encode("a")) for name in ("both/a", "both/b", "c")}
    system = hybrid_of({"both/a": 3.0, "both": 2.0}, **terms)
    assert system.terms == ("both", "c")
    stepped = step_of(system, {name: {} for name in terms})
    one = stepped.outputs["c"].loss
    assert torch.allclose(torch.stack(stepped.losses), torch.stack([2 * (3 * one + 0.5 * one), one]))
    assert torch.allclose(stepped.total, 8 * one)
    assert system.schedules == {name: {} for name in terms}


def test_weights_on_a_schedule_are_read_of_the_step():
    terms = {name: Asks(Encode("a")) for name in ("both/a", "both/b", "c")}
    system = hybrid_of({"both/b": lambda step: step / 4, "c": lambda step: 1 - step / 4}, **terms)
    moving = system.schedules[WEIGHTS]
    assert {name: schedule(1) for name, schedule in moving.items()} == {"both/b": 0.25, "c": 0.75}
    now = {name: {} for name in terms} | {WEIGHTS: {n: torch.tensor(at(1)) for n, at in moving.items()}}
    stepped = step_of(system, now)
    one = stepped.outputs["c"].loss
    assert torch.allclose(stepped.total, (1 + 0.5 * 0.25 + 0.75) * one)


def test_hybrids_nest_at_any_depth():
    names = ("x/y/a", "x/y/b", "x/c")
    inner = {
        "x": FixedWeights(weights={"y": 10.0}).build(["y", "c"]),
        "x/y": FixedWeights().build(["a", "b"]),
    }
    asks = {name: Asks(Encode("a")) for name in names}
    system = System({"student": Means()}, asks, FixedWeights().build(["x"]), {"x/y": 0.5}, inner)
    stepped = step_of(system, {name: {} for name in names})
    assert torch.allclose(stepped.total, (10 * 0.5 * 2 + 1) * stepped.outputs["x/c"].loss)
