from __future__ import annotations

import sys
from types import ModuleType

import pytest

from sslkit import WandB
from sslkit.errors import PluginError, SpecError
from tests import tiny


class FakeRun:
    def __init__(self, settings):
        self.settings, self.records, self.step_metrics, self.finished = settings, [], {}, False

    def define_metric(self, name, step_metric):
        self.step_metrics[name] = step_metric

    def log(self, record):
        self.records.append(record)

    def finish(self):
        self.finished = True


@pytest.fixture
def runs(monkeypatch):
    """A stand-in for wandb; the runs that it was asked for."""
    made = []

    def init(**settings):
        made.append(FakeRun(settings))
        return made[-1]

    module = ModuleType("wandb")
    module.init = init
    module.Image = lambda path: ("image", path)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return made


def test_records_reach_wandb(runs, tmp_path):
    logger = WandB(project="p", entity="team", mode="offline").build(tmp_path, "night")
    logger.metrics(10, {"loss": 0.5, "lr": 0.1})
    logger.figure(10, "curves", tmp_path / "curves.png")
    logger.saved(10, tmp_path / "checkpoints")
    (run,) = runs
    assert run.records == [
        {"loss": 0.5, "lr": 0.1, "step": 10},
        {"curves": ("image", str(tmp_path / "curves.png")), "step": 10},
    ]
    assert run.step_metrics == {"*": "step"}
    expected = {"project": "p", "entity": "team", "mode": "offline", "name": "night", "dir": str(tmp_path)}
    assert expected.items() <= run.settings.items()
    assert not run.finished
    logger.close()
    assert run.finished


def test_resumed_run_continues_the_same_wandb_run(runs, tmp_path):
    for folder in ("a", "a", "b"):
        WandB().build(tmp_path / folder, "run").close()
    first, again, other = (run.settings["id"] for run in runs)
    assert first == again != other
    assert {run.settings["resume"] for run in runs} == {"allow"}


def test_missing_wandb_is_a_readable_error(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PluginError, match=r"not installed: pip install 'sslkit\[wandb\]'"):
        WandB().build(tmp_path, "run")
    assert list(tmp_path.iterdir()) == []


def test_missing_wandb_is_told_by_the_spec_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    message = (
        r"^log\.loggers\.0: the logger `wandb` needs the package wandb, which is not installed: pip install"
    )
    with pytest.raises(SpecError, match=message):
        tiny.spec(log={"loggers": [{"kind": "wandb"}]})
