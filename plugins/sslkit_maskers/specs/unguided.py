"""Specs of maskers that look at no image. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import MaskerField, MaskerSpec, Problem, Shape, SpecError
from sslkit_maskers.patch_counts import part, require_both, visible_count
from sslkit_maskers.patch_numbers import Number, find_number, replaced, spread

if TYPE_CHECKING:
    from sslkit.interfaces import Masker
    from sslkit.plugin import Env, Grid, RunSpec


def ordered(value: tuple[float, float]) -> tuple[float, float]:
    """A range whose ends are in order. Raises ValueError otherwise."""
    if value[0] > value[1]:
        raise ValueError(f"a range is [low, high] with low <= high, found {list(value)}")
    return value


Ratio = Annotated[float, Field(gt=0, lt=1)]


RatioRange = Annotated[tuple[Ratio, Ratio], AfterValidator(ordered)]


Weights = tuple[Annotated[float, Field(gt=0)], ...]


class Recipe(NamedTuple):
    """What a reference implementation of block masks sets."""

    ratio: tuple[float, float]
    min_block: int | None
    """None: a ninth of the grid, `(min(rows, cols) // 3)**2`."""
    share: float
    whole: bool
    """Whether goals are rounded down before blocks are drawn."""


RECIPES = {
    "beit": Recipe((0.3827, 0.3827), 16, 1.0, True),  # 75 of 196 patches
    "ibot": Recipe((0.1, 0.5), None, 0.5, False),
    "dinov2": Recipe((0.1, 0.5), 4, 0.5, True),
}


@final
class RandomMasker(MaskerSpec):
    """Hides the same number of patches in every image, uniformly at random (MAE `random_masking`)."""

    axes: ClassVar[tuple[int, ...] | None] = None
    kind: Literal["random"] = "random"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Share of patches to hide (MAE: 0.75). The visible count is floor(N (1 - ratio)), computed exactly."""

    def visible(self, patches: int) -> int:
        """Patches left visible of `patches`."""
        return visible_count(patches, self.ratio)

    def build(self, env: Env, view: str) -> Masker:
        grid = env.grid(view)
        visible = self.visible(grid.patches)
        require_both(visible, grid, f"ratio {self.ratio}", "the ratio or the patch")
        from sslkit_maskers.unguided.random import RandomSampler

        return RandomSampler(grid.patches, visible)


@final
class BernoulliMasker(MaskerSpec):
    """Hides each patch independently with the same probability, so that the count varies."""

    axes: ClassVar[tuple[int, ...] | None] = None
    kind: Literal["bernoulli"] = "bernoulli"
    ratio: float = Field(0.75, gt=0, lt=1)
    """Probability that a patch is hidden; the share hidden on average (MAE's ratio: 0.75)."""

    def build(self, env: Env, view: str) -> Masker:
        from sslkit_maskers.unguided.bernoulli import BernoulliSampler

        return BernoulliSampler(env.grid(view).patches, self.ratio)


