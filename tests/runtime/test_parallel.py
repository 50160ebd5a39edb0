"""One process, and the choice of the device. Several ranks have tests of their own in tests/distributed."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from sslkit.errors import SpecError
from sslkit.runtime import parallel
from sslkit.runtime.parallel import DataParallel, Sharded, Single, choose_device, start
from sslkit.train.compose import compose
from tests import tiny


def test_one_process_shares_with_nobody():
    single = Single(torch.device("cpu"))
    values = torch.arange(3.0)
    assert (single.rank, single.world, single.first) == (0, 1, True)
    assert single.mean(values) is values
    assert single.total(values) is values
    assert single.gather(values) is values
    assert single.any(True)
    assert not single.any(False)
    single.wait()
    single.close()


def test_one_process_calls_the_system_itself():
    composed = compose(tiny.spec(), tiny.CPU)
    assert composed.step.run is composed.system
    with tiny.CPU.accumulating(composed.system):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("wanted", ["cpu", "auto"])
def test_without_a_gpu_the_cpu_is_chosen(monkeypatch, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(wanted) == torch.device("cpu")


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        SpecError,
        match=r"^device: cuda is asked for but torch sees no GPU; use `device=cpu` or `device=auto`$",
    ):
        choose_device("cuda")


@pytest.mark.parametrize(("wanted", "rank", "device"), [("auto", None, "cuda:0"), ("cuda", "3", "cuda:3")])
def test_each_rank_takes_the_gpu_of_its_place(monkeypatch, wanted, rank, device):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    if rank is not None:
        for name, value in (("WORLD_SIZE", "8"), ("RANK", "7"), ("LOCAL_RANK", rank)):
            monkeypatch.setenv(name, value)
    assert choose_device(wanted) == torch.device(device)
    assert chosen == [torch.device(device)]
    assert choose_device("cpu") == torch.device("cpu")


def test_torchrun_decides_on_one_process_or_several(monkeypatch):
    joined = []
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: joined.append(backend))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(parallel, "init_device_mesh", lambda kind, shape: (kind, *shape))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(start("cpu"), Single)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert isinstance(start("cpu"), Single)
    assert isinstance(start("cpu", "fsdp"), Single)
    assert joined == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    for kind, expected in (("ddp", DataParallel), ("fsdp", Sharded)):
        found = start("cpu", kind)
        assert isinstance(found, expected)
        assert (found.rank, found.world, found.first, found.device) == (1, 2, False, torch.device("cpu"))
    assert joined == ["gloo", "gloo"]
