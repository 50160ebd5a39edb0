"""The readout, loading and precision by which evaluators read a network, during training and after."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import nn

from sslkit.core.context import Env
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.errors import SpecError, reason_of
from sslkit.evaluate.features import Loading, Unreadable
from sslkit.nn.modes import evaluating
from sslkit.runtime.parallel import Parallel
from sslkit.specs.readout import Readout
from sslkit.specs.run import RunSpec


class Reading(NamedTuple):
    """One way to read a network, for all evaluators."""

    readout: Readout
    loading: Loading
    autocast: Callable[[], AbstractContextManager[object]]
    seed: int
    head: nn.Module | None = None
    """Applied to the features of the network."""
    run: tuple[System, Env] | None = None
    """The run that trained the network, where there is one and it is built."""
    open_run: Callable[[], tuple[System, Env]] | None = None
    """Builds it for the evaluators that need it, where it is not."""


def reading_of(
    spec: RunSpec,
    view: View,
    parallel: Parallel,
    autocast: Callable[[], AbstractContextManager[object]],
    unreadable: Unreadable = lambda source, index, reason: None,
    run: tuple[System, Env] | None = None,
) -> Reading:
    """The run's one readout, through the head that it names; `unreadable` is called with images that are left out."""
    loading = Loading(view, spec.readout.crop, spec.readout.batch_size, spec.workers, parallel, unreadable)
    head = None if run is None else head_of(run[0], spec.readout)
    return Reading(spec.readout, loading, autocast, spec.seed, head, run)


@torch.no_grad()
def head_of(system: System, readout: Readout) -> nn.Module | None:
    """The head that `readout` names, tried on features of 0.

    Raises:
        SpecError: no objective has such a module, or it does not turn features into vectors.
    """
    if readout.head is None:
        return None
    heads = [
        f"{o}.{name}" for o, objective in system.objectives.items() for name, _ in objective.named_children()
    ]
    hint = f"Modules of objectives: {', '.join(heads) or 'none'}"
    try:
        head = system.objectives.get_submodule(readout.head)
    except AttributeError:
        raise SpecError(f"readout.head: {readout.head!r} is not one. {hint}") from None
    net = system.nets[readout.net]
    device = next(system.parameters()).device
    with evaluating(head):
        try:
            rows, _ = head(torch.zeros(2, net.dim, device=device)).shape
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise SpecError(
                f"readout.head: {readout.head!r} takes no features: {reason_of(error)}. {hint}"
            ) from None
    assert rows == 2, "one row for each image"
    return head
