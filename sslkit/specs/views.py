"""Views: crops of one size with their augmentations and statistics. Torch-free."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Self, final

from pydantic import AfterValidator, Field, model_validator

from sslkit import catalog
from sslkit.core.problem import Problem
from sslkit.core.view import Size, by, size_of
from sslkit.errors import SpecError
from sslkit.specs.augmentation_recipes import RECIPES, Recipe, Step
from sslkit.specs.base import Count, Spec
from sslkit.specs.error_text import suggest
from sslkit.specs.families import AugmentField, AugmentSpec, SourceSpec, TransformField, TransformSpec
from sslkit.specs.references import ViewName

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


Place = Annotated[int, Field(ge=0, lt=2**31)]
"""A channel, counted from 0."""


IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


def _alike(size: Size) -> Size:
    return size if isinstance(size, int) else size_of(size)


Sides = Annotated[Count | tuple[Count, ...], AfterValidator(_alike)]
"""One number, or one for each axis; equal ones are one number."""


@final
class Normalize(Spec):
    """Channel statistics that bring pixels in [0, 1] to zero mean and unit scale. Default: ImageNet's."""

    mean: tuple[float, ...] = Field(IMAGENET_MEAN, min_length=1)
    """Mean of each channel, for pixels in [0, 1]."""
    std: tuple[float, ...] = Field(IMAGENET_STD, min_length=1)
    """Standard deviation of each channel, for pixels in [0, 1]."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The two lists must match and no deviation may be 0."""
        if len(self.mean) != len(self.std):
            yield Problem("std", f"has {len(self.std)} channels where `mean` has {len(self.mean)}")
        if any(s <= 0 for s in self.std):
            yield Problem("std", f"must be above 0 in every channel, found {list(self.std)}")


