"""Gradients that reach the optimizer, against autograd on the losses of a step: every space, cut and balancer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.core.random_stream import Draw
from sslkit.functional import gradient_weights
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, compose
from sslkit.train.step.backward import OfEach, OfFeatures, OfTotal, Sum, backward_of
from tests import tiny
from tests.plugins.balancers.runs import BALANCERS, ON_GRADIENTS, TERMS

SHARED = {"one": TERMS["some"], "two": {**TERMS["some"], "target": {"kind": "pixel"}}}
"""Two terms that read one pass, so that their gradients meet on parameters and on tokens."""
HEAD = "objectives."
STUDENT = "nets.student."


def needs(name: str) -> None:
    if name.startswith("torchjd"):
        pytest.importorskip("torchjd")


def run_of(balance: dict[str, Any], **changes: Any) -> RunSpec:
    fields = {"objective": None, "objectives": SHARED, "balance": balance, "batch_size": 8, **changes}
    return tiny.spec(**fields)


def made(spec: RunSpec) -> tuple[Composed, dict[str, Tensor], dict[str, Tensor]]:
    """The parts after the first step, the gradients that reached the optimizer, and what the step told."""
    parts = compose(spec, tiny.CPU)
    kept: dict[str, Tensor] = {}

    def keep(*_args: Any, **_kwargs: Any) -> None:
        kept.update({n: p.grad.clone() for n, p in parts.system.named_parameters() if p.grad is not None})

    parts.step.optimizer.step = keep  # type: ignore[method-assign, assignment]
    told = parts.step(0, tiny.feed(spec, parts).step(0))
    return parts, kept, {"loss": told.total, **told.values}


def by_autograd(spec: RunSpec) -> tuple[list[dict[str, Tensor]], Tensor]:
    """Each term's gradient on every parameter that it reaches, in the first step, and their products on the student."""
    parts = compose(spec, tiny.CPU)
    (batch,) = tiny.feed(spec, parts).step(0)
    masks = parts.step.masking.sample(batch, {}, 0, 0.0)
    stepped = parts.system(batch.images, masks, parts.step._now)
    trained = {n: p for n, p in parts.system.named_parameters() if p.requires_grad}
    found: list[dict[str, Tensor]] = []
    rows = []
    for loss in stepped.losses:
        values = torch.autograd.grad(loss, list(trained.values()), retain_graph=True, allow_unused=True)
        one = {n: g for n, g in zip(trained, values, strict=True) if g is not None}
        found.append(one)
        rows.append(torch.cat([g.flatten().double() for n, g in one.items() if n.startswith(STUDENT)]))
    matrix = torch.stack(rows)
    return found, matrix @ matrix.T


@pytest.fixture(scope="module")
def alone() -> tuple[list[dict[str, Tensor]], Tensor]:
    """The terms' own gradients. No balancer changes them."""
    return by_autograd(run_of({"kind": "fixed"}))


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-8))


@pytest.mark.parametrize("name", [n for n in BALANCERS if n not in {"fixed", "uncertainty", "dwa"}])
def test_the_student_moves_along_the_weighed_gradients(alone: Any, name: str) -> None:
    """In both spaces: sum of w_k g_k, with the weights that the step told."""
    needs(name)
    own, _ = alone
    _, kept, told = made(run_of(BALANCERS[name]))
    weights = [told[f"balance/{term}/weight"].item() for term in SHARED]
    for key in own[0]:
        if key.startswith(STUDENT):
            expected = sum(w * one[key] for w, one in zip(weights, own, strict=True))
            assert near(kept[key], expected, 1e-3), key  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [n for n in BALANCERS if n not in {"fixed", "uncertainty", "dwa"}])
def test_heads_move_along_their_own_loss(alone: Any, name: str) -> None:
    needs(name)
    own, _ = alone
    _, kept, _ = made(run_of(BALANCERS[name]))
    heads = {key: value for one in own for key, value in one.items() if key.startswith(HEAD)}
    assert any("objectives.one" in key for key in heads)
    assert any("objectives.two" in key for key in heads)
    assert all(near(kept[key], value) for key, value in heads.items())


def test_under_a_balancer_of_losses_heads_move_with_the_weight(alone: Any) -> None:
    own, _ = alone
    _, kept, told = made(run_of({"kind": "uncertainty", "initial": 1.0}))
    for term, one in zip(SHARED, own, strict=True):
        weight = told[f"balance/{term}/weight"].item()
        assert weight == pytest.approx(0.5 / torch.e, rel=1e-5)
        heads = {key: value for key, value in one.items() if key.startswith(HEAD)}
        assert heads
        assert all(near(kept[key], weight * value) for key, value in heads.items())


def test_what_is_told_are_lengths_and_cosines_on_the_student(alone: Any) -> None:
    _, gram = alone
    _, _, told = made(run_of({"kind": "pcgrad"}))
    for term, length in zip(SHARED, gradient_weights.norms(gram).tolist(), strict=True):
        assert told[f"balance/{term}/gradient_norm"].item() == pytest.approx(length, rel=1e-4)
    assert told["balance/one_two/cosine"].item() == pytest.approx(
        gradient_weights.cosines(gram)[0, 1].item(), abs=1e-4
    )


