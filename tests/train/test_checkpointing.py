"""Checkpoints of all ranks together."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import TrainingError
from sslkit.runs.checkpoint import load
from sslkit.runs.run_loggers import open_loggers
from sslkit.runtime.line_file import LineFile
from sslkit.train.checkpointing import Checkpointing, restore_stepper
from sslkit.train.compose import compose
from sslkit.train.saver import Saver
from tests import tiny


@pytest.fixture
def parts(tmp_path):
    stepper, warnings = compose(tiny.spec(), tiny.CPU).step, []
    saver = Saver(tmp_path, 2, LineFile(tmp_path / "records", warnings.append), warnings.append)
    loggers = open_loggers((), tmp_path, "run", warnings.append)
    return stepper, saver, Checkpointing(stepper, saver, loggers, tiny.CPU, 3), warnings


def test_what_is_saved_is_restored_and_remembered(parts):
    stepper, saver, checkpointing, warnings = parts
    assert checkpointing.saved == 3
    assert checkpointing.save(5, {"epoch": 0.5}, None, final=False)
    assert (checkpointing.saved, warnings) == (5, [])
    loaded = load(saver.checkpoints.all()[-1])
    assert (loaded.step, loaded.meta["epoch"]) == (5, 0.5)
    other = compose(tiny.spec(seed=99), tiny.CPU).step
    restore_stepper(other, loaded)
    expected, restored = stepper.system.state_dict(), other.system.state_dict()
    assert all(torch.equal(restored[name], value) for name, value in expected.items())


def test_a_checkpoint_that_the_disk_does_not_take_is_not_remembered(parts, monkeypatch):
    _, saver, checkpointing, _ = parts
    monkeypatch.setattr(saver, "save", lambda *args, final: None)
    assert not checkpointing.save(5, {}, None, final=False)
    assert checkpointing.saved == 3


def test_weights_that_are_not_finite_are_not_saved(parts):
    stepper, saver, checkpointing, _ = parts
    stepper.parameters[0].data[..., 0] = float("inf")
    with pytest.raises(
        TrainingError, match=r"^step 5: values in nets\.student\..* are not finite, though all losses were"
    ):
        checkpointing.save(5, {}, None, final=False)
    assert saver.checkpoints.all() == []
