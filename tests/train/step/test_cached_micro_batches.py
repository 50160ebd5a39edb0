"""A step in micro-batches is the step of the whole batch, whatever the objectives compare."""

from __future__ import annotations

import re

import pytest
import torch

from sslkit import catalog
from sslkit.build.maskers import make_maskers
from sslkit.core.balancer import Balancer
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output
from sslkit.core.system import System
from sslkit.data.loaders import Batch
from sslkit.errors import PluginError, SpecError
from sslkit.specs.families import ObjectiveSpec
from sslkit.specs.load import parse
from sslkit.testing import tiny_run
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises import micro_batch_promises
from sslkit.train.compose import compose
from sslkit.train.step.cached_micro_batches import needs_whole
from sslkit.train.step.stepper import Stepper
from tests import tiny
from tests.distributed.contrast_cases import HEAD, JOINED

DESCENT = {"name": "momentum", "lr": 0.1, "momentum": 0.0, "scale": "absolute", "weight_decay": 0.0}
CROPS = {"global": {**tiny.VIEW, "crops": 2}}
TEACHER = {"teacher": {"momentum": 0.9, "update": "before_forward"}}
SIMCLR = {"kind": "simclr", "projector": {**HEAD, "init": "torch"}, "temperature": 0.5}
MAE = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
MIXED = {
    "mim": MAE,
    "contrast": {**SIMCLR, "weight": 0.3},
    "spread": {"kind": "koleo", "masker": MAE["masker"]},
}


def run_of(**changes):
    return tiny.spec(
        **{"objective": SIMCLR, "views": CROPS, "nets": TEACHER, "optimizer": DESCENT, **changes}
    )


def made(run, steps=3, dtype=torch.float64, micro=None):
    """Losses of `steps`, and the state that they leave."""
    composed = compose(run.model_copy(update={"micro_batch_size": micro}), tiny.CPU)
    composed.system.to(dtype)
    supply = tiny.feed(run, composed)
    supply.order = composed.order
    losses = [composed.step(i, supply.step(i)) for i in range(steps)]
    return losses, composed


def require_same(run, micro=8, steps=3, dtype=torch.float64, bound=1e-12):
    """Losses, weights, moving averages, buffers and what maskers learned."""
    whole, one = made(run, steps, dtype)
    parts, cut = made(run, steps, dtype, micro)
    for a, b in zip(whole, parts, strict=True):
        for name in ("total", *(n for n in a.values if n.startswith("loss/"))):
            x, y = ((s.total if name == "total" else s.values[name]) for s in (a, b))
            torch.testing.assert_close(y, x, rtol=bound, atol=bound)
    expected = one.system.state_dict() | one.step.masking.state_dict()
    found = cut.system.state_dict() | cut.step.masking.state_dict()
    for name, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value, rtol=bound, atol=bound, msg=name)
        else:
            assert torch.equal(found[name], value), name
    return whole, parts


def objective_kinds():
    return sorted(k for k, c in catalog.kinds("objective").items() if c.__module__.startswith("sslkit_"))


COMPARING = {
    "temporal_infonce", "temporal_byol",
    "simclr", "moco_v3", "infonce", "byol", "simsiam", "barlow_twins", "vicreg", "swav", "lejepa",
    "nnclr", "tico", "wmse", "msn", "capi",
    "variance_covariance", "uniformity", "koleo", "sigreg", "hybrid", "dino", "dinov2", "clip", "siglip",
}  # fmt: skip
"""By themselves, or by the batch norm of their heads, as their examples have them."""


@pytest.mark.parametrize("kind", objective_kinds())
def test_every_objective_makes_the_same_step_in_micro_batches(kind):
    """Its example, on the kit's run, in float64: losses, gradients and what it commits."""
    cls = catalog.kinds("objective")[kind]
    assert issubclass(cls, ObjectiveSpec)
    spec = cls.example()
    if spec is None:
        assert cls.unchecked, "says why the kit's run does not fit it"
        pytest.skip(cls.unchecked)
    run = tiny_run.stage(objectives={"check": spec})
    assert compose(run, tiny.CPU).system.compares is (kind in COMPARING)
    micro_batch_promises.require_same_step(
        run, 1 if kind == "mae" else 2, tolerance=1e-6, dtype=torch.float64
    )


