"""Build context of components: views, nets, patch grids, run length. Torch-free, so that specs can check with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sslkit.core.view import Grid, View, size_of
from sslkit.errors import SpecError


class NetInfo(NamedTuple):
    """A backbone, as objectives and targets need to know it."""

    dim: int
    """Width of its tokens."""
    depth: int
    """Number of blocks whose output can be asked for."""
    grids: Mapping[str, Grid] = {}
    """Its patches of each view; of a net with other patches than the student's they differ from `Env.grids`."""


class Length(NamedTuple):
    """Length of a run."""

    steps: int
    steps_per_epoch: int
    extended: tuple[tuple[int, str], ...] = ()
    """(step, how schedules went on) of each time that the run was made longer: `stretch`, `constant` or `restart`."""

    def clock(self, step: int) -> tuple[int, int]:
        """(t, T): schedules over the run's length are at t of T at `step`, which is (`step`, `steps`) as a rule.

        Until the run was made longer T is its length of then. Afterwards: `stretch` has the new T; `constant` stays at
        the last step before; `restart` counts both anew from there.
        """
        ends = [*(start for start, _ in self.extended[1:]), self.steps]
        zero, total = 0, self.extended[0][0] if self.extended else self.steps
        held: tuple[int, int] | None = None
        for (start, how), end in zip(self.extended, ends, strict=False):
            if step < start:
                break
            if how == "constant":
                held = held or (start - 1 - zero, total)
                continue
            zero, held = start if how == "restart" else zero, None
            total = end - zero
        return held or (step - zero, total)

    def progress(self, step: int) -> float:
        """Share of the schedules over the run's length that is done at `step`."""
        now, total = self.clock(step)
        return now / total

    def ends(self, step: int) -> bool:
        """Whether the run ends after `step` steps, or ended there before it was made longer."""
        return step == self.steps or any(step == start for start, _ in self.extended)

    def epoch(self, step: int) -> float:
        """Passes over the data after `step` steps."""
        return step / self.steps_per_epoch


class Env(NamedTuple):
    """Build context of an objective or target."""

    views: Mapping[str, View]
    nets: Mapping[str, NetInfo]
    """`student` and the names under `nets`."""
    grids: Mapping[str, Grid]
    """Patches of each view, as the first net that reads it has them: the student, then towers."""
    length: Length = Length(1, 1)
    """Length of the run, for schedules."""

    def view(self, name: str) -> View:
        """The view called `name`. Raises SpecError if the run has none."""
        if name not in self.views:
            raise SpecError(f"view {name!r} is not a view of this run. Known: {', '.join(self.views)}")
        return self.views[name]

    def grid(self, view: str) -> Grid:
        """The patches of `view`. Raises SpecError if the run has no such view."""
        self.view(view)
        return self.grids[view]

    def net(self, name: str) -> NetInfo:
        """The net called `name`. Raises SpecError if the run has none."""
        if name not in self.nets:
            raise SpecError(
                f"net {name!r} is not a net of this run. Known: {', '.join(self.nets)}; add it under `nets`"
            )
        return self.nets[name]

    def patches(self, net: str, view: str) -> Grid:
        """The patches that `net` cuts `view` into. Raises SpecError if the run has no such net or view."""
        kind, grids = self.view(view).type, self.net(net).grids
        if view not in grids:
            raise SpecError(f"view {view!r} is of {kind}, which net {net!r} does not read")
        return grids[view]

    def same_patches(self, net: str, view: str) -> NetInfo:
        """The net called `net`, whose patches of `view` are the student's. Raises SpecError where they are not."""
        info, wanted = self.net(net), self.grid(view)
        grid = self.patches(net, view)
        if grid.shape != wanted.shape:
            raise SpecError(
                f"net {net!r} cuts view {view!r} into {grid} patches but the student into {wanted}; "
                f"use a net with patches of {size_of(wanted.sides)} pixels"
            )
        return info
