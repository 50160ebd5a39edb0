"""Detects views and nets of a run that nothing reads. Torch-free."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sslkit.core.problem import Problem
from sslkit.specs.walk import children

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


def unread_views(run: RunSpec, read: frozenset[str]) -> Iterator[Problem]:
    """The views that are not among those `read`, nor the one that evaluators see."""
    others = [view for view in run.views if view in read or view == run.first_view]
    for name in run.views:
        if name not in others:
            close = difflib.get_close_matches(name, others, n=1)
            hint = (
                f"Did you mean `views.{close[0]}`?" if close else "Leave it out, or name it in an objective."
            )
            yield Problem(f"views.{name}", f"no objective reads this view. {hint}")


def views_by_name(run: RunSpec) -> frozenset[str] | None:
    """The views that the objectives name; None where one names none, as it may know its view by itself."""
    each = [term.spec.views for term in run.all_terms() if term.spec.combined() is None]
    return frozenset().union(*each) if each and all(each) else None


def unread_nets(run: RunSpec) -> Iterator[Problem]:
    """Nets that no field of the run names; they may still be meant for later, so that a line is enough."""
    copied = {net.refreshed.of for net in run.nets.values() if net.refreshed is not None}
    named = {*_texts(run.objective), *_texts(run.objectives), *copied, run.readout.net}
    for name in run.nets:
        if name not in named:
            yield Problem(
                f"nets.{name}",
                "nothing reads this net while the run trains. Keep it for "
                f"`sslkit evaluate RUN readout.net={name}`, or leave it out, as it takes memory and time",
                note=True,
            )


def unread_towers(run: RunSpec) -> Iterator[Problem]:
    """Towers that no objective names; they would not be trained."""
    read = {*_texts(run.objective), *_texts(run.objectives)}
    for name in run.towers:
        if name not in read:
            yield Problem(
                f"towers.{name}", "no objective reads this network; leave it out, or name it in an objective"
            )


def _texts(value: object) -> Iterator[str]:
    """Every text inside a spec."""
    if isinstance(value, str):
        yield value
    for _, part in children(value):
        yield from _texts(part)