VARYING = {"kind": "bernoulli", "ratio": 0.5}
CASES = {
    "simclr": {},
    "v3": {"objective": JOINED["v3"]},
    "options": {"objective": JOINED["options"]},
    "both_ways": {"objective": JOINED["both_ways"]},
    "mixed": {"objective": None, "objectives": MIXED},
    "varying": {"objective": {"kind": "simmim", "masker": VARYING}},
    "difficulty": {
        "objective": {
            **MAE,
            "masker": {"kind": "difficulty", "ratio": 0.5, "share": 1.0},
            "regularize": {"weight": 0.5},
        }
    },
    "clipped": {"optimizer": {**DESCENT, "clip": 0.1, "clip_per": "tensor"}},
    "average": {"nets": {"teacher": {"momentum": 0.9}}},
}


@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_the_whole_batch(case):
    whole, _ = require_same(run_of(**CASES[case]))
    assert all(step.total.isfinite() for step in whole)


def test_the_loss_is_the_one_of_all_images():
    """64 crops are compared, and not 16: ln 63 is what guessing costs."""
    losses, _ = made(run_of(objective={**SIMCLR, "temperature": 100.0}), 1, micro=8)
    assert losses[0].total.item() == pytest.approx(torch.tensor(63.0).log().item(), rel=1e-3)


def test_float32_keeps_six_digits():
    (whole,), (parts,) = require_same(run_of(), steps=1, dtype=torch.float32, bound=1e-6)
    assert parts.total.item() == pytest.approx(whole.total.item(), rel=1e-6)


@pytest.mark.parametrize("micro", [1, 4, 16])
def test_any_number_of_micro_batches_will_do(micro):
    whole, parts = require_same(run_of(), micro, steps=2)
    assert len(whole) == len(parts) == 2


@pytest.mark.parametrize(
    "balance",
    [
        {"kind": "uncertainty"},
        {"kind": "dwa", "steps": 1},
        {"kind": "pcgrad"},
        {"kind": "pcgrad", "space": "features"},
        {"kind": "gradnorm", "space": "features"},
        {"kind": "mgda"},
    ],
    ids=str,
)
def test_balancers_weigh_the_whole_batch(balance):
    whole, parts = require_same(run_of(objective=None, objectives=MIXED, balance=balance), bound=1e-9)
    weights = [name for name in whole[0].values if name.endswith("/weight")]
    assert weights
    for name in weights:
        assert parts[0].values[name].item() == pytest.approx(whole[0].values[name].item(), rel=1e-9)


def test_balancers_that_weigh_tokens_see_the_whole_batch_of_any_objective():
    """Nothing here compares images, but weights are those of the whole batch."""
    terms = {"some": MAE, "most": {**MAE, "masker": {"kind": "random", "ratio": 0.75}}}
    balance = {"kind": "pcgrad", "space": "features"}
    run = run_of(objective=None, objectives=terms, balance=balance, nets={})
    assert not compose(run, tiny.CPU).system.compares
    require_same(run, bound=1e-9)


@pytest.mark.parametrize("balance", ["fixed", "pcgrad"])
def test_conflicts_are_measured_of_the_whole_batch(balance):
    changes = {"log": {"every": 1, "flops": False, "conflict": "1 steps"}, "balance": {"kind": balance}}
    whole, parts = require_same(run_of(objective=None, objectives=MIXED, **changes), bound=1e-9)
    names = [name for name in whole[0].values if name.startswith("balance/")]
    assert len(names) > 6
    for a, b in zip(whole, parts, strict=True):
        for name in names:
            torch.testing.assert_close(b.values[name], a.values[name], rtol=1e-9, atol=1e-9)


class Product(Balancer):
    linear = False

    def forward(self, losses):
        return losses.prod()