@final
class BlockMasker(MaskerSpec):
    """Hides overlapping blocks until a goal is reached or no block fits, so that the count varies (BEiT, iBOT)."""

    kind: Literal["block"] = "block"
    recipe: Literal["beit", "ibot", "dinov2"] = "beit"
    """The reference implementation that the fields below take their defaults from."""
    ratio: Ratio | RatioRange | None = None
    """Share of patches to hide at most, or a range from which it is drawn for each image. Default of the recipe:
    beit 0.3827 (75 of 196 patches), ibot and dinov2 [0.1, 0.5]."""
    min_block: int | None = Field(None, ge=1)
    """Area of the smallest blocks, in patches. Default of the recipe: beit 16, dinov2 4,
    ibot (min(rows, cols) // 3)²."""
    min_aspect: float = Field(0.3, gt=0, le=1)
    """Least height / width of a block; the greatest is 1 / `min_aspect`, uniform in the logarithm (all three: 0.3)."""
    share: float | None = Field(None, gt=0, le=1)
    """Probability that an image gets a mask at all. Default of the recipe: beit 1, ibot and dinov2 0.5."""

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where no block fits the grid."""
        grid = env.grid(view)
        recipe = RECIPES[self.recipe]
        low, high = (float(part(grid.patches, ratio)) for ratio in self.ratios)
        smallest = self.min_block or recipe.min_block or max((min(grid.rows, grid.cols) // 3) ** 2, 1)
        self._require_fit(grid, high, smallest)
        from sslkit_maskers.unguided.block import BlockSampler

        share = self.share or recipe.share
        return BlockSampler(grid, low, high, smallest, self.min_aspect, share, recipe.whole)

    @property
    def ratios(self) -> tuple[float, float]:
        """Lowest and highest share of patches to hide."""
        if self.ratio is None:
            return RECIPES[self.recipe].ratio
        return self.ratio if isinstance(self.ratio, tuple) else (self.ratio, self.ratio)

    def _require_fit(self, grid: Grid, high: float, smallest: int) -> None:
        where = f"{grid.patches} patches ({grid.rows} x {grid.cols})"
        if smallest > high:
            raise SpecError(
                f"min_block {smallest} is more than the {math.floor(high)} of {where} that ratio {self.ratios[1]} "
                "hides at most; use smaller blocks, a higher ratio or a smaller patch"
            )
        # every block is narrower than the grid in both directions: round(sqrt(area * aspect)) < rows
        tallest = min((grid.rows - 0.5) ** 2 / smallest, 1 / self.min_aspect)
        if tallest < max(smallest / (grid.cols - 0.5) ** 2, self.min_aspect):
            raise SpecError(
                f"min_block {smallest} does not fit inside {where} with a height / width from {self.min_aspect}; "
                "use smaller blocks, a lower min_aspect or a smaller patch"
            )


@final
class InverseBlockMasker(MaskerSpec):
    """Hides everything but one block, which is rolled over the image's edges (CAPI)."""

    kind: Literal["inverse_block"] = "inverse_block"
    ratio: float = Field(0.65, gt=0, lt=1)
    """Share of patches to hide (CAPI: 0.65). The hidden count is floor(N ratio), computed exactly."""
    min_aspect: float = Field(0.5, gt=0, le=1)
    """Least height / width of the block; the greatest is 1 / `min_aspect`, uniform in the logarithm (CAPI: 0.5)."""
    roll: bool = True
    """Shift the block by any number of rows and columns, around the edges (CAPI: true)."""

    def build(self, env: Env, view: str) -> Masker:
        grid = env.grid(view)
        visible = grid.patches - math.floor(part(grid.patches, self.ratio))
        require_both(visible, grid, f"ratio {self.ratio}", "the ratio or the patch")
        from sslkit_maskers.unguided.inverse_block import InverseBlockSampler

        return InverseBlockSampler(grid, visible, self.min_aspect, self.roll)


@final
class GridMasker(MaskerSpec):
    """Keeps one patch of every cell of a coarser grid (MAE's grid sampling; with jitter, UM-MAE's)."""

    kind: Literal["grid"] = "grid"
    cell: int = Field(2, ge=2, lt=2**31)
    """Side of a cell, in patches; 1 of `cell`² stays (MAE and UM-MAE: 2). Cells at the edges may be cut."""
    jitter: bool = True
    """Keep a random patch of each cell (UM-MAE); false: the first one, the same in every image (MAE)."""

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where every cell has a single patch."""
        grid = env.grid(view)
        visible = math.ceil(grid.rows / self.cell) * math.ceil(grid.cols / self.cell)
        require_both(visible, grid, f"cell {self.cell}", "the patch")
        from sslkit_maskers.unguided.grid import GridSampler

        return GridSampler(grid, self.cell, self.jitter)


@final
class UnitMasker(MaskerSpec):
    """Hides the same number of square units in every image, uniformly at random (SimMIM)."""

    kind: Literal["unit"] = "unit"
    ratio: float = Field(0.6, gt=0, lt=1)
    """Share of units to hide (SimMIM: 0.6). The count is ceil(units ratio), computed exactly."""
    unit: int = Field(32, ge=1, lt=2**31)
    """Side of a unit, in pixels, whatever the patch (SimMIM: 32)."""

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where units and patches do not fit, or no unit or every one is hidden."""
        grid = env.grid(view)
        scale, rest = divmod(self.unit, grid.patch)
        if rest:
            raise SpecError(
                f"unit {self.unit} is no multiple of the patch, {grid.patch} pixels; use a multiple, such as "
                f"{grid.patch * (scale + 1)}"
            )
        if grid.rows % scale or grid.cols % scale:
            raise SpecError(
                f"unit {self.unit} does not divide the image of {grid.rows * grid.patch} x "
                f"{grid.cols * grid.patch} pixels; change the unit or the view's size"
            )
        units = grid.patches // scale**2
        hidden = math.ceil(part(units, self.ratio))
        what = f"ratio {self.ratio} of {units} units"
        require_both(grid.patches - hidden * scale**2, grid, what, "the ratio or the unit")
        from sslkit_maskers.unguided.unit import UnitSampler

        return UnitSampler(grid, scale, hidden)


