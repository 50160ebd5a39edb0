"""The spec of a whole run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self, final

from pydantic import Field, model_validator

from sslkit.spec.base import Count, Problem, Spec, slot_default
from sslkit.spec.families import (
    Backbone,
    Balancer,
    Evaluator,
    EvaluatorSpec,
    Objective,
    ObjectiveSpec,
    Source,
)
from sslkit.spec.parts import (
    CheckpointSpec,
    CompileSpec,
    LogSpec,
    NetSpec,
    OptimizerSpec,
    Readout,
    Size,
    ViewSpec,
)
from sslkit.spec.schedule import LearningRateSchedule


@final
class RunSpec(Spec):
    """One training run: everything that decides its result."""

    name: str = Field("run", min_length=1, pattern=r"^[\w.@-]+$")
    """Name of the run in logs and summaries."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of everything random."""
    out: Path | None = None
    """Run folder. Default: `runs/NAME`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA where there is a GPU."""
    data: Source
    """Training images (and, for evaluators, labels)."""
    workers: int = Field(4, ge=0, le=1024)
    """Worker processes that decode images; sources that fit in memory need none."""
    augment_on: Literal["auto", "device", "workers"] = "auto"
    """Who augments what workers cut: the training device or the workers, with one result; `auto`: not a CPU device."""
    resident: Size = "2 GiB"
    """Memory of the training device for images of one size, decoded once and kept there; `0 GiB`: workers, always."""
    max_corrupt: float = Field(0.01, ge=0, le=1)
    """Share of unreadable images past which the run stops; up to it they are skipped, counted and listed."""
    views: Mapping[str, ViewSpec] = Field(min_length=1)
    """Crops of each image, by name."""
    backbone: Backbone
    """The network that is trained."""
    nets: Mapping[str, NetSpec] = {}
    """Moving averages of the backbone, by name."""
    objective: Objective | None = None
    """What to optimize; short for `objectives` with one entry."""
    objectives: Mapping[str, Objective] = {}
    """Several objectives, by name."""
    balance: Balancer = slot_default("fixed")
    """How the losses of several objectives become one."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """Optimizer, learning rate and exclusions."""
    schedule: LearningRateSchedule = LearningRateSchedule()
    """Learning rate over the run."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Autocast type; losses stay in float32. Default: bfloat16 where the device is CUDA, float32 on a CPU."""
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
    readout: Readout = Readout()
    """How evaluators read features."""
    evaluate: tuple[Evaluator, ...] = ()
    """Protocols to run during training and at the end."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """When to save, and what to keep."""
    log: LogSpec = LogSpec()
    """What is recorded."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.objective is None) == (not self.objectives):
            raise ValueError("give exactly one of `objective` and `objectives`")
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of `epochs` and `steps`")
        return self

    @property
    def terms(self) -> dict[str, ObjectiveSpec]:
        """The objectives by name; a single one is called by its kind."""
        if self.objective is not None:
            return {self.objective.kind_name(): self.objective}
        return dict(self.objectives)

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return self.out or Path("runs") / self.name

    @property
    def first_view(self) -> str:
        """Name of the view that evaluators read and backbones are sized for."""
        return self.readout.view or next(iter(self.views))

    def evaluator(self, label: str) -> EvaluatorSpec:
        """The evaluation that goes by `label`."""
        return next(e for e in self.evaluate if e.label == label)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Checks across fields."""
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            yield Problem(
                "micro_batch_size", f"{self.micro_batch_size} does not divide `batch_size` {self.batch_size}"
            )
        yield from self._odd_names()
        yield from self._dangling_names()
        labels = [e.label for e in self.evaluate]
        for i, label in enumerate(labels):
            if label in labels[:i]:
                yield Problem(
                    f"evaluate.{i}.name", f"{label!r} is taken; give this evaluation a `name` of its own"
                )

    def _odd_names(self) -> Iterator[Problem]:
        """Names become parts of parameter and metric names."""
        for group in ("views", "nets", "objectives"):
            for name in getattr(self, group):
                if not re.fullmatch(r"[A-Za-z]\w*", name):
                    yield Problem(
                        f"{group}.{name}", "names start with a letter and go on with letters, digits and _"
                    )

    def _dangling_names(self) -> Iterator[Problem]:
        if "student" in self.nets:
            yield Problem("nets.student", "is the trained backbone itself; choose another name")
        if self.readout.net != "student" and self.readout.net not in self.nets:
            known = ", ".join(["student", *self.nets])
            yield Problem("readout.net", f"{self.readout.net!r} is not a net of this run. Known: {known}")
        if self.readout.view is not None and self.readout.view not in self.views:
            yield Problem(
                "readout.view",
                f"{self.readout.view!r} is not a view of this run. Known: {', '.join(self.views)}",
            )
