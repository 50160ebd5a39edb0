"""Specs of telling the order of frames, and of the change that puts them in another. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import AugmentSpec, ObjectiveSpec, Problem, SpecError, ViewName, sides_of

if TYPE_CHECKING:
    from sslkit.interfaces import Augment, Objective
    from sslkit.plugin import Env, RunSpec, Size


def _permutation(order: tuple[int, ...]) -> tuple[int, ...]:
    if sorted(order) != list(range(len(order))):
        raise ValueError(f"an order has each number from 0 once, found {list(order)}")
    return order


Order = Annotated[tuple[int, ...], Field(min_length=2), AfterValidator(_permutation)]
"""The part of a clip that stands at each place."""
REVERSED: Literal["reverse"] = "reverse"


@final
class Reorder(AugmentSpec):
    """The frames of a clip in another order. Nothing in it is random: give each crop of a view its own in `by_crop`."""

    takes: ClassVar[str] = "clip"
    oblong: ClassVar[bool] = True
    random: ClassVar[bool] = False
    unchecked: ClassVar[str] = "it is of clips, and the kit's changes are of images"
    kind: Literal["reorder"] = "reorder"
    order: Order | None = None
    """Equal parts of the clip in this order, each of them forwards: `[1, 0, 2]`. Default: all frames backwards."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def build(self, size: Size) -> Augment:
        """The change. Raises SpecError where the frames cannot be cut in equal parts."""
        from sslkit_video.frame_order import ReorderAugment

        frames = sides_of(size, 3)[0]
        if self.order is not None and frames % len(self.order):
            raise SpecError(
                f"reorder: {frames} frames are not {len(self.order)} equal parts; use a multiple as the view's frames"
            )
        return ReorderAugment(self.order)


Orders = tuple[Literal["reverse"] | Order | None, ...]


def _orders(run: RunSpec, view: str) -> Orders:
    """The order of each crop of `view`: that of its last `reorder`, None without one."""
    chains = run.views[view].chains
    lists = [[step.order or REVERSED for step in chain if isinstance(step, Reorder)] for chain in chains]
    return tuple(orders[-1] if orders else None for orders in lists)


def _order_problems(field: str, view: str, wanted: Orders, run: RunSpec) -> Iterator[Problem]:
    """The view has a crop for each order, in turn."""
    if _orders(run, view) == wanted:
        return
    lists = ", ".join(map(_steps, wanted))
    yield Problem(
        field,
        f"needs clips in {len(wanted)} orders, but view {view!r} has others; set `views.{view}.crops` to "
        f"{len(wanted)} and its `by_crop` to [{lists}]",
    )


def _steps(order: Literal["reverse"] | Sequence[int] | None) -> str:
    """The list of changes that makes an order, as a spec has it."""
    if order is None:
        return "[]"
    return "[{kind: reorder}]" if order == REVERSED else f"[{{kind: reorder, order: {list(order)}}}]"


@final
class ArrowOfTime(ObjectiveSpec):
    """Tell clips that run forwards from those that run backwards (Wei et al. 2018).

    The view makes both of each video: 2 crops, `by_crop: [[], [{kind: reorder}]]`. Frames and places of both are drawn
    apart, so that the two cannot be told from each other by comparing them.
    """

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = "its view turns clips around, and the kit's views are of images"

    kind: Literal["arrow_of_time"] = "arrow_of_time"
    view: ViewName = "global"
    """View of two crops, the second of which runs backwards."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _order_problems("view", self.view, (None, REVERSED), run)

    def build(self, env: Env) -> Objective:
        from sslkit_video.frame_order import OrderObjective

        return OrderObjective(self.view, 2, env)


@final
class FrameOrder(ObjectiveSpec):
    """Tell in which order the parts of a clip stand (Lee et al. 2017; Xu et al. 2019).

    The view makes every order of each video: its crop i ends with `{kind: reorder, order: orders[i]}`. A class for each
    order, as often as any other in every batch.
    """

    scores_patches: ClassVar[bool] = False
    unchecked: ClassVar[str] = "its view puts frames in other orders, and the kit's views are of images"

    kind: Literal["frame_order"] = "frame_order"
    view: ViewName = "global"
    """View with a crop for each order."""
    orders: tuple[Order, ...] = Field(tuple(permutations(range(3))), min_length=2)
    """Orders of the view's crops (Xu et al.: all 6 of 3 parts)."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if len(set(self.orders)) < len(self.orders):
            yield Problem("orders", "has the same order twice, which nothing can tell apart; leave one out")
        yield from _order_problems("orders", self.view, self.orders, run)

    def build(self, env: Env) -> Objective:
        from sslkit_video.frame_order import OrderObjective

        return OrderObjective(self.view, len(self.orders), env)
