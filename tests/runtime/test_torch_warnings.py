"""A run shows no warnings of torch that it causes itself, and all others."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from sslkit.runtime.parallel import DataParallel, start
from sslkit.runtime.torch_warnings import expect_warnings
from sslkit.specs.load import parse
from sslkit.train.launch import train
from tests.evaluate import every
from tests.train.test_trainer import silent

TOO_MANY = "This DataLoader will create 2 worker processes in total."


@pytest.fixture
def one_cpu(monkeypatch):
    """Torch counts the processor's cores when a loader is made."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def test_torch_warns_of_more_workers_than_cores(one_cpu):
    with pytest.warns(UserWarning, match=TOO_MANY):
        DataLoader([1], num_workers=2)


def test_a_run_with_more_workers_than_cores_shows_no_warning(one_cpu, tmp_path):
    """As by default on a small machine: workers decode for training, and for the evaluation."""
    data, knn = every.folders(tmp_path / "images"), [{"kind": "knn", "k": 3}]
    fields = every.fields(data, out=str(tmp_path / "run"), workers=2, resident="0 GiB", steps=1, evaluate=knn)
    run = parse(fields)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        train(run, silent)
    assert [str(warning.message) for warning in shown] == []


def test_other_warnings_are_shown_as_before():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        expect_warnings()
        start("cpu").close()
        warnings.warn("something that a user should see", UserWarning, stacklevel=1)
        warnings.warn(TOO_MANY, RuntimeWarning, stacklevel=1)
        warnings.warn(TOO_MANY, UserWarning, stacklevel=1)
        warnings.warn(
            "TensorFloat32 tensor cores for float32 matrix multiplication available",
            UserWarning,
            stacklevel=1,
        )
    assert [str(warning.message) for warning in shown] == ["something that a user should see", TOO_MANY]


@pytest.mark.parametrize(("device", "ids"), [("cuda:3", [3]), ("cpu", None)])
def test_ranks_on_gpus_name_their_device_where_they_wait(monkeypatch, device, ids):
    asked = []
    monkeypatch.setattr(dist, "barrier", lambda device_ids=None: asked.append(device_ids))
    DataParallel(torch.device(device), 1, 2).wait()
    assert asked == [ids]
