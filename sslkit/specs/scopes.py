"""The run as each of its specs sees it: a hybrid's terms have the hybrid around them. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sslkit.specs.base import Spec
from sslkit.specs.families import ObjectiveSpec
from sslkit.specs.walk import walk

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


def scoped(run: RunSpec) -> Iterator[tuple[str, Spec, RunSpec]]:
    """Every spec with the run as it sees it: inside a hybrid, whose terms and balance are then the run's."""
    scopes = {"": run}
    for path, spec in walk(run):
        around = max((p for p in scopes if path.startswith(p)), key=len)
        yield path, spec, scopes[around]
        members = spec.combined() if isinstance(spec, ObjectiveSpec) else None
        if members is not None:
            inside = {"objective": None, "objectives": members.objectives, "balance": members.balance}
            scopes[f"{path}."] = scopes[around].model_copy(update=inside)
