"""The fields of a run as an editor completes them in `Run(...)`; what they mean is told by `RunSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, final

from sslkit.specs.checkpoints import CheckpointSpec
from sslkit.specs.compilation import CompileSpec
from sslkit.specs.extension import Extension
from sslkit.specs.families import BackboneSpec, BalancerSpec, EvaluatorSpec, ObjectiveSpec, SourceSpec
from sslkit.specs.logging import LogSpec
from sslkit.specs.lora import LoraSpec
from sslkit.specs.nets import NetSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.readout import Readout
from sslkit.specs.schedule import LearningRateSchedule
from sslkit.specs.start_from import StartFrom
from sslkit.specs.views import ViewSpec

Fields = Mapping[str, Any]
"""The fields of a spec, as YAML has them."""


@final
class RunFields(TypedDict, total=False):
    """Arguments of `Run`."""

    name: str
    seed: int
    out: Path | str | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    parallel: Literal["ddp", "fsdp"]
    data: SourceSpec | Fields | object
    workers: int
    augment_on: Literal["auto", "device", "workers"]
    resident: str | int
    max_corrupt: float
    max_duplicates: float
    views: Mapping[str, ViewSpec | Fields]
    backbone: BackboneSpec | Fields | object
    lora: LoraSpec | Fields | None
    towers: Mapping[str, BackboneSpec | Fields]
    nets: Mapping[str, NetSpec | Fields]
    start_from: StartFrom | Fields | None
    objective: ObjectiveSpec | Fields | None
    objectives: Mapping[str, ObjectiveSpec | Fields]
    balance: BalancerSpec | Fields
    optimizer: OptimizerSpec | Fields
    schedule: LearningRateSchedule | Fields
    precision: Literal["float32", "bfloat16", "float16"] | None
    compile: CompileSpec | Fields
    batch_size: int
    micro_batch_size: int | None
    epochs: int | None
    steps: int | None
    extended: Sequence[Extension | Fields]
    readout: Readout | Fields
    evaluate: Sequence[EvaluatorSpec | Fields]
    checkpoint: CheckpointSpec | Fields
    max_parts: int
    log: LogSpec | Fields
