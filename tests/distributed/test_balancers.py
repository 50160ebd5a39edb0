"""Every balancer on two gloo ranks, replicated (DDP) and in shards (FSDP2), against one process."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from tests.distributed import balancer_worker
from tests.distributed.balancer_worker import CASES
from tests.distributed.forked import on_ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):  # type: ignore[no-untyped-def]
    """Case -> what it told and left in one process, replicas and shards; made when it is first asked for."""

    @functools.cache
    def of(case: str) -> dict[str, dict[str, Any]]:
        if case.startswith("torchjd"):
            pytest.importorskip("torchjd")
        folder = tmp_path_factory.mktemp("balancers")
        on_ranks(balancer_worker.main, folder / "two.pt", case)
        balancer_worker.main(str(folder / "one.pt"), case)
        two, one = (torch.load(folder / f"{name}.pt", weights_only=True) for name in ("two", "one"))
        return {**two, **one}

    return of


@pytest.mark.parametrize("kind", ["replicas", "shards"])
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(found, case: str, kind: str) -> None:  # type: ignore[no-untyped-def]
    """Losses, weights, lengths and cosines of three steps, and all weights and buffers after them."""
    one, two = found(case)["one"], found(case)[kind]
    for alone, together in zip(one["told"], two["told"], strict=True):
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-5)
    floats = {key: value for key, value in one["state"].items() if value.is_floating_point()}
    scale = max(value.abs().max() for value in floats.values())
    worst = max((two["state"][key] - value).abs().max() for key, value in floats.items())
    assert worst < 1e-5 * scale


@pytest.mark.parametrize("case", ["fixed, measured", "fixed, measured in micro-batches"])
@pytest.mark.parametrize("kind", ["one", "replicas", "shards"])
def test_what_is_measured_is_measured_when_it_is_due(found, case: str, kind: str) -> None:  # type: ignore[no-untyped-def]
    told = ["balance/some_most/cosine" in step for step in found(case)[kind]["told"]]
    assert told == [False, True, False]


def test_measuring_changes_no_bit(found) -> None:  # type: ignore[no-untyped-def]
    for kind in ("one", "replicas", "shards"):
        plain, measured = (found(case)[kind]["state"] for case in ("fixed", "fixed, measured"))
        assert all(torch.equal(measured[key], value) for key, value in plain.items())
