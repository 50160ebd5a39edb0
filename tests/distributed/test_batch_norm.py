"""Batch norm of two gloo ranks against one process that has all rows."""

from __future__ import annotations

import pytest
import torch

from tests.distributed import batch_norm_worker as worker
from tests.distributed.forked import on_ranks


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.pt"
    on_ranks(worker.main, path)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "one.pt"
    worker.main(str(path))
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("kind", [*worker.KINDS, "compiled sync", "compiled shuffled"])
def test_two_ranks_equal_one_process(two, one, kind):
    """Outputs, outputs of a copy, all gradients and running statistics; eager and compiled to one graph."""
    assert two[kind].keys() == one[kind].keys()
    for name, expected in one[kind].items():
        torch.testing.assert_close(two[kind][name], expected, rtol=1e-10, atol=1e-10, msg=f"{kind} {name}")


def test_one_process_is_torchs_batch_norm(one):
    """So that the two above are, too."""
    x, weights = worker.images((2, 3))
    norm = torch.nn.BatchNorm2d(worker.CHANNELS).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 1, worker.CHANNELS))
        norm.bias.copy_(torch.linspace(-1, 2, worker.CHANNELS))
    for _ in range(3):
        norm.zero_grad()
        own = x.clone().requires_grad_()
        out = norm(own)
        (out * weights).sum().backward()
    expected = {"out": out, "x": own.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    expected |= {f"q {name}": buffer for name, buffer in norm.named_buffers()}
    for name, value in expected.items():
        torch.testing.assert_close(one["sync"][name], value, rtol=1e-10, atol=1e-10, msg=name)


def test_gradients_are_not_those_of_ranks_alone(one):
    """The comparison would notice statistics of one rank: the ranks' rows differ."""
    x, _ = worker.images(())
    halves = x.chunk(2)
    assert (halves[0].mean(0) - halves[1].mean(0)).abs().max() > 1
    assert one["rows"]["x"].abs().max() > 1e-3
