"""Balancers that are functions of the products of gradients, and torchjd's."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from sslkit import IMTLG, MGDA, CAGrad, NashMTL, PCGrad, TorchJD
from sslkit.core.balancer import Balancer
from sslkit.core.random_stream import Draw
from sslkit.errors import SpecError
from sslkit.functional import gradient_weights
from sslkit.specs.load import parse
from sslkit_balancers import specs
from tests import tiny
from tests.plugins.balancers.runs import TERMS

NAMES = ["a", "b", "c"]


def matrix(seed: int = 0, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(count, 6, dtype=torch.float64, generator=generator)
    return made - 0.8 * made.mean(0)


def draw(key: int = 0) -> Draw:
    return Draw(key, torch.zeros(1, dtype=torch.int64))


def weights(balancer: Balancer, rows: Tensor, key: int = 0) -> Tensor:
    return balancer.weigh(rows @ rows.T, draw(key))


@pytest.mark.parametrize("spec", [PCGrad(), CAGrad(), MGDA(), IMTLG(), NashMTL()], ids=lambda spec: spec.kind)
def test_all_of_them_weigh_gradients_and_report_the_sum(spec) -> None:  # type: ignore[no-untyped-def]
    for space in ("parameters", "features"):
        made = spec.model_copy(update={"space": space}).build(NAMES)
        assert made.weighs_gradients
        assert made.space == space
        assert made.factors() is None
        assert made(torch.tensor([1.0, 2.0, 4.0])).item() == 7
        assert made.state_dict() == {}


def test_pcgrads_order_is_drawn_and_uniform() -> None:
    """Each step another order, of each gradient's own; equal keys give equal weights."""
    balancer, rows = PCGrad().build(NAMES), matrix()
    assert torch.equal(weights(balancer, rows, 5), weights(balancer, rows, 5))
    found = {tuple(weights(balancer, rows, key).tolist()) for key in range(20)}
    assert len(found) > 1
    orders = torch.tensor([[i, j] for i in range(3) for j in range(3)])
    possible = [
        gradient_weights.pcgrad(rows @ rows.T, torch.stack([o(0, a), o(1, b), o(2, c)]))
        for a, b in orders.tolist()
        for c in range(3)
    ]
    for one in found:
        assert any(torch.allclose(torch.tensor(one, dtype=torch.float64), other) for other in possible)


def o(own: int, turn: int) -> Tensor:
    """An order in which a gradient visits itself and the two others."""
    others = [i for i in range(3) if i != own]
    return torch.tensor([own, *(others if turn % 2 else others[::-1])])


def test_cagrads_scale() -> None:
    """The code's rescale = 1 divides by 1 + c^2; without it the paper's algorithm remains."""
    rows = matrix(1)
    plain, scaled = (CAGrad(c=0.4, rescale=r).build(NAMES) for r in (False, True))
    assert torch.equal(weights(plain, rows), gradient_weights.cagrad(rows @ rows.T, 0.4))
    assert torch.allclose(weights(scaled, rows) * 1.16, weights(plain, rows))


def test_mgda_of_unit_vectors() -> None:
    """`l2` of the reference's normalizers: the shortest combination of the unit vectors, a gradient of 0 aside."""
    rows = matrix(2)
    rows[0] *= 100
    units = rows / rows.norm(dim=1, keepdim=True)
    found = weights(MGDA(normalize=True).build(NAMES), rows) @ rows
    assert torch.allclose(found, gradient_weights.min_norm(units @ units.T) @ units)
    rows[1] = 0
    assert weights(MGDA(normalize=True).build(NAMES), rows).isfinite().all()


def test_nash_is_scaled_as_its_code_does_it() -> None:
    """AvivNavon/nash-mtl@8748f1a solves for the Gram matrix over its norm, and clips the direction's norm at 1."""
    rows = matrix(3)
    gram = rows @ rows.T
    free = weights(NashMTL(max_norm=None).build(NAMES), rows)
    scaled = gram / gram.norm()
    assert torch.allclose(free * (scaled @ free), torch.ones(3, dtype=torch.float64), atol=1e-6)
    for factor in (1e-3, 1.0, 1e3):
        length = (weights(NashMTL().build(NAMES), factor * rows) @ (factor * rows)).norm().item()
        assert length == pytest.approx(min(1.0, factor * (free @ rows).norm().item()), rel=1e-6)
    assert weights(NashMTL().build(NAMES), rows * 0).tolist() == [0, 0, 0]


# torchjd


def test_an_aggregator_by_its_name() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows = matrix(4)
    for name, options in (("AlignedMTL", {}), ("MGDA", {"max_iters": 50}), ("Krum", {"n_byzantine": 0})):
        found = weights(TorchJD(aggregator=name, options=options).build(NAMES), rows) @ rows
        assert torch.allclose(found, getattr(aggregation, name)(**options)(rows)), name


def test_random_aggregators_draw_by_the_step_and_leave_torchs_generator_alone() -> None:
    pytest.importorskip("torchjd")
    balancer, rows = TorchJD(aggregator="PCGrad").build(NAMES), matrix()
    before = torch.get_rng_state()
    assert torch.equal(weights(balancer, rows, 3), weights(balancer, rows, 3))
    assert len({tuple(weights(balancer, rows, key).tolist()) for key in range(12)}) > 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["IMTLG", "AlignedMTL", "MGDA", "PCGrad"])
def test_a_loss_that_is_not_finite_is_left_to_the_run_to_report(name: str) -> None:
    pytest.importorskip("torchjd")
    rows = matrix()
    rows[1, 0] = torch.nan
    assert weights(TorchJD(aggregator=name).build(NAMES), rows).isnan().all()


def test_aggregators_that_need_more_than_products_are_refused() -> None:
    pytest.importorskip("torchjd")
    for name in ("ConFIG", "GradVac", "NashMTL", "aligned_mtl", "Tensor"):
        with pytest.raises(SpecError, match=rf"^aggregator: '{name}' .* Known: AlignedMTL, "):
            TorchJD(aggregator=name).build(NAMES)
    with pytest.raises(
        SpecError, match=r"^options: torchjd's MGDA cannot be used with them: .*unexpected keyword"
    ):
        TorchJD(aggregator="MGDA", options={"turns": 3}).build(NAMES)
    with pytest.raises(SpecError, match=r"^options: torchjd's AlignedMTL cannot .*'foo'[^\n]*$"):
        TorchJD(aggregator="AlignedMTL", options={"scale_mode": "foo"}).build(NAMES)


def test_without_torchjd_a_person_learns_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = tiny.fields(objective=None, objectives=TERMS, balance={"kind": "torchjd"})
    monkeypatch.setattr(specs, "find_spec", lambda name: None)
    with pytest.raises(
        SpecError, match=r'^balance: needs the package torchjd; install it with `pip install "sslkit'
    ):
        parse(fields)
    assert TorchJD.example() is None
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(
        SpecError, match=r'needs the package torchjd .*; install it with `pip install "sslkit'
    ):
        TorchJD().build(NAMES)
