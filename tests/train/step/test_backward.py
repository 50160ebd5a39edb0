"""Gradients of the balanced loss, and of each objective weighed by their Gram matrix."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from sslkit.build.maskers import make_maskers
from sslkit.core.balancer import Balancer
from sslkit.core.system import System
from sslkit.errors import SpecError
from sslkit.functional import gradient_weights
from sslkit.runs import metrics_log
from sslkit.train.compose import compose
from sslkit.train.step.stepper import Stepper
from sslkit.train.trainer import Trainer
from tests import tiny
from tests.projecting_balancer import Projecting, project

TERMS = {
    "some": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER},
    "most": {
        "kind": "mae",
        "masker": {"kind": "random", "ratio": 0.75},
        "target": {"kind": "pixel"},
        "decoder": tiny.DECODER,
    },
}

GRAPH = {"backbone": tiny.ONE_BLOCK, "compile": {"enabled": True, "backend": "aot_eager"}}


class Plain(Balancer):
    """Weighs every gradient by 1: the sum, reached by the other road."""

    weighs_gradients = True

    def forward(self, losses):
        return losses.sum()

    def weigh(self, gram, draw):
        return torch.ones(len(gram), dtype=gram.dtype)


class Forgetful(Balancer):
    weighs_gradients = True

    def forward(self, losses):
        return losses.sum()


def composed_with(balancer, **changes):
    """The two-term run with its balancer exchanged, and the gradients that reach the optimizer."""
    run = tiny.spec(objective=None, objectives=TERMS, optimizer={"name": "momentum", "lr": 0.1}, **changes)
    parts = compose(run, tiny.CPU)
    if balancer is not None:
        system = System(dict(parts.system.nets.items()), dict(parts.system.objectives.items()), balancer)
        maskers = make_maskers(system, parts.env)
        parts = parts._replace(system=system, step=Stepper(run, system, maskers, parts.length, tiny.CPU))
    return run, parts


def gradients_of(balancer, steps=2, **changes):
    run, parts = composed_with(balancer, **changes)
    found = {}
    update = parts.step.optimizer.step

    def keep(*args, **kwargs):
        found.update({n: p.grad.clone() for n, p in parts.system.named_parameters() if p.grad is not None})
        return update(*args, **kwargs)

    parts.step.optimizer.step = keep
    feed = tiny.feed(run, parts)
    losses = [parts.step(i, feed.step(i)).total.item() for i in range(steps)]
    return found, losses, parts


def worst(found, expected):
    scale = max(value.abs().max() for value in expected.values())
    return max((found[name] - expected[name]).abs().max() for name in expected) / scale


@pytest.mark.parametrize("micro", [None, 8])
def test_weights_of_one_equal_the_sum_of_the_losses(micro):
    summed, losses, _ = gradients_of(None, micro_batch_size=micro)
    weighed, again, _ = gradients_of(Plain(), micro_batch_size=micro)
    assert summed.keys() == weighed.keys()
    assert worst(weighed, summed) < 1e-5
    assert again == pytest.approx(losses, rel=1e-5)


def test_the_gram_matrix_is_that_of_the_whole_step():
    """Micro-batches are joined before products are taken."""
    whole, parts = Projecting(), Projecting()
    one, _, _ = gradients_of(whole)
    two, _, _ = gradients_of(parts, micro_batch_size=8)
    assert worst(two, one) < 1e-5
    for a, b in zip(whole.seen, parts.seen, strict=True):
        assert a.dtype == torch.float64
        assert torch.allclose(a, b, rtol=1e-4)
        assert torch.equal(a, a.T)


def test_heads_keep_the_gradient_of_their_own_loss():
    """Only shared parameters are weighed; each decoder sees its objective alone, unweighed."""
    summed, _, _ = gradients_of(None, steps=1)
    projected, _, _ = gradients_of(Projecting(), steps=1)
    heads = {name: value for name, value in summed.items() if name.startswith("objectives.")}
    assert heads
    assert worst({name: projected[name] for name in heads}, heads) < 1e-5


@pytest.mark.parametrize("space", ["parameters", "features"])
def test_what_no_loss_reaches_is_told_as_it_is_of_a_sum(space):
    """Zeros in place of no gradient would let weight decay shrink it, and nobody would know."""
    run, parts = composed_with(Noted((1.0, 1.0), space))
    parts.system.nets["student"].idle = torch.nn.Parameter(torch.ones(3))
    step = Stepper(run, parts.system, make_maskers(parts.system, parts.env), parts.length, tiny.CPU)
    with pytest.raises(SpecError, match=r"1 parameters take no part in any loss.*student\.idle"):
        step(0, tiny.feed(run, parts).step(0))


def test_features_that_no_loss_reads_get_no_gradient(monkeypatch):
    """Two terms on the class token: no zeros for the patches go back through the student."""
    shapes = []
    products = gradient_weights.products

    def seen(rows):
        shapes.append(tuple(rows.shape))
        return products(rows)

    monkeypatch.setattr(gradient_weights, "products", seen)
    terms = {"one": {"kind": "uniformity"}, "two": {"kind": "koleo"}}
    run = tiny.spec(objective=None, objectives=terms, balance={"kind": "pcgrad", "space": "features"})
    parts = compose(run, tiny.CPU)
    parts.step(0, tiny.feed(run, parts).step(0))
    assert shapes == [(2, run.batch_size * parts.env.net("student").dim)]


def test_the_draw_of_a_balancer_is_one_row_that_changes_with_the_step():
    balancer = Projecting()
    drawn = []
    original = balancer.weigh

    def weigh(gram, draw):
        drawn.append((draw.shape, draw.permutation(50).tolist()))
        return original(gram, draw)

    balancer.weigh = weigh
    gradients_of(balancer, steps=3)
    assert [shape for shape, _ in drawn] == [torch.Size([1])] * 3
    assert drawn[0][1] != drawn[1][1] != drawn[2][1]


@pytest.mark.parametrize("case", ["conflict4", "noconflict3", "two", "selfproj3"])
@pytest.mark.parametrize("order", ["fixed", "perm"])
def test_products_are_all_that_pcgrad_needs(golden, case, order):
    """Weights from the Gram matrix give WeiChengTseng/Pytorch-PCGrad@e987ac6's gradients, without self-projection."""
    arrays = golden("pcgrad")
    rows = arrays[f"G_{case}"]
    weights = project(rows @ rows.T, arrays[f"order_{case}_{order}"].tolist())
    assert torch.allclose(weights @ rows, arrays[f"sum_noself_{case}_{order}"], atol=1e-10)


