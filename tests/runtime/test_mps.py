"""Apple's GPUs by simulation: no float64 on the device. Not verified: no such machine."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from sslkit.data.loaders import MovedFeed, on_device
from sslkit.errors import SpecError
from sslkit.runtime import mps, parallel
from sslkit.runtime.parallel import Single
from sslkit.train.compose import compose
from sslkit.train.launch import train
from sslkit.train.step import stepper
from sslkit.train.step.compile_system import compiles
from sslkit.train.watch.energy import Meter
from tests import tiny


class NoDouble(TorchDispatchMode):
    """Refuses what a device without float64 refuses."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, list | tuple) else [out]:
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise TypeError(f"{func}: MPS does not have float64")
        return out


@pytest.fixture
def narrow(monkeypatch):
    """The CPU, taken for a device without float64."""
    for module in (parallel, stepper):
        monkeypatch.setattr(module, "has_float64", lambda device: False)


RUNS = {
    "mae": {},
    "simmim": {"objective": {"kind": "simmim", "masker": {"kind": "block", "ratio": 0.5, "min_block": 1}}},
    "dino": {
        "views": {"global": {**tiny.VIEW, "crops": 2}},
        "nets": {"teacher": {"momentum": {"start": 0.9, "end": 1.0}}},
        "objective": {
            "kind": "dino",
            "local": None,
            "prototypes": 8,
            "head": {"hidden": 16, "bottleneck": 8},
        },
        "optimizer": {"lr": 0.01, "clip": 1.0},
    },
    "vicreg": {
        "views": {"global": {**tiny.VIEW, "crops": 2}},
        "objective": {"kind": "vicreg", "projector": {"hidden": 16, "out": 8}},
        "optimizer": {"name": "lars", "lr": 0.1},
    },
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_step_has_no_float64_on_the_device(narrow, monkeypatch, changes):
    run = tiny.spec(**changes)
    composed = compose(run, tiny.CPU)
    assert not any(b.dtype == torch.float64 for b in composed.system.buffers())
    batch = list(tiny.feed(run, composed).step(0))
    draw = composed.step.masking.sample

    def on_the_cpu(*arguments):
        with _disable_current_modes():
            return draw(*arguments)

    monkeypatch.setattr(composed.step.masking, "sample", on_the_cpu)
    with NoDouble():
        losses = composed.step(0, batch)
        composed.step(1, batch)
    assert losses.total.dtype == torch.float32


def test_the_simulation_refuses_what_the_device_refuses():
    with pytest.raises(TypeError, match="does not have float64"), NoDouble():
        torch.ones(2).double()


TWO = {
    "a": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER},
    "b": {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}},
}


def test_what_needs_float64_in_a_step_is_refused_by_name(narrow):
    with pytest.raises(SpecError, match=r"^balance: weighs products of gradients in float64"):
        compose(tiny.spec(objective=None, objectives=TWO, balance={"kind": "mgda"}), tiny.CPU)
    guided = {"kind": "simmim", "masker": {"kind": "attention", "ratio": 0.5, "net": "student"}}
    with pytest.raises(SpecError, match=r"^masker: this one reads a network or learns, in float64"):
        compose(tiny.spec(objective=guided), tiny.CPU)


def test_a_device_that_is_not_there_or_is_shared_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SpecError, match=r"^device: mps is asked for but torch sees no such GPU"):
        train(tiny.spec(tmp_path, device="mps"), lambda text: None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert parallel.choose_device("mps").type == "mps"
    assert parallel.choose_device("auto").type in ("cpu", "cuda"), "nobody takes it unasked"
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match="is for one process; start it once"):
        parallel.choose_device("mps")


def test_its_precision_and_compilation_are_those_of_a_cpu_by_default():
    run, device = tiny.spec(device="mps"), torch.device("mps")
    assert stepper.resolved_precision(run, device) == "float32"
    assert not compiles(run, device)
    assert mps.exact_device(device) == torch.device("cpu")
    assert mps.exact_device(torch.device("cuda")) == torch.device("cuda")
    assert Meter(()).values(device).device == torch.device("cpu")


def test_crops_are_made_on_the_cpu_and_then_moved():
    run = tiny.spec()
    composed = compose(run, Single(torch.device("cpu")))
    feed = tiny.feed(run, composed)
    assert on_device(feed, torch.device("cpu")) is feed
    moved = on_device(feed, torch.device("mps"))
    assert isinstance(moved, MovedFeed)
    batch = next(iter(MovedFeed(feed, torch.device("meta")).step(0)))
    assert batch.images["global"].device.type == "meta"
    assert batch.rows.device.type == "cpu", "masks are drawn there"
    moved.close()
