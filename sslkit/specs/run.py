"""The spec of a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self, final

from pydantic import Field, model_validator

from sslkit.core.problem import Problem
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
    ObjectiveField,
    ObjectiveSpec,
    SourceField,
)
from sslkit.specs.logging import LogSpec
from sslkit.specs.lora import LoraSpec
from sslkit.specs.nets import NetSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.readout import Readout
from sslkit.specs.schedule import LearningRateSchedule
from sslkit.specs.start_from import StartFrom
from sslkit.specs.terms import Term, mixed_pairs, odd_names, terms
from sslkit.specs.unread_names import unread_nets, unread_views, views_by_name
from sslkit.specs.views import ViewSpec


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
    nets: Mapping[str, NetSpec] = {}
    """Moving averages of the backbone, by name."""
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
    """Objectives and nets at most: each has memory of its own, which `explain` takes too."""
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
        """Name of the view that evaluators read and backbones are sized for."""
        return self.readout.view or next(iter(self.views))

    def images_per_forward(self, ranks: int = 1) -> int:
        """Images that a network gets at once on one of `ranks`."""
        return self.micro_batch_size or max(1, self.batch_size // ranks)

    def backbone_of(self, net: str) -> BackboneSpec:
        """The network of `net`: its own, or that of the student."""
        spec = self.nets.get(net)
        return self.backbone if spec is None or spec.backbone is None else spec.backbone

    def evaluator(self, label: str) -> EvaluatorSpec:
        """The evaluation that goes by `label`."""
        return next(e for e in self.evaluate if e.label == label)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            yield Problem(
                "micro_batch_size", f"{self.micro_batch_size} does not divide `batch_size` {self.batch_size}"
            )
        for group in ("views", "nets", "objectives"):
            yield from odd_names(group, getattr(self, group))
        yield from mixed_pairs("objectives" if self.objective is None else "objective.objectives", self.terms)
        yield from self._too_many()
        yield from self._beside_hybrid()
        yield from self._student_again()
        yield from self._layers()
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
        count = len(self.nets) + sum(1 for _ in self.all_terms())
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

    def _layers(self) -> Iterator[Problem]:
        """The block to read, where the spec says how many there are."""
        depth, layer = self.backbone_of(self.readout.net).blocks, self.readout.layer
        if depth is not None and not -depth <= layer < depth:
            yield Problem("readout.layer", f"{layer} does not exist; the backbone has {depth} blocks, from 0")

    def _student_again(self) -> Iterator[Problem]:
        if "student" in self.nets:
            yield Problem("nets.student", "is the trained backbone itself; choose another name")