def test_several_backwards_through_one_compiled_graph():
    torch._dynamo.reset()
    counters.clear()
    eager, losses, _ = gradients_of(Projecting(), backbone=tiny.ONE_BLOCK)
    compiled, again, _ = gradients_of(Projecting(), **GRAPH)
    assert worst(compiled, eager) < 1e-4
    assert again == pytest.approx(losses, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


def test_resuming_with_weighed_gradients_is_bit_equal():
    run, whole = composed_with(Projecting())
    feed = tiny.feed(run, whole)
    losses = [whole.step(i, feed.step(i)).total.item() for i in range(4)]
    _, first = composed_with(Projecting())
    for i in range(2):
        first.step(i, feed.step(i))
    _, second = composed_with(Projecting())
    second.step.load_state_dict(first.step.state_dict())
    assert [second.step(i, feed.step(i)).total.item() for i in range(2, 4)] == losses[2:]
    assert tiny.same(whole, second)


def test_a_balancer_that_promises_weights_must_give_them():
    with pytest.raises(AssertionError, match="Forgetful sets `weighs_gradients` but has no `weigh`"):
        gradients_of(Forgetful())


# features


class Noted(Balancer):
    """Weighs by constants and keeps the products it saw."""

    weighs_gradients = True

    def __init__(self, weights, space):
        super().__init__()
        self.constants, self.space, self.seen, self.told = weights, space, [], []

    def forward(self, losses):
        return losses.sum()

    def weigh(self, gram, draw):
        self.seen.append(gram)
        return torch.tensor(self.constants, dtype=gram.dtype)

    def commit(self, losses, gram):
        self.told.append((losses, gram))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.25, 3.0)])
def test_constant_weights_give_one_gradient_in_both_spaces(weights):
    """The chain rule: weighing on the tokens and going back once is weighing on the parameters."""
    exact, _, _ = gradients_of(Noted(weights, "parameters"))
    once, _, _ = gradients_of(Noted(weights, "features"))
    assert once.keys() == exact.keys()
    assert worst(once, exact) < 1e-5


def test_products_on_features_are_those_of_gradients_on_tokens():
    """Against gradients that autograd takes of each loss on what the student answered, at the first step."""
    balancer = Noted((1.0, 1.0), "features")
    run, parts = composed_with(balancer)
    (batch,) = tiny.feed(run, parts).step(0)
    masks = parts.step.masking.sample(batch, {}, 0, 0.0)
    stepped = parts.system(batch.images, masks, parts.step._now)
    leaves = [cut.leaf for cut in stepped.cuts]
    assert all(torch.equal(cut.leaf, cut.answer) and cut.leaf.is_leaf for cut in stepped.cuts)
    rows = [
        torch.cat([
            torch.zeros(leaf.numel()) if part is None else part.flatten()
            for leaf, part in zip(leaves, torch.autograd.grad(loss, leaves, allow_unused=True), strict=True)
        ])
        for loss in stepped.losses
    ]  # fmt: skip
    parts.step(0, [batch])
    matrix = torch.stack(rows).double()
    assert torch.allclose(balancer.seen[0], matrix @ matrix.T, rtol=1e-4, atol=1e-12)


def test_terms_that_share_a_pass_meet_on_one_leaf():
    """Two terms on one masked pass: products of their gradients, not zeros of two copies."""
    same = {"one": TERMS["some"], "two": {**TERMS["some"], "target": {"kind": "pixel"}}}
    run = tiny.spec(objective=None, objectives=same, balance={"kind": "pcgrad", "space": "features"})
    parts = compose(run, tiny.CPU)
    told = parts.step(0, tiny.feed(run, parts).step(0)).values
    assert told["balance/one_two/cosine"].abs() > 1e-3


