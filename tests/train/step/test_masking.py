"""Maskers that look at images and teachers, and learn: when they read, what they are told, what is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal, final

import pytest
import torch
from torch import Tensor, nn

from sslkit.build.maskers import make_maskers
from sslkit.core.context import Env
from sslkit.core.masker import Masker, Scene
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Mask, Output, Tokens
from sslkit.core.random_stream import Draw
from sslkit.errors import PluginError, SpecError
from sslkit.specs.families import MaskerSpec
from sslkit.train.compose import Composed
from sslkit.train.step import masking
from tests import tiny
from tests.fakes_train import compose_with

TEACHER = Encode("global", net="teacher", attention=True)


@final
class Watching(Masker):
    """Hides the half that the teacher's class token looks at most; keeps the mean loss of what it hid."""

    seen: Tensor
    loss: Tensor

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.most, self.visible = patches // 2, patches - patches // 2
        self.passes = (TEACHER,)
        self.scenes: list[Scene] = []
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("loss", torch.zeros(()))

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        self.scenes.append(scene)
        attention = scene.tokens[0].attention
        assert attention is not None
        order = (attention.mean(-2) + self.loss * 0).argsort(-1, descending=True)
        return order.argsort(-1) < self.most

    def observe(self, scene: Scene, mask: Mask, scores: Tensor | None) -> Mapping[str, Tensor]:
        if scores is None:
            return {}
        return {"scores": scores, "images": scene.image[0, :, 0, 0, 0]}

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        self.seen += len(rows["images"])
        self.loss.copy_(rows["scores"].mean())


@final
class WatchingMasker(MaskerSpec):
    """Spec of `Watching`; not registered."""

    kind: Literal["watching"] = "watching"

    def build(self, env: Env, view: str) -> Masker:
        return Watching(env.grid(view).patches)


@final
class Following(Objective):
    """Predicts the teacher's class token from what is visible; `tells` the losses of hidden patches, or not."""

    def __init__(self, dim: int, *, tells: bool = True) -> None:
        super().__init__()
        self.passes = (Encode("global", mask=WatchingMasker()), TEACHER)
        self.head, self.tells = nn.Linear(dim, dim), tells

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        student, teacher = tokens
        assert student.mask is not None
        error = (self.head(student.cls) + student.patch.mean(-2) - teacher.cls).square().mean(-1)
        scores = student.mask.pick(error[..., None].expand(-1, -1, teacher.patch.shape[2]))
        return Output(error.mean(), scores=scores if self.tells else None)


def composed(*, tells: bool = True, **changes: object) -> Composed:
    run = tiny.spec(nets={"teacher": {}}, **changes)
    return compose_with(run, lambda dim, steps: Following(dim, tells=tells))


def masker(parts: Composed) -> Watching:
    found = parts.step.masking.maskers[0]
    assert isinstance(found, Watching)
    return found


def steps(parts: Composed, run: object, numbers: range) -> list[Tensor]:
    feed = tiny.feed(run, parts)  # type: ignore[arg-type]
    return [parts.step(number, feed.step(number)).total for number in numbers]


def test_a_pass_that_a_masker_and_an_objective_read_runs_once(monkeypatch):
    parts = composed()
    teacher, asked = parts.system.nets["teacher"], []
    forward = teacher.forward
    monkeypatch.setattr(teacher, "forward", lambda requests: asked.append(len(requests)) or forward(requests))
    steps(parts, parts.step.spec, range(2))
    assert parts.step.masking.guides == (TEACHER,)
    assert asked == [1, 1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            lambda hidden: hidden.unflatten(-1, (2, 2)),
            r"gives torch\.bool \(1, 32, 2, 2\), expected bool \(1, 32, 4\)",
        ),
        (lambda hidden: hidden.float(), r"gives torch\.float32 \(1, 32, 4\), expected bool"),
        (lambda hidden: hidden[0, 0], r"gives torch\.bool \(4,\), expected bool \(1, 32, 4\)"),
        (lambda hidden: torch.ones_like(hidden), "hides 4 patches of 4, but `most` says 2"),
        (lambda hidden: torch.zeros_like(hidden), "hides 0 to 0 patches, but `visible` 2 says 2"),
    ],
)
def test_a_masker_that_breaks_its_promise_is_named_at_the_first_step(monkeypatch, fault, message):
    """A wrong count trained on other patches in silence, and a wrong shape failed in torch's words."""
    parts, right = composed(), Watching.sample
    monkeypatch.setattr(Watching, "sample", lambda self, draw, scene: fault(right(self, draw, scene)))
    with pytest.raises(PluginError, match=f"masker 'watching': .*{message}.*plugins check"):
        steps(parts, parts.step.spec, range(1))


