"""The families of components: one abstract spec and one slot each. Only `build` imports torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import AfterValidator, Field

from sslkit.core.problem import Problem
from sslkit.core.view import IMAGE, Stream
from sslkit.specs.base import Spec
from sslkit.specs.metrics import Metrics
from sslkit.specs.references import named
from sslkit.specs.schedule import Period, Value, ends, is_due
from sslkit.specs.slots import Slot
from sslkit.specs.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sslkit.core.augment import Augment as AugmentModule
    from sslkit.core.backbone import Backbone as BackboneModule
    from sslkit.core.balancer import Balancer as BalancerModule
    from sslkit.core.context import Env
    from sslkit.core.evaluator import Evaluator as EvaluatorModule
    from sslkit.core.logger import Logger as LoggerModule
    from sslkit.core.masker import Masker as MaskerModule
    from sslkit.core.objective import Objective as ObjectiveModule
    from sslkit.core.source import Source as SourceModule
    from sslkit.core.target import Target as TargetModule
    from sslkit.core.transform import Transform as TransformModule
    from sslkit.core.view import Grid, Size, View
    from sslkit.specs.run import RunSpec


class BackboneSpec(Spec):
    """A network that turns images, or crops of another type, into tokens."""

    family: ClassVar[str] = "backbone"
    takes: ClassVar[str] = IMAGE
    """Type of the views that it reads: that of their stream, or what their transform gives."""
    oblong: ClassVar[bool] = False
    """Whether it reads crops whose sides differ. `grid` then gets one number an axis."""
    tells_attention: ClassVar[bool] = True
    """Whether the network may answer `attentions`; evaluators that need it are refused before training where not."""
    first_weights: ClassVar[tuple[str, ...]] = ("checkpoint", "pretrained")
    """Fields that say which weights the network begins with. A run that trained has its own, and goes without them."""

    def frozen_in(self, run: RunSpec) -> bool:
        """Whether it is a net of `run` that never changes, and not a network that is trained."""
        trained = (run.backbone, *run.towers.values())
        return all(one is not self for one in trained) and any(
            net.backbone is self for net in run.nets.values()
        )

    @property
    def has_first_weights(self) -> bool:
        """Whether the network begins with weights from elsewhere."""
        return any(getattr(self, name, None) for name in self.first_weights)

    @property
    def blocks(self) -> int | None:
        """Number of blocks whose output can be read; None (the default) if only the built network knows."""
        return None

    @abstractmethod
    def build(self, view: View) -> BackboneModule:
        """The network for crops like those of `view`, the run's first view of the type that it takes."""

    @abstractmethod
    def grid(self, size: Size) -> Grid | None:
        """Patches of a crop of this `size`, one number where all sides are alike; None if only the network knows.

        Raises:
            SpecError: `size` cannot be cut into patches.
        """


class MaskerSpec(Spec):
    """Which patches to hide."""

    family: ClassVar[str] = "masker"
    axes: ClassVar[tuple[int, ...] | None] = (2,)
    """Numbers of axes of patches that it serves: 2 of images, 1 of symbols. None: any."""

    @abstractmethod
    def build(self, env: Env, view: str) -> MaskerModule:
        """The sampler for the patches of `view`. Raises SpecError where they are too few."""


def masker_misfit(masker: MaskerSpec, view: str, axes: int) -> str:
    """Why `masker` cannot hide patches of `view`, which have so many axes."""
    served = " or ".join(map(str, masker.axes or ()))
    return (
        f"{masker.kind_name()!r} hides patches along {served} axes, and view {view!r} has {axes}; "
        "`random` and `bernoulli` serve any"
    )


class TargetSpec(Spec):
    """What to predict about a patch, and how a guess is scored."""

    family: ClassVar[str] = "target"

    @abstractmethod
    def build(self, env: Env, view: str) -> TargetModule:
        """The target for the patches of `view`."""


class Combined(NamedTuple):
    """What a hybrid is made of."""

    objectives: Mapping[str, ObjectiveSpec]
    """Its terms, by name; each may be a hybrid itself."""
    balance: BalancerSpec
    """How their losses become one."""


def _not_negative(value: Value) -> Value:
    if min(ends(value)) < 0:
        raise ValueError("a weight is at least 0, at the start and at the end")
    return value


Weight = Annotated[Value, AfterValidator(_not_negative)]
"""What a loss is multiplied by."""


class ObjectiveSpec(Spec):
    """A loss on tokens. The fields below are common to every kind."""

    family: ClassVar[str] = "objective"
    scores_patches: ClassVar[bool] = True
    """Whether it gives a loss of each hidden patch, as `Output.scores`, where it has a masker."""

    weight: Weight = 1.0
    """What the loss is multiplied by, possibly on a schedule, before a balancer sees it."""
    salt: int = Field(0, ge=0, lt=2**31)
    """Another number gives this term masks of its own where an equal masker of another term would share its masks."""

    @property
    def views(self) -> frozenset[str]:
        """The views that it reads: by default those that its fields of type `ViewName` name.

        Override it where it reads others. A view that no objective reads is refused, so an empty answer, which is that
        of objectives without such fields, says nothing about the others.
        """
        return named(self, "view")

    def combined(self) -> Combined | None:
        """The terms that this is short for, if it is a hybrid; the run then builds those in its place."""
        return None

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """A salt is for masks."""
        if not any(isinstance(spec, MaskerSpec) for _, spec in walk(self)):
            yield Problem("salt", "gives a term masks of its own, and this one has no masker; leave it out")

    @abstractmethod
    def build(self, env: Env) -> ObjectiveModule:
        """The loss module, its heads freshly initialized from torch's generator."""


