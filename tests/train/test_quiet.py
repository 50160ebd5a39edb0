"""A run shows no warnings of torch that it causes itself, and all others."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from sslkit.train.launch import train
from sslkit.train.parallel import DataParallel, start
from sslkit.train.quiet import expect_warnings
from tests import tiny
from tests.train.test_trainer import silent

TOO_MANY = "This DataLoader will create 4 worker processes in total."


@pytest.fixture
def one_cpu(monkeypatch):
    """Torch counts the processor's cores when a loader is made."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def test_torch_warns_of_more_workers_than_cores(one_cpu):
    with pytest.warns(UserWarning, match=TOO_MANY):
        DataLoader([1], num_workers=4)


def test_a_run_with_the_default_of_workers_shows_no_warning(one_cpu, tmp_path):
    """On workers, with an evaluation that decodes too."""
    run = tiny.spec(tmp_path, workers=4, resident="0 GiB", steps=1, evaluate=[{"kind": "knn", "k": 3}])
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
