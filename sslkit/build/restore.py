"""Restores a run from a checkpoint, without its data and its initial weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.optim import Optimizer

from sslkit.build.system import make_system, make_views
from sslkit.core.backbone import Backbone
from sslkit.core.context import Env, Length
from sslkit.core.system import System
from sslkit.errors import CheckpointError
from sslkit.runs import metrics_log
from sslkit.runs.best_checkpoint import Best
from sslkit.runs.checkpoint import Loaded, load, step_of
from sslkit.runs.history import history
from sslkit.runs.lock import read_lock, trained_spec
from sslkit.runtime.dtensor import optimizer_placed, placed_as
from sslkit.runtime.loss_scale import LossScale
from sslkit.specs.run import RunSpec


class Restored(NamedTuple):
    """A run as a checkpoint left it."""

    spec: RunSpec
    system: System
    env: Env
    loaded: Loaded

    @property
    def net(self) -> Backbone:
        """The net that the run's readout names."""
        return self.system.nets[self.spec.readout.net]


def restore(run_dir: Path, which: str = "last") -> Restored:
    """The run in `run_dir` at its `last` or `best` checkpoint, or at the one called `which`, on the CPU.

    Raises:
        CheckpointError: no run, no such checkpoint, or it is damaged or does not fit.
    """
    spec = trained_spec(run_dir)
    loaded = find(run_dir, which)
    resolved = read_lock(run_dir)["resolved"]
    length = Length(int(resolved["steps"]), int(resolved["steps_per_epoch"]))
    system, env = make_system(spec, make_views(spec, int(resolved["channels"])), length)
    load_system(system, loaded)
    return Restored(spec, system, env, loaded)


def find(run_dir: Path, which: str = "last") -> Loaded:
    """The `last` or `best` checkpoint of `run_dir`, or the one called `which`.

    A damaged one is an error here: other weights than those asked for would go unnoticed.

    Raises:
        CheckpointError: there is none, it is damaged, or not all of the folder is of one run.
        StorageError: it cannot be read.
    """
    by_name = {path.name: path for path in history(run_dir).checkpoints}
    if not by_name:
        raise CheckpointError(f"{run_dir}: has no checkpoint yet")
    if which in {"last", "best"}:
        newest = _load_newest(list(by_name.values()))
        if which == "last":
            return newest
        best = Best(trained_spec(run_dir))
        best.restore(newest.meta.get("best", {}), partial(metrics_log.read, run_dir))
        return load(_best_of(best, list(by_name.values())))
    if which not in by_name:
        raise CheckpointError(
            f"{run_dir}: has no checkpoint {which!r}. Known: last, best, {', '.join(by_name)}"
        )
    return load(by_name[which])


def _load_newest(paths: list[Path]) -> Loaded:
    try:
        return load(paths[-1])
    except CheckpointError as error:
        others = ", ".join(path.name for path in paths[:-1]) or "none"
        raise CheckpointError(f"{error}\nOlder checkpoints that can be asked for by name: {others}") from None


def load_system(system: torch.nn.Module, loaded: Loaded) -> None:
    """Put the weights of a checkpoint into `system`. Raises CheckpointError where they do not fit."""
    _load_module(system, "system", "network", loaded)


def load_masking(masking: torch.nn.Module, loaded: Loaded) -> None:
    """Put what maskers learned until a checkpoint into `masking`. Raises CheckpointError where it does not fit."""
    _load_module(masking, "masking", "maskers", loaded)


def _load_module(module: torch.nn.Module, key: str, part: str, loaded: Loaded) -> None:
    try:
        module.load_state_dict(placed_as(loaded.state.get(key, {}), module.state_dict()))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _misfit(loaded, part, error) from None


def load_optimizer(optimizer: Optimizer, loaded: Loaded) -> None:
    """Put the optimizer state of a checkpoint into `optimizer`. Raises CheckpointError where it does not fit."""
    settings = [set(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(optimizer_placed(loaded.state["optimizer"], optimizer))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _misfit(loaded, "optimizer", error) from None
    for needed, group in zip(settings, optimizer.param_groups, strict=True):
        if lacking := sorted(needed - set(group)):  # the state of another class is loaded without a word
            name = type(optimizer).__name__
            text = f"{name} needs {', '.join(lacking)}, which the saved one does not have: it was another optimizer"
            raise _misfit(loaded, "optimizer", ValueError(text))


def load_loss_scale(scale: LossScale, loaded: Loaded) -> None:
    """Put the loss scale of a checkpoint into `scale`. Raises CheckpointError where there is none to go on with."""
    try:
        scale.load_state_dict(loaded.state.get("loss_scale", {}))
    except (KeyError, RuntimeError, TypeError) as error:
        raise _misfit(loaded, "loss scale", error) from None


def _misfit(loaded: Loaded, part: str, error: Exception) -> CheckpointError:
    detail = "\n  ".join(line.strip() for line in str(error).splitlines()[:4])
    return CheckpointError(f"{loaded.path}: does not fit this run's {part}:\n  {detail}")


def _best_of(best: Best, paths: list[Path]) -> Path:
    if best.metric is None or best.step is None:
        metrics = ", ".join(best.values) or "none, as the run made no evaluation"
        raise CheckpointError(
            f"no best checkpoint by {best.metric or 'any metric'}. Metrics known: {metrics}"
        )
    path = next((path for path in paths if step_of(path) == best.step), None)
    if path is None:
        why = ", for an older version took higher values as better" if best.metric in best.corrected else ""
        raise CheckpointError(
            f"the best checkpoint (step {best.step} by {best.metric}) is no longer there{why}. "
            f"Known: last, {', '.join(path.name for path in paths)}"
        )
    return path