def test_a_balancer_that_is_not_linear_gets_the_losses_of_the_whole_batch():
    terms = {"some": MAE, "most": {**MAE, "masker": {"kind": "random", "ratio": 0.75}}}
    totals = []
    for micro in (None, 8):
        run = run_of(objective=None, objectives=terms, nets={}, micro_batch_size=micro)
        parts = compose(run, tiny.CPU)
        nets, objectives = dict(parts.system.nets.items()), dict(parts.system.objectives.items())
        system = System(nets, objectives, Product())
        step = Stepper(run, system, make_maskers(system, parts.env), parts.length, tiny.CPU)
        system.double()
        supply = tiny.feed(run, parts)
        totals.append(torch.stack([step(i, supply.step(i)).total for i in range(2)]))
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-12, atol=0)


def test_dropout_is_the_same_in_both_rounds():
    """The second round would give the gradient of other tokens. Two whole-batch steps of the same masks tell."""
    run = run_of(backbone={**tiny.VIT, "drop_path": 0.5}, micro_batch_size=8, nets={}, steps=8)
    composed = compose(run, tiny.CPU)
    composed.system.double()
    seen, answer = [], composed.system.trained_answers

    def noted(images, masks):
        answers = answer(images, masks)
        seen.append(answers[0].cls.detach().clone())
        return answers

    composed.system.trained_answers = noted
    composed.step(0, tiny.feed(run, composed).step(0))
    first, second = seen[:4], seen[4:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    others = [torch.equal(a, b) for i, a in enumerate(first) for b in first[:i]]
    assert not any(others)
    again = compose(run, tiny.CPU)
    again.system.double()
    torch.rand(7)
    again.step(0, tiny.feed(run, again).step(0))
    assert tiny.same(composed, again), "a step is a function of the seed and its number"


def test_under_bfloat16_the_loss_is_that_of_the_whole_batch():
    run = run_of(precision="bfloat16")
    whole, parts = (made(run, 1, torch.float32, micro)[0][0].total for micro in (None, 8))
    assert parts.dtype == torch.float32
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=0)


def test_graphs_make_the_same_step():
    """One for the student and one for each objective, and no other after the first step."""
    compiled = {"enabled": True, "backend": "aot_eager"}
    changes = {"objective": None, "objectives": {name: MIXED[name] for name in ("mim", "contrast")}}
    changes |= {"backbone": tiny.ONE_BLOCK}
    eager, one = made(run_of(**changes), 2, torch.float32, 8)
    torch._dynamo.reset()
    run = run_of(**changes, compile=compiled, micro_batch_size=8)
    composed = compose(run, tiny.CPU)
    supply = tiny.feed(run, composed)
    losses = [composed.step(0, supply.step(0))]
    with torch._dynamo.config.patch(error_on_recompile=True):
        losses.append(composed.step(1, supply.step(1)))
    torch._dynamo.reset()
    for a, b in zip(eager, losses, strict=True):
        torch.testing.assert_close(b.total, a.total, rtol=1e-5, atol=1e-6)
    weights = one.system.state_dict()
    for name, value in composed.system.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-4, atol=1e-6)


def test_what_scores_each_image_alone_is_not_run_twice():
    run = tiny.spec(micro_batch_size=8)
    system = compose(run, tiny.CPU).system
    assert not system.compares
    assert not needs_whole(system)
    moco = {"kind": "moco_v2", "projector": HEAD, "queue": 72}
    assert not compose(run_of(objective=moco), tiny.CPU).system.compares
    normed = {**moco, "projector": {**HEAD, "norm": True}}
    assert compose(run_of(objective=normed), tiny.CPU).system.compares, "by the batch norm of its head"


CNN = {"kind": "cnn", "name": "test_resnet"}
LARGE = {"global": {**tiny.VIEW, "size": 32, "crops": 2}}


