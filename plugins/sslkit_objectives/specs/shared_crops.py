"""What two nets need that see the same crops at two sizes. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sslkit.plugin import Problem

if TYPE_CHECKING:
    from sslkit.plugin import RunSpec


def shared_crop_problems(
    view: str, teacher_view: str | None, run: RunSpec, *, alike: bool = True
) -> Iterator[Problem]:
    """Why the crops of `teacher_view`, where it is another, are not as many and, if `alike`, not those of `view`."""
    if teacher_view is None or teacher_view == view:
        return
    ours, theirs = run.views[view], run.views[teacher_view]
    if alike and theirs.crops_like != view:
        yield Problem(
            "teacher_view",
            f"shows other crops than {view!r}; set `views.{teacher_view}.crops_like` to {view!r}",
        )
    if theirs.crops != ours.crops:
        yield Problem(
            "teacher_view",
            f"has {theirs.crops} crops and {view!r} has {ours.crops}; set `views.{teacher_view}.crops`",
        )
