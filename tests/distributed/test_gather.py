"""Rows of two gloo ranks, with gradient, against one process that has them all."""

from __future__ import annotations

import torch

from sslkit.functional.all_gather import all_rows
from tests.distributed import gather_worker
from tests.distributed.forked import on_ranks


def test_two_ranks_equal_one_process(tmp_path):
    """The value on both ranks, and gradients averaged over ranks; eager and compiled to one graph."""
    on_ranks(gather_worker.main, tmp_path / "two.pt")
    gather_worker.main(str(tmp_path / "one.pt"))
    two, one = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two", "one"))
    assert torch.equal(two["rows"], one["rows"])
    assert one["eager gradient"].abs().min() > 1e-3
    for name in (
        f"{how} {what}" for how in ("eager", "compiled") for what in ("loss", "gradient", "sinkhorn")
    ):
        torch.testing.assert_close(two[name], one[name], rtol=1e-12, atol=1e-14, msg=name)


def test_one_process_has_its_own_rows():
    rows = torch.randn(4, 2, requires_grad=True)
    assert all_rows(rows) is rows