@final
class ViewSpec(Spec):
    """A named group of crops of one size."""

    size: Sides
    """Side of a crop, in pixels; `[height, width]` where they differ. Of symbols their number."""
    crops: int = Field(1, ge=1, le=1024)
    """Crops of each image."""
    stream: str | None = None
    """What of a sample it is of, by the name that the source gives it. Default: its first, as the images."""
    transform: TransformField | None = None
    """What makes of the stream what a network reads, as a tokenizer does of text. Default: nothing, as for images."""
    augment: tuple[AugmentField, ...] = ()
    """Random changes of every crop, in order. Without one that fixes the size, images are first cut at the center."""
    by_crop: tuple[tuple[AugmentField, ...], ...] = ()
    """Lists of changes instead: crop i takes list i, and begins again with the first where there are more crops."""
    recipe: Recipe | None = None
    """A published set of such lists instead, by its name: `simclr`, `byol`, `dino_global`, ... (see Views)."""
    crops_like: ViewName | None = None
    """A view whose random numbers it shares: where both lists have the same step at the same place, both change alike,
    so that one has the other's crops at another size (DINOv3's Gram teacher). Default: numbers of its own."""
    normalize: Normalize = Normalize()
    """Channel statistics, applied last."""
    show: tuple[Place, Place, Place] | None = None
    """Channels that figures show as red, green and blue, from 0. Default: the first three; one or two: the first."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("augment", "by_crop", "recipe") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(
                f"gives {' and '.join(f'`{name}`' for name in ways)}; they exclude each other: keep one"
            )
        return self

    @property
    def side(self) -> int:
        """The side of a square crop. Raises SpecError where sides differ: what asks for it serves squares only."""
        if not isinstance(self.size, int):
            raise SpecError(f"serves square crops only, found {by(self.size)}; give `size` one number")
        return self.size

    @property
    def chains(self) -> tuple[tuple[AugmentSpec, ...], ...]:
        """The changes of each crop, one list a crop.

        Raises:
            SpecError: the recipe needs a kind that no plugin offers.
        """
        lists = self._recipe_lists() if self.recipe else self.by_crop or (self.augment,)
        return tuple(lists[i % len(lists)] for i in range(self.crops))

    @property
    def fixed(self) -> bool:
        """Whether an image looks the same each time.

        Raises:
            SpecError: the recipe needs a kind that no plugin offers.
        """
        drawn = self.transform is not None and self.transform.random
        return not drawn and not any(augment.random for chain in self.chains for augment in chain)

    def stream_in(self, source: SourceSpec) -> str:
        """The name of its stream among those of `source`."""
        return self.stream or next(iter(source.streams))

    def type_in(self, source: SourceSpec) -> str:
        """What its crops are: what its transform gives, or its stream is; empty where there is no such stream."""
        if self.transform is not None:
            return self.transform.gives
        stream = source.streams.get(self.stream_in(source))
        return "" if stream is None else stream.type

    def axes_in(self, source: SourceSpec) -> int:
        """Axes of its crops, besides channels."""
        return source.streams[self.stream_in(source)].axes if self.transform is None else self.transform.axes

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Every list belongs to a crop, the kinds that a recipe needs are there, and shared crops begin alike."""
        yield from self._stream_problems(run.data)
        if len(self.by_crop) > self.crops:
            yield Problem(
                "by_crop",
                f"has {len(self.by_crop)} lists but `crops` is {self.crops}; set `crops`",
            )
        try:
            lists = self._recipe_lists() if self.recipe else ()
        except SpecError as error:
            yield Problem("recipe", str(error))
        else:
            if len(lists) > self.crops:
                text = f"{self.recipe!r} has lists for {len(lists)} crops, but `crops` is {self.crops}; set `crops`"
                yield Problem("recipe", text)
            else:
                yield from self._shared_problems(run)

    def _stream_problems(self, source: SourceSpec) -> Iterator[Problem]:
        """The source has its stream, and what is done to it takes its type."""
        name, streams = self.stream_in(source), source.streams
        if name not in streams:
            yield Problem(
                "stream", f"{name!r} is not a stream of {source.kind_name()!r}. {suggest(name, streams)}"
            )
            return
        if self.transform is not None and self.transform.takes != streams[name].type:
            kind, takes = self.transform.kind_name(), self.transform.takes
            fitting = [stream for stream, is_of in streams.items() if is_of.type == takes]
            advice = f"set `stream: {fitting[0]}`" if fitting else "take another one of them"
            text = f"{kind!r} takes {takes}, but the stream {name!r} is {streams[name].type}; {advice}"
            yield Problem("transform", text)
            return
        try:
            placed = list(self._placed())
        except SpecError:  # a recipe of kinds that nobody offers, which is told elsewhere
            return
        yield from self._size_problems(source, placed)
        ours = self.type_in(source)
        for path, augment in placed:
            if augment.takes != ours:
                text = f"{augment.kind_name()!r} changes {augment.takes}, but this view is of {ours}; leave it out"
                yield Problem(path, text)

    def _size_problems(
        self, source: SourceSpec, placed: Iterable[tuple[str, AugmentSpec]]
    ) -> Iterator[Problem]:
        """One side for each axis, which every step serves."""
        if isinstance(self.size, int):
            return
        axes = self.axes_in(source)
        if len(self.size) != axes:
            yield Problem(
                "size", f"has {len(self.size)} sides, but crops of {self.type_in(source)} have {axes} axes"
            )
        for path, augment in placed:
            if not augment.oblong:
                yield Problem(path, f"{augment.kind_name()!r} serves equal sides only, found {by(self.size)}")

    def _shared_problems(self, run: RunSpec) -> Iterator[Problem]:
        """Shared random numbers make the same crops where the first steps are the same."""
        if self.crops_like is None:
            return
        other = run.views[self.crops_like]
        if other.crops < self.crops:
            text = f"{self.crops_like!r} has {other.crops} crops, fewer than the {self.crops} of this view"
            yield Problem("crops_like", f"{text}; set `crops` to {other.crops}")
        for i, (ours, theirs) in enumerate(zip(self.chains, other.chains, strict=False)):
            if ours[:1] != theirs[:1]:
                yield Problem(
                    "crops_like",
                    f"crop {i} begins with another step than that of {self.crops_like!r}, so that it shows another "
                    "part of the image; begin both lists with the same step",
                )
                return

    def channel_problems(self, channels: int) -> Iterator[Problem]:
        """What does not fit images of so many channels: statistics, augmentations, what figures show."""
        mean, std = self.normalize.mean, self.normalize.std
        if len(mean) != channels or len(std) != channels:
            yield Problem(
                "normalize",
                f"gives statistics of {len(mean)} channels but the images have {channels}; "
                "give `mean` and `std` with one number a channel",
            )
        if self.show is not None and max(self.show) >= channels:
            yield Problem(
                "show",
                f"names channel {max(self.show)} but the images have {channels}, from 0 to {channels - 1}",
            )
        yield from self.augment_problems(channels)

    def augment_problems(self, channels: int) -> Iterator[Problem]:
        """The augmentations that cannot change images of so many channels."""
        for path, augment in self._placed():
            for problem in augment.channel_problems(channels):
                places = (path, problem.path) if path != "recipe" else (path,)
                text = problem.message if path != "recipe" else f"{augment.kind_name()}: {problem.message}"
                yield Problem(".".join(place for place in places if place), text)

    def _placed(self) -> Iterator[tuple[str, AugmentSpec]]:
        """Every augmentation with its path below this spec; those of a recipe with the recipe's."""
        for i, augment in enumerate(self.augment):
            yield f"augment.{i}", augment
        for i, chain in enumerate(self.by_crop):
            for j, augment in enumerate(chain):
                yield f"by_crop.{i}.{j}", augment
        for augment in (augment for chain in self.chains if self.recipe for augment in chain):
            yield "recipe", augment

    def _recipe_lists(self) -> tuple[tuple[AugmentSpec, ...], ...]:
        assert self.recipe is not None, "only views with a recipe are asked for it"
        return tuple(
            tuple(_augmentation(step, self.recipe) for step in chain) for chain in RECIPES[self.recipe]
        )


def transform_advice(takes: str, types: Collection[str]) -> str:
    """How views of `types` become what a network `takes`, to end a message with; empty where nothing makes it."""
    offers = catalog.kinds("transform").items()
    classes = {kind: cls for kind, cls in offers if issubclass(cls, TransformSpec)}
    makers = [kind for kind, cls in classes.items() if cls.gives == takes and cls.takes in types]
    return f"; give one of these a `transform` that makes {takes}: {', '.join(makers)}" if makers else ""


def _augmentation(step: Step, recipe: str) -> AugmentSpec:
    """The spec of one step of a recipe, of whatever class a plugin registered for its kind."""
    kind = str(step["kind"])
    cls = catalog.kinds("augment").get(kind)
    if cls is None:
        unknown = f"{recipe!r} needs the augmentation {kind!r}, which no plugin that is loaded offers"
        raise SpecError(catalog.missing("augment", kind, unknown))
    spec = cls(**step)
    assert isinstance(spec, AugmentSpec), "the catalog's families hold specs of theirs"
    return spec
