"""Counting operations without running them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output
from sslkit.runs.budget import total_flops
from sslkit.train.compose import compose
from sslkit.train.resolved_values import flops_of
from tests import tiny
from tests.distributed import flops_worker
from tests.distributed.forked import on_ranks
from tests.fakes_train import compose_with

MIM = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
CONTRAST = {"kind": "infonce", "projector": {"hidden": 8, "out": 4, "norm": True}}
SHARED = {"mim": MIM, "contrast": {**CONTRAST, "masker": MIM["masker"]}}
TWO = {"global": {**tiny.VIEW, "crops": 2}}
TAUGHT = {"kind": "dino", "local": None, "head": {"hidden": 8, "bottleneck": 4}, "prototypes": 16}
HYBRID = {"objective": None, "objectives": SHARED, "views": TWO}
CASES = {
    "mae": {},
    "micro-batches": {"micro_batch_size": 8},
    "teacher": {"objective": TAUGHT, "views": TWO, "nets": {"teacher": {"momentum": 0.9}}},
    "hybrid": HYBRID,
    "features": {**HYBRID, "balance": {"kind": "pcgrad", "space": "features"}},
    "convolutions": {"objective": CONTRAST, "views": TWO, "backbone": {"kind": "cnn", "name": "resnet10t"}},
}


def counted(run, composed):
    return flops_of(run, composed, tiny.CPU)


def ran(run, composed):
    """What torch counts in a step that is really made."""
    batches = list(tiny.feed(run, composed).step(0))
    with FlopCounterMode(display=False) as counter:
        composed.step(0, batches)
    return counter.get_total_flops()


@pytest.mark.parametrize("case", CASES)
def test_as_many_as_a_real_step_makes(case):
    run = tiny.spec(**CASES[case])
    composed = compose(run, tiny.CPU)
    found = counted(run, composed)
    products = (
        2 * 2 * 2 * 2 * (32 * 2 * 5 * 16) if case == "features" else 0
    )  # Gram matrix and sum of two gradients
    real = ran(run, composed)
    assert list(found) == [0]
    assert found[0] > 1e6
    assert abs(real - found[0]) <= products


def test_every_backward_of_a_balancer_of_gradients_counts():
    run = tiny.spec(**HYBRID, balance={"kind": "pcgrad"})
    composed = compose(run, tiny.CPU)
    found = counted(run, composed)[0]
    shared = sum(p.numel() for p in composed.system.nets["student"].parameters() if p.requires_grad)
    assert ran(run, composed) - found == 2 * shared * (2 * 2) + 2 * shared * 2, "Gram matrix, weighed sum"
    fixed = tiny.spec(**HYBRID)
    assert found > counted(fixed, compose(fixed, tiny.CPU))[0]


def test_nothing_changes():
    """Weights, buffers, gradients, torch's generator: a run that counts is the run that does not."""
    run = tiny.spec(**CASES["teacher"])
    composed = compose(run, tiny.CPU)
    before, generator = {k: v.clone() for k, v in composed.system.state_dict().items()}, torch.get_rng_state()
    counted(run, composed)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in composed.system.state_dict().items())
    assert all(p.grad is None and not p.is_meta for p in composed.system.parameters())
    other, losses = tiny.steps(run, 2)
    supply = tiny.feed(run, composed)
    assert [composed.step(i, supply.step(i)).total.item() for i in range(2)] == losses
    assert tiny.same(composed, other)


@pytest.mark.parametrize("case", ["mae", "features"])
def test_what_is_compiled_is_counted_as_it_was(case):
    plain = tiny.spec(**CASES[case])
    run = plain.model_copy(
        update={"compile": plain.compile.model_copy(update={"enabled": True, "backend": "aot_eager"})}
    )
    assert counted(run, compose(run, tiny.CPU)) == counted(plain, compose(plain, tiny.CPU))


def test_masks_that_change_cost_something_else():
    masker = {
        "kind": "curriculum",
        "masker": {"kind": "random"},
        "field": "ratio",
        "start": 0.25,
        "end": 0.75,
    }
    run = tiny.spec(objective={**MIM, "masker": {**masker, "levels": 3}})
    found = counted(run, compose(run, tiny.CPU))
    assert list(found) == [0, 2, 6]
    assert found[0] > found[2] > found[6]
    assert total_flops(found, 8) == 2 * found[0] + 4 * found[2] + 2 * found[6]


@pytest.mark.parametrize(("steps", "total"), [(0, 0), (1, 10), (3, 30), (5, 34), (9, 51)])
def test_the_first_steps_of_a_run(steps, total):
    assert total_flops({0: 10, 3: 2, 6: 5}, steps) == total


class Reading(Objective):
    """Asks for a value of a tensor, as a training step must not but somebody's may."""

    passes = (Encode("global"),)

    def forward(self, now, tokens):
        loss = tokens.patch.square().mean()
        return Output(loss * (2 if loss.item() > 1 else 1))


def test_an_objective_that_reads_values_cannot_be_counted():
    run = tiny.spec(nets={"teacher": {"momentum": 0.9}})
    assert counted(run, compose_with(run, lambda dim, steps: Reading())) is None


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_count_the_whole_step(parallel, tmp_path):
    """The first rank counts alone: nobody answers a collective."""
    on_ranks(flops_worker.main, parallel, tmp_path / "flops")
    run = flops_worker.run()
    assert int((tmp_path / "flops").read_text()) == counted(run, compose(run, tiny.CPU))[0]