def test_the_bound_that_features_minimize():
    """|sum w dL/dtheta| <= |dZ/dtheta| |sum w dL/dZ|: where weights cancel the tokens' gradient, all of it is 0."""
    twice = {"one": TERMS["some"], "two": TERMS["some"]}
    run = tiny.spec(objective=None, objectives=twice)
    parts = compose(run, tiny.CPU)
    parts.system.objectives["two"].load_state_dict(parts.system.objectives["one"].state_dict())
    system = System(
        dict(parts.system.nets.items()),
        dict(parts.system.objectives.items()),
        Noted((1.0, -1.0), "features"),
    )
    step = Stepper(run, system, make_maskers(system, parts.env), parts.length, tiny.CPU)
    seen = {}

    def keep():
        student = system.nets["student"]
        seen.update({n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None})

    step.optimizer.step = keep
    step(0, tiny.feed(run, parts).step(0))
    assert seen
    assert max(gradient.abs().max() for gradient in seen.values()) < 1e-7


def test_features_compile_to_a_graph_for_the_student_and_one_for_each_term():
    torch._dynamo.reset()
    counters.clear()
    eager, losses, _ = gradients_of(Noted((0.5, 2.0), "features"), backbone=tiny.ONE_BLOCK)
    compiled, again, _ = gradients_of(Noted((0.5, 2.0), "features"), **GRAPH)
    assert worst(compiled, eager) < 1e-4
    assert again == pytest.approx(losses, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 3
    torch._dynamo.reset()


# what balancers are told


@pytest.mark.parametrize("micro", [None, 8])
def test_a_balancer_hears_of_the_mean_losses_of_every_step(micro):
    balancer = Noted((1.0, 1.0), "parameters")
    _, _, parts = gradients_of(balancer, steps=2, micro_batch_size=micro)
    assert len(balancer.told) == 2
    for (losses, gram), seen in zip(balancer.told, balancer.seen, strict=True):
        assert losses.shape == (2,)
        assert not losses.requires_grad
        assert gram is seen
    run, parts = composed_with(None, micro_batch_size=micro)
    first = parts.step(0, tiny.feed(run, parts).step(0)).values
    assert balancer.told[0][0].tolist() == pytest.approx([first[f"loss/{n}"].item() for n in TERMS], rel=1e-6)


def test_a_balancer_is_told_the_length_once():
    class Asking(Noted):
        lengths = ()

        def prepare(self, length):
            self.lengths = (*self.lengths, length)

    balancer = Asking((1.0, 1.0), "parameters")
    _, parts = composed_with(balancer)
    assert balancer.lengths == (parts.length,)


# measuring


MEASURED = {"log": {"conflict": "2 steps"}}


@pytest.mark.parametrize("micro", [None, 8])
def test_measuring_changes_no_bit_of_the_gradient(micro):
    plain, losses, _ = gradients_of(None, steps=4, micro_batch_size=micro)
    measured, again, _ = gradients_of(None, steps=4, micro_batch_size=micro, **MEASURED)
    assert again == losses
    assert all(torch.equal(measured[name], value) for name, value in plain.items())


def test_what_is_measured_is_what_a_gradient_balancer_sees():
    balancer = Noted((1.0, 1.0), "parameters")
    run, parts = composed_with(balancer)
    feed = tiny.feed(run, parts)
    expected = [parts.step(i, feed.step(i)).values for i in range(2)]
    for micro in (None, 8):
        run, parts = composed_with(None, micro_batch_size=micro, **MEASURED)
        feed = tiny.feed(run, parts)
        found = [parts.step(i, feed.step(i)).values for i in range(2)]
        assert "balance/conflict" not in found[0]
        for key in ("balance/some/gradient_norm", "balance/some_most/cosine", "balance/conflict"):
            assert found[1][key].item() == pytest.approx(expected[1][key].item(), rel=1e-4, abs=1e-5)


def test_measuring_through_one_compiled_graph():
    torch._dynamo.reset()
    counters.clear()
    eager, _, _ = gradients_of(None, backbone=tiny.ONE_BLOCK, **MEASURED)
    compiled, _, _ = gradients_of(None, **GRAPH, **MEASURED)
    assert worst(compiled, eager) < 1e-4
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


def test_a_measured_step_is_recorded_whatever_the_period_of_records(tmp_path):
    run = tiny.spec(
        tmp_path, objective=None, objectives=TERMS, log={"every": 5, "conflict": "3 steps"}, steps=7
    )
    Trainer(run, tiny.CPU).run()
    told = {r["step"]: r for r in metrics_log.read(tmp_path) if "loss" in r}
    assert [step for step, r in told.items() if "balance/some_most/cosine" in r] == [3, 6]
    assert sorted(told) == [1, 3, 5, 6, 7]
    assert all(r["balance/some/weight"] == 1 for r in told.values())
