"""Puts what a checkpoint holds into networks, maskers, optimizers and the loss scale that were just built."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from sslkit.core.backbone import Backbone
from sslkit.errors import CheckpointError
from sslkit.runs.checkpoint import Loaded
from sslkit.runtime.dtensor import optimizer_placed, placed_as
from sslkit.runtime.loss_scale import LossScale


def load_system(system: torch.nn.Module, loaded: Loaded) -> None:
    """Put the weights of a checkpoint into `system`. Raises CheckpointError where they do not fit."""
    _load_module(system, "system", "network", loaded)


def load_net(net: Backbone, name: str, loaded: Loaded) -> None:
    """Put the weights of the net called `name` into `net`. Raises CheckpointError where they do not fit."""
    prefix = f"nets.{name}."
    try:
        weights = loaded.state.get("system", {}).items()
        of_net = {key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)}
        net.load_state_dict(placed_as(of_net, net.state_dict()))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _misfit(loaded, "network", error) from None


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