def test_promises_of_masks_are_looked_at_once(monkeypatch):
    parts, looked = composed(), []
    monkeypatch.setattr(masking, "broken_promise", lambda *values: looked.append(values))
    steps(parts, parts.step.spec, range(3))
    assert len(looked) == 1


def test_the_scene_is_the_crops_and_the_teachers_answer_without_gradients():
    parts = composed()
    (batch,) = tiny.feed(parts.step.spec, parts).step(0)
    parts.step(0, [batch])
    (scene,) = masker(parts).scenes
    assert torch.equal(scene.image, batch.images["global"])
    (answer,) = scene.tokens
    assert answer.attention.shape == (1, 32, 2, 4)
    assert not answer.attention.requires_grad
    assert not answer.cls.requires_grad


def test_what_it_hides_is_what_it_saw():
    parts = composed()
    (batch,) = tiny.feed(parts.step.spec, parts).step(0)
    tokens = parts.step.encode(batch, 0)
    attention = masker(parts).scenes[-1].tokens[0].attention.mean(-2)
    hidden = tokens[0].mask.hidden
    assert attention[hidden].min() > 0
    assert (attention.where(hidden, 9.0).amin(-1) >= attention.where(~hidden, -9.0).amax(-1)).all()


@pytest.mark.parametrize("micro", [32, 8])
def test_it_learns_from_all_micro_batches_after_the_step(micro):
    parts = composed(micro_batch_size=micro)
    losses = steps(parts, parts.step.spec, range(2))
    assert masker(parts).seen == 64
    assert masker(parts).loss.item() == pytest.approx(losses[-1].item(), rel=1e-5)


def test_nothing_is_learned_where_no_objective_tells():
    parts = composed(tells=False)
    steps(parts, parts.step.spec, range(2))
    assert masker(parts).seen == 0


def test_what_it_learned_is_part_of_the_state():
    whole, resumed = composed(), composed()
    steps(whole, whole.step.spec, range(2))
    saved = copy.deepcopy(whole.step.state_dict())
    assert set(saved["masking"]) == {"_each.0.seen", "_each.0.loss"}
    resumed.step.load_state_dict(saved)
    assert masker(resumed).seen == masker(whole).seen == 64
    straight, again = (steps(parts, parts.step.spec, range(2, 4)) for parts in (whole, resumed))
    assert torch.equal(torch.stack(straight), torch.stack(again))
    assert masker(resumed).loss == masker(whole).loss


def test_compiled_and_eager_agree():
    torch._dynamo.reset()
    losses = []
    for enabled in (True, False):
        parts = composed(compile={"enabled": enabled, "backend": "aot_eager"})
        losses.append(torch.stack(steps(parts, parts.step.spec, range(3))))
    torch._dynamo.reset()
    assert torch.allclose(*losses, rtol=1e-5)


def test_equal_maskers_are_one():
    parts = composed()
    plan = parts.system.plan
    parts.system.plan = (*plan, Encode("global", mask=WatchingMasker(), mode="token"))
    found = make_maskers(parts.system, parts.env)
    assert list(found) == [0, 2]
    assert found[0] is found[2]


def test_a_net_that_a_masker_reads_must_exist():
    parts = composed()
    env = parts.env._replace(nets={"student": parts.env.nets["student"]})
    with pytest.raises(SpecError, match=r"masker: net 'teacher' is not a net of this run. Known: student"):
        make_maskers(parts.system, env)