@final
class MixtureMasker(MaskerSpec):
    """Chooses one of several maskers for each image."""

    axes: ClassVar[tuple[int, ...] | None] = None
    kind: Literal["mixture"] = "mixture"
    maskers: tuple[MaskerField, ...] = Field(min_length=1)
    """The maskers. The visible count is fixed only if it is the same in all of them."""
    weights: Weights | None = None
    """How often each is chosen, relative to the others. Default: equally often."""

    @classmethod
    def example(cls) -> Self:
        return cls(maskers=(RandomMasker(), InverseBlockMasker(ratio=0.75)), weights=(3, 1))

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.weights is not None and len(self.weights) != len(self.maskers):
            yield Problem(
                "weights", f"there are {len(self.weights)} for {len(self.maskers)} maskers; give one for each"
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if len(self.maskers) == 1:
            yield Problem("weights", "has no effect with a single masker; leave it out")

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where one of the maskers does not fit."""
        from sslkit_maskers.unguided.mixture import MixtureSampler

        weights = self.weights or (1.0,) * len(self.maskers)
        return MixtureSampler([self._member(i, env, view) for i in range(len(self.maskers))], weights)

    def _member(self, index: int, env: Env, view: str) -> Masker:
        try:
            return self.maskers[index].build(env, view)
        except SpecError as error:
            raise SpecError(f"maskers.{index}: {error}") from None


@final
class CurriculumMasker(MaskerSpec):
    """Changes a number of another masker over the run, level by level."""

    axes: ClassVar[tuple[int, ...] | None] = None
    kind: Literal["curriculum"] = "curriculum"
    masker: MaskerField
    """The masker that changes."""
    field: str
    """The number of it that changes, such as `ratio`; dots lead into parts of it: `maskers.0.ratio`."""
    start: float
    """Value at the beginning of the run."""
    end: float
    """Value at `until`, and from then on. It may be lower than `start`."""
    shape: Shape = "linear"
    """Straight line (HPM), or half a cosine."""
    until: float = Field(1.0, gt=0, le=1)
    """Share of the run after which the value is `end`."""
    levels: int = Field(8, ge=2, le=64)
    """Values from `start` to `end`, at equal distances; the nearest to the schedule is in force. Each level that
    hides another number of patches compiles a graph of its own. Whole numbers are rounded."""

    @classmethod
    def example(cls) -> Self:
        return cls(masker=RandomMasker(), field="ratio", start=0.5, end=0.75, levels=2)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        try:
            number = find_number(self.masker, self.field)
        except SpecError as error:
            yield Problem("field", str(error))
            return
        for value in self.values(number):
            try:
                replaced(self.masker, number.keys, value)
            except SpecError as error:
                name = {self.start: "start", self.end: "end"}.get(value, "levels")
                yield Problem(name, f"{self._level_text(value)}: {error}")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.field in type(self.masker).model_fields:
            yield Problem(
                f"masker.{self.field}", "has no effect, as `start` and `end` replace it; leave it out"
            )

    def values(self, number: Number) -> list[float]:
        """The value of every level."""
        return spread(self.start, self.end, self.levels, number.whole)

    def build(self, env: Env, view: str) -> Masker:
        """The sampler. Raises SpecError where there is no such number, or where a level does not fit."""
        from sslkit_maskers.unguided.curriculum import CurriculumSampler

        number = self._number()
        values = self.values(number)
        distinct = list(dict.fromkeys(values))
        maskers = [self._level(number, value, env, view) for value in distinct]
        self._require_same_state(maskers)
        return CurriculumSampler(maskers, [distinct.index(value) for value in values], self.shape, self.until)

    def _number(self) -> Number:
        try:
            return find_number(self.masker, self.field)
        except SpecError as error:
            raise SpecError(f"field: {error}") from None

    def _level(self, number: Number, value: float, env: Env, view: str) -> Masker:
        try:
            masker = replaced(self.masker, number.keys, value).build(env, view)
        except SpecError as error:
            raise SpecError(f"masker: at level {self._level_text(value)}: {error}") from None
        for stage in masker.stages():
            stage.label = ", ".join(filter(None, (self._level_text(value), stage.label)))
        return masker

    def _require_same_state(self, maskers: Sequence[Masker]) -> None:
        """What one level learns, all are taught."""
        stages = [stage for masker in maskers for stage in masker.stages()]
        states = [{name: x.shape for name, x in stage.state_dict().items()} for stage in stages]
        if any(state != states[0] for state in states):
            raise SpecError(
                f"field: {self.field!r} changes the shape of what {self.masker.kind_name()!r} learns, so that levels "
                "could not share it; use a field that does not"
            )

    def _level_text(self, value: float) -> str:
        return f"{self.field} {value:.4g}"
