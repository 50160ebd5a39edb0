"""The spec of a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self, final

from pydantic import Field, model_validator

from sslkit.core.problem import Problem
from sslkit.core.view import by
from sslkit.specs.base import Count, Spec, slot_default
from sslkit.specs.byte_sizes import Size
from sslkit.specs.checkpoints import CheckpointSpec
from sslkit.specs.compilation import CompileSpec
from sslkit.specs.extension import Extension, order_problems
from sslkit.specs.families import (
    BackboneField,
    BackboneSpec,
    BalancerField,
    Combined,
    EvaluatorField,
    EvaluatorSpec,
    MaskerSpec,
    ObjectiveField,
    ObjectiveSpec,
    SourceField,
    masker_misfit,
)
from sslkit.specs.logging import LogSpec
from sslkit.specs.lora import LoraSpec
from sslkit.specs.nets import NetSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.readout import Readout
from sslkit.specs.references import STUDENT
from sslkit.specs.schedule import LearningRateSchedule
from sslkit.specs.start_from import StartFrom
from sslkit.specs.terms import Term, mixed_pairs, odd_names, terms
from sslkit.specs.unread_names import unread_nets, unread_towers, unread_views, views_by_name
from sslkit.specs.views import ViewSpec, transform_advice
from sslkit.specs.walk import walk


@final
class RunSpec(Spec):
    """One training run: everything that decides its result."""

    name: str = Field("run", min_length=1, pattern=r"^[\w.@-]+$")
    """Name of the run in logs and summaries."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of everything random."""
    out: Path | None = None
    """Run folder. Default: `runs/NAME`."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; `auto` takes CUDA where there is a GPU. An Apple GPU has to be asked for: `mps`."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What ranks under `torchrun` hold: whole replicas (`ddp`), or shards of all parameters and moments (`fsdp`)."""
    data: SourceField
    """Training images (and, for evaluators, labels)."""
    workers: int = Field(4, ge=0, le=1024)
    """Worker processes that decode images; sources that fit in memory need none."""
    augment_on: Literal["auto", "device", "workers"] = "auto"
    """Who augments what workers cut: the training device or the workers, with one result; `auto`: not a CPU device."""
    resident: Size = "2 GiB"
    """Memory of the training device for images of one size, decoded once and kept there; `0 GiB`: workers, always."""
    max_corrupt: float = Field(0.01, ge=0, le=1)
    """Share of unreadable images past which the run stops; up to it they are skipped, counted and listed."""
    max_duplicates: float = Field(0.01, ge=0, le=1)
    """Share of test images that are training images too past which the run is refused; up to it they are counted."""
    views: Mapping[str, ViewSpec] = Field(min_length=1)
    """Crops of each image, by name."""
    backbone: BackboneField
    """The network that is trained."""
    lora: LoraSpec | None = None
    """Train low-rank changes of the backbone in place of its weights. Default: all weights are trained."""
    towers: Mapping[str, BackboneField] = {}
    """Further networks that are trained, by name, as one that reads text."""
    nets: Mapping[str, NetSpec] = {}
    """Moving averages of the backbone and of towers, by name."""
    start_from: StartFrom | None = None
    """A run whose networks this one begins with. Default: weights drawn from the seed, or the `checkpoint` of nets."""
    objective: ObjectiveField | None = None
    """What to optimize: short for `objectives` with one entry, or a hybrid, short for its terms and its balance."""
    objectives: Mapping[str, ObjectiveField] = {}
    """Several objectives, by name."""
    balance: BalancerField = slot_default("fixed")
    """How the losses of several objectives become one."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """Optimizer, learning rate and exclusions."""
    schedule: LearningRateSchedule = LearningRateSchedule()
    """Learning rate over the run."""
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Autocast type; losses stay in float32. `float16` scales the loss. Default: bfloat16 on CUDA, else float32."""
    compile: CompileSpec = CompileSpec()
    """`torch.compile` settings."""
    batch_size: Count
    """Images per step, over all ranks and micro-batches."""
    micro_batch_size: Count | None = None
    """Images per forward on one rank; fewer accumulate gradients. Default: the rank's whole share."""
    epochs: Count | None = None
    """Length of the run in passes over the data; give this or `steps`."""
    steps: Count | None = None
    """Length of the run in optimizer steps."""
    extended: tuple[Extension, ...] = ()
    """Where the run was made longer, and how its schedules went on. `sslkit extend` writes it."""
    readout: Readout = Readout()
    """How evaluators read features."""
    evaluate: tuple[EvaluatorField, ...] = ()
    """Protocols to run during training and at the end."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """When to save, and what to keep."""
    max_parts: Count = 32
    """Objectives, towers and nets at most: each has memory of its own, which `explain` takes too."""
    log: LogSpec = (
        LogSpec.model_construct()
    )  # not checked here: its slot would load the plugins, which import this
    """What is recorded."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.objective is None) == (not self.objectives):
            raise ValueError("give exactly one of `objective` and `objectives`")
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of `epochs` and `steps`")
        return self

    @property
    def combined(self) -> Combined:
        """What is optimized together, and what balances it: of a hybrid its terms and its own balance."""
        if self.objective is None:
            return Combined(self.objectives, self.balance)
        alone = Combined({self.objective.kind_name(): self.objective}, self.balance)
        return self.objective.combined() or alone

    @property
    def terms(self) -> dict[str, ObjectiveSpec]:
        """The objectives that are balanced, by name; a single one is called by its kind."""
        return dict(self.combined.objectives)

    @property
    def balance_path(self) -> str:
        """Where the spec has the balancer of the whole run."""
        hybrid = self.objective is not None and self.objective.combined() is not None
        return "objective.balance" if hybrid else "balance"

    def all_terms(self) -> Iterator[Term]:
        """Every objective and every hybrid that is a term, at any depth, a hybrid before its members."""
        if self.objective is None:
            yield from terms(self.objectives, "objectives")
        elif self.objective.combined() is not None:
            yield from terms(self.terms, "objective.objectives", salts=(self.objective.salt,))
        else:
            yield from (term._replace(path="objective") for term in terms(self.terms, ""))

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return self.out or Path("runs") / self.name

    @property
    def first_view(self) -> str:
        """Name of the view that evaluators read."""
        return self.readout.view or self.view_of(self.readout.net)

    @property
    def trained(self) -> tuple[str, ...]:
        """The networks that are trained: `student`, and the names under `towers`."""
        return (STUDENT, *self.towers)

    def view_of(self, net: str) -> str:
        """The view that `net` is sized for: that of the readout, or else the first one, of the type that it takes."""
        takes = self.backbone_of(net).takes
        fitting = [name for name, view in self.views.items() if view.type_in(self.data) == takes]
        wanted = self.readout.view
        return wanted if wanted in fitting and wanted else next(iter(fitting or self.views))

    def original(self, net: str) -> str:
        """The trained network that `net` is or follows, as a moving average or a copy."""
        return self.nets[net].of if net in self.nets else net

    def images_per_forward(self, ranks: int = 1) -> int:
        """Images that a network gets at once on one of `ranks`."""
        return self.micro_batch_size or max(1, self.batch_size // ranks)

    def backbone_of(self, net: str) -> BackboneSpec:
        """The network of `net`: its own, or that of whom it follows."""
        spec = self.nets.get(net)
        if spec is not None and spec.backbone is not None:
            return spec.backbone
        return self.towers.get(self.original(net), self.backbone)

    def evaluator(self, label: str) -> EvaluatorSpec:
        """The evaluation that goes by `label`."""
        return next(e for e in self.evaluate if e.label == label)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            yield Problem(
                "micro_batch_size", f"{self.micro_batch_size} does not divide `batch_size` {self.batch_size}"
            )
        for group in ("views", "towers", "nets", "objectives"):
            yield from odd_names(group, getattr(self, group))
        yield from mixed_pairs("objectives" if self.objective is None else "objective.objectives", self.terms)
        yield from self._too_many()
        yield from self._beside_hybrid()
        yield from self._student_again()
        yield from self._layers()
        yield from self._unfit_views()
        yield from order_problems(self.extended, self.steps)
        taken = set[str]()
        for i, evaluator in enumerate(self.evaluate):
            label = evaluator.label
            if label in taken:
                yield Problem(
                    f"evaluate.{i}.name", f"{label!r} is taken; give this evaluation a `name` of its own"
                )
            taken.add(label)

    def _too_many(self) -> Iterator[Problem]:
        count = len(self.towers) + len(self.nets) + sum(1 for _ in self.all_terms())
        if count > self.max_parts:
            yield Problem(
                "max_parts",
                f"there are {count:,} objectives and nets, more than {self.max_parts:,}, and each takes memory of its "
                "own; leave some out, or raise `max_parts`",
            )

    def _beside_hybrid(self) -> Iterator[Problem]:
        """Where the hybrid is the whole of the run, what is said beside it has no effect."""
        if self.objective is None or self.objective.combined() is None:
            return
        # values and not what was set: the lock of a run sets every field
        if self.balance.kind_name() != "fixed" or self.balance != type(self.balance)():
            yield Problem("balance", "the hybrid has its own, `objective.balance`; set that one")
        if self.objective.weight != 1:
            yield Problem(
                "objective.weight", "is for the terms of a hybrid; a run has one loss, so leave it out"
            )

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """A balancer of one loss, views and nets that nothing reads."""
        if len(self.terms) == 1 and self.balance.kind_name() != "fixed":
            yield Problem(
                "balance",
                f"{self.balance.kind_name()!r} balances several objectives, and there is one; leave it out",
            )
        read = views_by_name(self)
        yield from unread_views(self, read) if read is not None else ()
        yield from unread_nets(self)
        yield from unread_towers(self)

    def _layers(self) -> Iterator[Problem]:
        """The block to read, where the spec says how many there are."""
        depth, layer = self.backbone_of(self.readout.net).blocks, self.readout.layer
        if depth is not None and not -depth <= layer < depth:
            yield Problem("readout.layer", f"{layer} does not exist; the backbone has {depth} blocks, from 0")

    def _student_again(self) -> Iterator[Problem]:
        for group in (self.nets, self.towers):
            if STUDENT in group:
                name = "nets" if group is self.nets else "towers"
                yield Problem(f"{name}.{STUDENT}", "is the trained backbone itself; choose another name")
        for name in self.nets:
            if name in self.towers:
                yield Problem(f"nets.{name}", f"is `towers.{name}`, which is trained; choose another name")

    def _maskers(self) -> Iterator[Problem]:
        """Every masker serves one of the views that its objective names."""
        for term in self.all_terms():
            views = [n for n in term.spec.views if n in self.views and self.views[n].type_in(self.data)]
            axes = {name: self.views[name].axes_in(self.data) for name in views}
            for path, masker in walk(term.spec) if term.balance is None else ():
                served = masker.axes if isinstance(masker, MaskerSpec) else None
                if (
                    axes
                    and served is not None
                    and isinstance(masker, MaskerSpec)
                    and not {*axes.values()} & {*served}
                ):
                    name = min(axes)
                    yield Problem(f"{term.path}.{path}", masker_misfit(masker, name, axes[name]))

    def _oblong(self, backbones: Mapping[str, BackboneSpec]) -> Iterator[Problem]:
        """Every network serves the sides of the views that it reads, and evaluators those of the readout's."""
        shown = self.views.get(self.first_view)
        for i, evaluator in enumerate(self.evaluate):
            if shown is not None and not isinstance(shown.size, int) and not evaluator.oblong:
                text = f"{evaluator.label!r} serves equal sides only, and `views.{self.first_view}.size` is"
                yield Problem(
                    f"evaluate.{i}", f"{text} {by(shown.size)}; name a square one as `readout.view`"
                )
        for name, view in self.views.items():
            kind = view.type_in(self.data)
            for path, backbone in backbones.items():
                if not isinstance(view.size, int) and backbone.takes == kind and not backbone.oblong:
                    serves = f"{backbone.kind_name()!r} serves equal sides only"
                    yield Problem(path, f"{serves}, and `views.{name}.size` is {by(view.size)}")

    def _unfit_views(self) -> Iterator[Problem]:
        """There is a view for every network that is built for one."""
        types = {view.type_in(self.data) for view in self.views.values()}
        paths = {"backbone": self.backbone}
        paths |= {f"towers.{name}": tower for name, tower in self.towers.items()}
        paths |= {
            f"nets.{name}.backbone": net.backbone
            for name, net in self.nets.items()
            if net.backbone is not None
        }
        for path, backbone in paths.items():
            if backbone.takes not in types and "" not in types:
                reads = f"{backbone.kind_name()!r} reads {backbone.takes}, and no view is of that"
                there = f"there are views of {', '.join(sorted(types))}"
                yield Problem(path, f"{reads}: {there}{transform_advice(backbone.takes, types)}")
        yield from self._oblong(paths)
        yield from self._maskers()
        view = self.views.get(self.readout.view or "")
        ours = None if view is None else view.type_in(self.data)
        if ours and self.readout.net in (*self.trained, *self.nets):
            reads = self.backbone_of(self.readout.net).takes
            if ours != reads:
                text = f"is of {ours}, but {self.readout.net!r} reads {reads}; name another view"
                yield Problem("readout.view", text)