@pytest.mark.parametrize(
    ("backbone", "what"),
    [
        ({}, "net.conv1.1, batch norm of mode 'sync'"),
        ({"batch_norm": "split", "splits": 2}, "net.conv1.1, batch norm of mode 'split'"),
        ({"kind": "timm"}, "module.conv1.1, batch norm of mode 'sync'"),
    ],
)
def test_batch_norm_of_the_whole_batch_is_refused_by_name(backbone, what):
    run = run_of(backbone={**CNN, **backbone}, views=LARGE, micro_batch_size=8, nets={})
    message = f"micro_batch_size: the backbone has statistics of all images of a step ({what})"
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        compose(run, tiny.CPU)
    compose(run_of(backbone={**CNN, **backbone}, views=LARGE, nets={}), tiny.CPU)


def test_statistics_of_micro_batches_count_each_of_them_once():
    """`local` is let pass; the second round must not move running statistics again."""
    run = run_of(backbone={**CNN, "batch_norm": "local"}, views=LARGE, micro_batch_size=8, nets={})
    composed = compose(run, tiny.CPU)
    net = composed.system.nets["student"].net
    batches = list(tiny.feed(run, composed).step(0))
    copied = compose(run, tiny.CPU).system.nets["student"].net.train()
    with torch.no_grad():
        for batch in batches:
            for crop in batch.images["global"]:
                copied(crop)
    composed.step(0, batches)
    assert net.bn1.num_batches_tracked == copied.bn1.num_batches_tracked == 8
    for (name, found), expected in zip(net.named_buffers(), copied.buffers(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)


def test_too_few_micro_batches_are_told():
    run = run_of(micro_batch_size=8)
    composed = compose(run, tiny.CPU)
    batches = list(tiny.feed(run, composed).step(0))
    with pytest.raises(ValueError, match=r"^step 0: 3 micro-batches, expected 4$"):
        composed.step(0, batches[:3])


def test_maskers_observe_the_whole_batch():
    seen = []
    run = run_of(objective=CASES["difficulty"]["objective"], micro_batch_size=8)
    composed = compose(run, tiny.CPU)
    observe = composed.step.masking.observe
    composed.step.masking.observe = lambda batch, *rest: (seen.append(batch), observe(batch, *rest))[1]
    batches = list(tiny.feed(run, composed).step(0))
    composed.step(0, batches)
    (whole,) = seen
    assert isinstance(whole, Batch)
    assert torch.equal(whole.rows, torch.cat([batch.rows for batch in batches]))
    crops = torch.cat([batch.images["global"] for batch in batches], dim=1)
    assert torch.equal(whole.images["global"], crops)


class Undeclared(Objective):
    """Compares images and does not say so."""

    def __init__(self, dim):
        super().__init__()
        self.passes = (Encode("global"),)
        self.head = torch.nn.Linear(dim, 4)

    def forward(self, now, *tokens):
        x = self.head(torch.cat([tokens[0].cls[:, :, None], tokens[0].patch], dim=2).mean(2)).double()
        return Output((x[0] @ x[0].mT).square().mean())


class UndeclaredSpec(ObjectiveSpec):
    kind: str = "undeclared"

    def build(self, env):
        return Undeclared(env.net("student").dim)


class DeclaredSpec(UndeclaredSpec):
    def build(self, env):
        objective = Undeclared(env.net("student").dim)
        objective.compares = True
        return objective


def test_an_objective_that_does_not_say_that_it_compares_is_caught():
    run = tiny_run.stage(objectives={"check": UndeclaredSpec()})
    with pytest.raises(PluginError, match=r"in 2 micro-batches are others: .*`compares = True`"):
        micro_batch_promises.require_same_step(run, 2)
    micro_batch_promises.require_same_step(tiny_run.stage(objectives={"check": DeclaredSpec()}), 2)


def test_the_check_of_a_backbone_with_batch_norm_is_not_offered():
    backbone = parse(tiny.fields(backbone=CNN, views={"global": {**tiny.VIEW, "size": 32}})).backbone
    with pytest.raises(NotOffered, match="refused: micro_batch_size"):
        micro_batch_promises.require_same_step(tiny_run.stage(backbone=backbone), 2)
