"""Specs of maskers of clips. Torch-free."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import MaskerSpec, SpecError

if TYPE_CHECKING:
    from sslkit.interfaces import Masker
    from sslkit.plugin import Env, Grid


def hidden_share(count: int, ratio: float) -> int:
    """floor(`count` times `ratio`), of the ratio as a person wrote it."""
    return math.floor(count * Fraction(repr(ratio)))


def require_both(hidden: int, count: int, what: str) -> int:
    """`hidden`. Raises SpecError unless some of `count` are hidden and some stay."""
    if not 0 < hidden < count:
        raise SpecError(
            f"{what} would hide {hidden} of {count}; at least one must stay and one be hidden: change it"
        )
    return hidden


def clip_grid(env: Env, view: str, kind: str) -> Grid:
    """The cubelets of `view`. Raises SpecError where it has no three axes."""
    grid = env.grid(view)
    if len(grid.shape) != 3:
        raise SpecError(
            f"{kind}: hides cubelets of clips, and view {view!r} has patches along {len(grid.shape)} axes"
        )
    return grid


@final
class Tube(MaskerSpec):
    """Hides the same places in every moment, so that motion tells nothing of them (VideoMAE)."""

    axes: ClassVar[tuple[int, ...] | None] = (3,)
    kind: Literal["tube"] = "tube"
    ratio: float = Field(0.9, gt=0, lt=1)
    """Share of the places (VideoMAE: 0.9), rounded down."""

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_video.clip_masks import TubeMasker

        grid = clip_grid(env, view, "tube")
        places = math.prod(grid.shape[1:])
        return TubeMasker(grid, require_both(hidden_share(places, self.ratio), places, f"ratio {self.ratio}"))


@final
class FrameMasker(MaskerSpec):
    """Hides whole moments (Feichtenhofer et al. 2022, "time-only")."""

    axes: ClassVar[tuple[int, ...] | None] = (3,)
    kind: Literal["frame"] = "frame"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of the moments (MAE-ST's comparison: 0.75), rounded down."""

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_video.clip_masks import MomentMasker

        grid = clip_grid(env, view, "frame")
        moments = grid.shape[0]
        hidden = require_both(hidden_share(moments, self.ratio), moments, f"ratio {self.ratio}")
        return MomentMasker(grid, hidden, causal=False)


@final
class Causal(MaskerSpec):
    """Hides the last moments: the future is predicted from the past."""

    unchecked: ClassVar[str] = (
        "it draws nothing, and the kit asks of maskers that images have masks of their own"
    )
    axes: ClassVar[tuple[int, ...] | None] = (3,)
    kind: Literal["causal"] = "causal"
    ratio: float = Field(0.5, gt=0, lt=1)
    """Share of the moments, rounded down."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_video.clip_masks import MomentMasker

        grid = clip_grid(env, view, "causal")
        moments = grid.shape[0]
        hidden = require_both(hidden_share(moments, self.ratio), moments, f"ratio {self.ratio}")
        return MomentMasker(grid, hidden, causal=True)


@final
class MotionMasker(MaskerSpec):
    """Hides tubes, more of them where more moves: each place is drawn with the change of its pixels as weight."""

    axes: ClassVar[tuple[int, ...] | None] = (3,)
    kind: Literal["motion"] = "motion"
    ratio: float = Field(0.9, gt=0, lt=1)
    """Share of the places, rounded down."""
    strength: float = Field(1.0, ge=0)
    """Power of the change. 0: equal chances, as `tube`; our default is the change itself."""

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_video.clip_masks import MotionTubeMasker

        grid = clip_grid(env, view, "motion")
        places = math.prod(grid.shape[1:])
        hidden = require_both(hidden_share(places, self.ratio), places, f"ratio {self.ratio}")
        return MotionTubeMasker(grid, hidden, self.strength)