@pytest.mark.parametrize("name", ["cagrad", "mgda", "imtl_g", "nash", "gradnorm"])
def test_weights_are_the_rules_of_the_products(alone: Any, name: str) -> None:
    """What a run does with a batch is what the rule says of the products by autograd."""
    _, gram = alone
    spec = run_of(ON_GRADIENTS[name])
    _, _, told = made(spec)
    balancer = spec.balance.build(list(SHARED))
    expected = balancer.weigh(gram, Draw(0, torch.zeros(1, dtype=torch.int64)))
    found = [told[f"balance/{term}/weight"].item() for term in SHARED]
    assert found == pytest.approx(expected.tolist(), rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_weight_of_a_term_scales_its_gradient_and_its_heads(alone: Any, factor: float) -> None:
    own, gram = alone
    terms = {"one": SHARED["one"], "two": {**SHARED["two"], "weight": factor}}
    _, kept, told = made(run_of({"kind": "imtl_g"}, objectives=terms))
    length = gradient_weights.norms(gram)[1].item()
    assert told["balance/two/gradient_norm"].item() == pytest.approx(factor * length, rel=1e-4)
    heads = {key: value for key, value in own[1].items() if key.startswith("objectives.two")}
    assert heads
    assert all(near(kept[key], factor * value) for key, value in heads.items())


@pytest.mark.parametrize("space", ["parameters", "features"])
def test_directions_of_imtl_g_do_not_see_the_weight_of_a_term(space: str) -> None:
    """IMTL-G's direction is the same whatever the lengths of gradients, up to its own length."""
    rows = []
    for factor in (1.0, 5.0):
        terms = {"one": SHARED["one"], "two": {**SHARED["two"], "weight": factor}}
        _, kept, _ = made(run_of({"kind": "imtl_g", "space": space}, objectives=terms))
        row = torch.cat([g.flatten() for n, g in sorted(kept.items()) if n.startswith(STUDENT)])
        rows.append(row / row.norm())
    assert (rows[0] @ rows[1]).item() == pytest.approx(1.0, abs=1e-4)


def test_a_term_that_fades_in_from_0_is_no_gradient_yet() -> None:
    """Every rule takes it: the other term's gradient goes alone, and nothing is not a number."""
    terms = {"one": SHARED["one"], "two": {**SHARED["two"], "weight": {"start": 0.0, "end": 1.0}}}
    for name, balance in ON_GRADIENTS.items():
        if name == "torchjd":
            continue
        _, kept, told = made(run_of(balance, objectives=terms))
        assert all(value.isfinite().all() for value in kept.values()), name
        assert told["balance/two/gradient_norm"].item() == 0, name
        assert all(not kept[key].any() for key in kept if key.startswith("objectives.two")), name
    _, kept, _ = made(run_of({"kind": "pcgrad"}, objectives=terms))
    _, plain, _ = made(run_of({"kind": "fixed"}, objectives=terms))
    assert all(near(kept[key], value) for key, value in plain.items() if key.startswith(STUDENT))


def test_reduced_precision_keeps_products_wide_and_near(alone: Any) -> None:
    _, gram = alone
    for space in ("parameters", "features"):
        spec = run_of({"kind": "pcgrad", "space": space}, precision="bfloat16")
        parts, kept, told = made(spec)
        assert all(value.dtype == torch.float32 for value in kept.values())
        assert all(value.isfinite().all() for value in told.values())
        assert all(p.dtype == torch.float32 for p in parts.system.parameters())
    _, _, told = made(run_of({"kind": "pcgrad"}, precision="bfloat16"))
    found = [told[f"balance/{term}/gradient_norm"].item() for term in SHARED]
    assert found == pytest.approx(gradient_weights.norms(gram).tolist(), rel=0.1)


@pytest.mark.parametrize("kind", ["pcgrad", "cagrad"])
def test_clipping_is_of_the_joined_gradient(kind: str) -> None:
    free = made(run_of({"kind": kind}))[1]
    total = torch.stack([value.norm() for value in free.values()]).norm().item()
    clipped = made(run_of({"kind": kind}, optimizer={"lr": 0.01, "clip": total / 2}))[1]
    for key, value in free.items():
        assert near(clipped[key], value / 2, 1e-3), key


# rows


def test_rows_are_added_up_in_one_place() -> None:
    """As large as K rows, however many micro-batches there are; nothing stays of them."""
    rows = Sum()
    assert rows.take() is None
    parts = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    held = None
    for micro in parts:
        for i, row in enumerate(micro):
            rows.add(i, 2, row)
        assert rows._rows is not None
        held = held or rows._rows.data_ptr()
        assert rows._rows.data_ptr() == held
    found = rows.take()
    assert found is not None
    assert torch.equal(found, (parts[0] + parts[1]) + parts[2])
    assert rows.take() is None


def test_a_row_that_is_added_is_not_changed() -> None:
    rows, row = Sum(), torch.ones(3)
    rows.add(0, 2, row)
    rows.add(0, 2, row)
    assert row.tolist() == [1, 1, 1]
    found = rows.take()
    assert found is not None
    assert found.tolist() == [[2, 2, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ("balance", "kind"),
    [
        ({"kind": "fixed"}, OfTotal),
        ({"kind": "dwa"}, OfTotal),
        ({"kind": "uncertainty"}, OfTotal),
        ({"kind": "pcgrad"}, OfEach),
        ({"kind": "gradnorm"}, OfEach),
        ({"kind": "pcgrad", "space": "features"}, OfFeatures),
    ],
)
def test_a_balancer_gets_the_backward_that_it_wants(balance: dict[str, Any], kind: type) -> None:
    parts = compose(run_of(balance), tiny.CPU)
    assert type(parts.step.backward) is kind
    assert type(backward_of(parts.system, tiny.CPU)) is kind
