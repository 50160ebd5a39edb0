"""All that is wrong with a run, and what in it has no effect, as one error. Torch-free."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from sslkit.core.problem import Problem
from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.error_text import joined
from sslkit.specs.references import dangling
from sslkit.specs.scopes import scoped
from sslkit.specs.unused_fields import unused

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


def check(run: RunSpec, effects: str | None = "", unread: Container[str] = ()) -> None:
    """Ask every spec in `run` for its problems and for fields that were set without effect, torch-free.

    Args:
        run: what is checked.
        effects: dotted path at or below which fields must have an effect; everywhere by default, and None for nowhere:
            what a run began with is not refused later.
        unread: views that are not read, whose streams other images need not have.

    Raises:
        SpecError: at least one was found.
    """
    refused = [] if effects is None else [p for p in unused(run) if not p.note and p.path.startswith(effects)]
    messages: dict[str, str] = {}
    streams = {f"views.{name}.stream" for name in run.views if name in unread}
    for problem in (*(p for p in problems(run) if p.path not in streams), *refused):
        messages.setdefault(problem.path or "spec", problem.message)
    if messages:
        raise joined(messages)


def notes(run: RunSpec) -> list[str]:
    """`path: reason` of each field that a switch of the spec turned off, although it was set."""
    return [f"{problem.path}: {problem.message}" for problem in unused(run) if problem.note]


def problems(run: RunSpec) -> Iterator[Problem]:
    """Everything that the specs in `run` say is wrong, with paths from its root."""
    for path, spec, scope in scoped(run):
        try:
            for problem in _of(spec, scope):
                yield Problem(".".join(part for part in (path, problem.path) if part), problem.message)
        except SpecError as error:  # from a helper that the spec calls; it does not know the path
            yield Problem(path, str(error))


def _of(spec: Spec, run: RunSpec) -> Iterator[Problem]:
    """What is wrong with `spec`, which looks up what it names only where that is there."""
    missing = list(dangling(spec, run))
    yield from missing or spec.problems(run)
    fewest = max(spec.min_batch, spec.min_rank_batch)
    if run.batch_size < fewest:
        yield Problem(
            "",
            f"compares images with each other, so it needs at least {fewest} in a batch, "
            f"found {run.batch_size}; raise `batch_size`",
        )


def too_few_on_a_rank(run: RunSpec, ranks: int) -> Iterator[Problem]:
    """Specs in `run` that compare the images of each rank alone, and get too few of them on `ranks` ranks."""
    images = run.batch_size // ranks
    for path, spec, _ in scoped(run) if ranks > 1 else ():
        if images < spec.min_rank_batch:
            yield Problem(
                path,
                f"compares the images of a rank with each other, so it needs at least {spec.min_rank_batch} on each, "
                f"found {images} ({run.batch_size} on {ranks} ranks); raise `batch_size`, or use fewer ranks",
            )