class BalancerSpec(Spec):
    """How several losses become one."""

    family: ClassVar[str] = "balancer"

    @abstractmethod
    def build(self, names: Sequence[str]) -> BalancerModule:
        """The balancer of the objectives called `names`, in this order."""


class SourceSpec(Spec):
    """Where images and labels come from."""

    family: ClassVar[str] = "source"

    @property
    def streams(self) -> Mapping[str, Stream]:
        """What it gives of every sample, by name; views are of the first where they do not say. Default: images."""
        return {IMAGE: Stream()}

    @abstractmethod
    def build(self, split: str) -> SourceModule | None:
        """The images of `split`, "train" or "test"; None if there is no such split.

        Raises:
            DataError: files are missing, empty or unreadable.
        """


class TransformSpec(Spec):
    """What turns samples of a stream into what networks read, as tokenizers and spectrograms do."""

    family: ClassVar[str] = "transform"
    takes: ClassVar[str] = IMAGE
    """Type of the streams that it reads."""
    gives: ClassVar[str] = IMAGE
    """Type of what it makes: of the augmentations that may follow, and of the networks that read it."""
    axes: ClassVar[int] = 2
    """Axes of what it makes, besides channels: 1 of symbols."""
    random: ClassVar[bool] = True
    """Whether it draws. What does not may come before tokens that are cached."""

    def learn(self, source: SourceModule, stream: str) -> str:
        """What it learns of the training samples of `stream`, as text; nothing, the default.

        It is asked once, when a run begins. The run keeps the text, and `build` gets it, then and later.

        Raises:
            DataError: samples cannot be read, or there is nothing to learn from.
        """
        return ""

    @abstractmethod
    def build(self, size: Size, learned: str) -> TransformModule:
        """The transform that makes crops of this `size`, by what `learn` returned."""


class AugmentSpec(Spec):
    """A random change of images, or of crops of another type."""

    family: ClassVar[str] = "augment"
    takes: ClassVar[str] = IMAGE
    """Type of what it changes."""
    oblong: ClassVar[bool] = False
    """Whether it serves views whose sides differ. `build` then gets one number an axis."""
    random: ClassVar[bool] = True
    """Whether it draws. What does not may come before tokens that are cached."""

    @abstractmethod
    def build(self, size: Size) -> AugmentModule:
        """The batched operation for a view of this `size`, one number where sides are alike."""

    def channel_problems(self, channels: int) -> Iterator[Problem]:
        """Why it cannot change images of so many channels, told before a run. Default: it can, whatever they are."""
        yield from ()


class LoggerSpec(Spec):
    """Where metrics go besides `metrics.jsonl`."""

    family: ClassVar[str] = "logger"

    @abstractmethod
    def build(self, run_dir: Path, name: str) -> LoggerModule:
        """The logger of the run `name` that lives in `run_dir`."""


BackboneField = Annotated[BackboneSpec, Slot()]
"""A field that takes any registered backbone."""
MaskerField = Annotated[MaskerSpec, Slot()]
"""A field that takes any registered masker."""
TargetField = Annotated[TargetSpec, Slot()]
"""A field that takes any registered target."""
ObjectiveField = Annotated[ObjectiveSpec, Slot()]
"""A field that takes any registered objective."""
BalancerField = Annotated[BalancerSpec, Slot()]
"""A field that takes any registered balancer."""
SourceField = Annotated[SourceSpec, Slot()]
"""A field that takes any registered source."""
TransformField = Annotated[TransformSpec, Slot()]
"""A field that takes any registered transform."""
AugmentField = Annotated[AugmentSpec, Slot()]
"""A field that takes any registered augment."""
LoggerField = Annotated[LoggerSpec, Slot()]
"""A field that takes any registered logger."""


class EvaluatorSpec(Spec):
    """A protocol that measures features. The fields below are common to every kind."""

    family: ClassVar[str] = "evaluator"

    oblong: ClassVar[bool] = False
    """Whether it measures networks whose view has sides that differ; those that read features alone do."""

    name: str | None = Field(None, min_length=1, pattern=r"^[\w.@-]+$")
    """Name in the metrics, `eval/NAME/METRIC`. Default: the kind."""
    every: Period = "end"
    """When to run during training: `5 epochs`, `500 steps` or `end`. It always runs at the end too."""
    train: SourceField | None = None
    """Labeled images to learn from. Default: the run's own training images."""
    test: SourceField | None = None
    """Labeled images to score (their test split). Default: those of `train`, or of the run's data."""
    baselines: bool = False
    """Also score raw pixels and the network before the first step: untrained, or as its `checkpoint` has it."""

    @property
    def label(self) -> str:
        """The name this evaluation goes by in the metrics."""
        return self.name or self.kind_name()

    def reported_metrics(self) -> Metrics:
        """The metrics that the protocol reports with these settings, and the direction in which each is better.

        The name of one that depends on data holds `*` for what they tell; one that is not always reported says when.
        `checkpoint.best` can name those that have a direction, and comparisons, reports and tables go by it. Default:
        nothing is declared; then higher is better for the first metric, and nothing is known of the others.
        """
        return {}

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether to run after `step` steps are done (the end of the run is the trainer's matter)."""
        return is_due(self.every, step, steps_per_epoch)

    @abstractmethod
    def build(self) -> EvaluatorModule:
        """The protocol, ready to score features."""


EvaluatorField = Annotated[EvaluatorSpec, Slot()]
"""A field that takes any registered evaluator."""

FAMILIES: dict[str, type[Spec]] = {
    cls.family: cls
    for cls in (
        BackboneSpec, MaskerSpec, TargetSpec, ObjectiveSpec, BalancerSpec,
        EvaluatorSpec, SourceSpec, TransformSpec, AugmentSpec, LoggerSpec,
    )
}  # fmt: skip
"""Every family, by name."""
