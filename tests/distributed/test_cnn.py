"""A convolutional network on two gloo ranks against one process that has the joined batch."""

from __future__ import annotations

import pytest
import torch

from tests.distributed import cnn_worker as worker
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


@pytest.mark.parametrize("mode", [mode for mode in worker.MODES if mode != "local"])
def test_two_ranks_equal_one_process(two, one, mode):
    """Tokens, those of a moving average, all gradients and the running statistics of both, after three steps."""
    assert two[mode].keys() == one[mode].keys()
    for name, expected in one[mode].items():
        torch.testing.assert_close(two[mode][name], expected, rtol=1e-7, atol=1e-9, msg=f"{mode} {name}")


def test_statistics_of_a_rank_alone_differ(two, one):
    """`local` is what it says, so the comparison above would notice."""
    assert not torch.allclose(two["local"]["patch"], one["local"]["patch"], rtol=1e-2)
    assert torch.allclose(one["local"]["patch"], one["sync"]["patch"])


def test_the_modes_differ(one):
    patches = [one[mode]["patch"] for mode in ("sync", "joined", "split")]
    assert not torch.allclose(patches[0], patches[1], rtol=1e-2)
    assert not torch.allclose(patches[0], patches[2], rtol=1e-2)
    assert not torch.allclose(one["split"]["keys"], one["shuffled"]["keys"], rtol=1e-2)
