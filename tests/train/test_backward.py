"""Gradients of the balanced loss, and of each objective weighed by their Gram matrix."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from sslkit.core.balancer import Balancer
from sslkit.core.system import System
from sslkit.train.compose import compose, make_maskers
from sslkit.train.stepper import Stepper
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
    eager, losses, _ = gradients_of(Projecting())
    compiled, again, _ = gradients_of(Projecting(), compile={"enabled": True, "backend": "aot_eager"})
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
