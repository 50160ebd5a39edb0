"""Specs of predicting motion: the classical flow as a target, and the objective on whole clips. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    Count,
    ObjectiveSpec,
    Problem,
    SpecError,
    TargetField,
    TargetSpec,
    ViewName,
    slot_default,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective, Target
    from sslkit.plugin import Env, RunSpec

SMALLEST = 16
"""Pixels a side, below which OpenCV's flows have no pyramid."""


@final
class OpticalFlow(TargetSpec):
    """Where pixels move until the next frame, by a classical method of OpenCV, in the mean over parts of a patch.

    Computed on the CPU at every step, from the crops themselves, so that it fits any change of them; the device waits.
    """

    unchecked: ClassVar[str] = "it is of clips, and the kit's targets are of images"
    kind: Literal["optical_flow"] = "optical_flow"
    method: Literal["dis", "farneback"] = "dis"
    """Dense inverse search (Kroeger et al. 2016; OpenCV's preset `fast`), or Farnebäck's (2003; windows of 9)."""
    cells: Count = 2
    """Parts of a patch along each side, each with its own two numbers; they divide it."""
    scale: float = Field(1.0, gt=0)
    """Pixels a frame that count as 1."""
    loss: Literal["l1", "l2", "smooth_l1"] = "smooth_l1"
    """Error of a number, averaged over the patch."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def build(self, env: Env, view: str) -> Target:
        """The target. Raises SpecError where the view has no frames, or is too small or cut in other parts."""
        from sslkit_video.flow_target import FlowSettings, OpticalFlowTarget

        grid, sides = env.grid(view), env.view(view).sides
        if len(sides) != 3 or sides[0] < 2:
            raise SpecError(f"optical_flow: needs clips of 2 frames or more; view {view!r} has none")
        if min(sides[1:]) < SMALLEST:
            raise SpecError(
                f"optical_flow: needs clips of {SMALLEST} pixels a side or more, found {sides[1]} x {sides[2]}"
            )
        if any(side % self.cells for side in grid.sides[1:]):
            raise SpecError(
                f"optical_flow: cells {self.cells} do not divide patches of {grid.sides[1]} x {grid.sides[2]} pixels"
            )
        settings = FlowSettings(self.method, self.cells, self.scale, self.loss)
        return OpticalFlowTarget(settings, grid, env.view(view))


@final
class Flow(ObjectiveSpec):
    """Predict from the patches of whole clips how their pixels move: a linear layer on each.

    To predict it of hidden patches, give `optical_flow` as the target of `videomae` or `simmim`.
    """

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = "its target is of clips, and the kit's views are of images"

    kind: Literal["flow"] = "flow"
    view: ViewName = "global"
    """View whose clips the student sees, whole."""
    target: TargetField = slot_default("optical_flow")
    """What to predict of every patch."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """OpenCV is there."""
        from importlib.util import find_spec

        if self.target.kind_name() == "optical_flow" and find_spec("cv2") is None:
            yield Problem("target", 'needs OpenCV: `pip install "sslkit-video[flow]"`')

    def build(self, env: Env) -> Objective:
        from sslkit_video.flow_objective import FlowObjective

        return FlowObjective(self.view, self.target, env)
