"""The files of a run folder: which fields they have, and of which types. What is not named here may be anything."""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic takes those of `typing` from Python 3.12 on
    final,
)

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from sslkit.errors import CheckpointError
from sslkit.files.typed_json import JsonFile, NotEmpty, Number, Whole
from sslkit.specs.metrics import Better

Fields = dict[str, Any]
"""A mapping whose values are for others to judge, as those of a spec."""
OPEN = ConfigDict(extra="allow")
"""Of files to which later versions, or a plugin, may add."""
CLOSED = ConfigDict(extra="forbid")


Seconds = Annotated[Number, Field(ge=-1e12, le=1e12)]
"""A time that people can be told; negative where a clock was set back, which is no damage."""


@final
class Stage(TypedDict):
    """A masker in force from a step on."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    step: Whole
    tokens_per_step: Number


@final
class Pass(TypedDict):
    """A pass of a network in every step."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    net: str
    guide: bool
    stages: list[Stage]
    tokens_per_step: Number


@final
class Plan(TypedDict, total=False):
    """What terms share."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    terms: dict[str, Number]


@final
class Resolved(TypedDict, total=False):
    """What followed from spec, data and machine."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    images: Whole
    channels: Whole
    steps: Whole
    steps_per_epoch: Whole
    ranks: Whole
    device: str
    parameters: dict[str, Whole]
    notes: list[str]
    passes: list[Pass]
    plan: Plan
    flops: dict[Whole, Number] | None


@final
class LockedSpec(TypedDict, total=False):
    """The fields of a spec that are read without making one of it; the others are checked where one is made."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    name: str
    seed: Whole
    batch_size: Whole
    evaluate: list[Fields]
    backbone: Fields
    nets: dict[str, Fields]


@final
class LockedData(TypedDict):
    """A source as it was when the run began."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    fingerprint: str
    images: Whole


@final
class Lock(TypedDict):
    """`spec.lock.yaml`."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    run: NotRequired[str]
    spec: LockedSpec
    resolved: Resolved
    packages: dict[str, str]
    plugins: NotRequired[dict[str, str]]
    data: NotRequired[dict[str, LockedData] | None]
    lineage: NotRequired[list[Fields] | None]
    folder: NotRequired[str]
    python: NotRequired[str]
    platform: NotRequired[str]
    command: NotRequired[list[str]]
    git: NotRequired[str | None]


@final
class StoredManifest(TypedDict):
    """`manifest.json`."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    run: str
    files: dict[str, str]
    saved: bool


@final
class BestEntry(TypedDict):
    """The best value of a metric until a checkpoint."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    value: Number
    step: Whole
    better: NotRequired[Literal["higher", "lower"]]


@final
class Nothing(TypedDict):
    """Of a checkpoint of before there was a collapse guard."""

    __pydantic_config__ = CLOSED  # type: ignore[misc]


@final
class Collapse(TypedDict):
    """What the collapse guard knows."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    step: Whole
    worked: Number
    highest: dict[str, Number]
    rows: dict[str, tuple[Whole, Whole, Number]]
    findings: list[tuple[str, Whole, Whole, Number, str]]


@final
class StoredTally(TypedDict):
    """What `metrics.jsonl` held."""

    __pydantic_config__ = CLOSED  # type: ignore[misc]
    bytes: Whole
    lines: Whole
    sha256: str


@final
class Meta(TypedDict):
    """`meta.json` of a checkpoint."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    format: Whole
    step: Whole
    sha256: str
    evaluated: NotRequired[bool]
    seconds: NotRequired[Annotated[Number, Field(ge=-1e12, le=1e12)]]
    """Below 0 where earlier versions counted a pause twice."""
    joules: NotRequired[Number | None]
    best: NotRequired[dict[str, BestEntry]]
    collapse: NotRequired[Collapse | Nothing]
    records: NotRequired[list[str]]
    tally: NotRequired[StoredTally]
    run: NotRequired[str]


@final
class Summary(TypedDict, total=False):
    """`summary.json`."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    name: str
    finished: bool
    step: Whole
    seconds: Seconds
    flops: Number | None
    metrics: dict[str, Any]
    best: dict[str, BestEntry]


@final
class Split(TypedDict, total=False):
    """The images of one split that were read."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    fingerprint: str
    images: Whole


@final
class EvaluationFile(TypedDict):
    """`evaluations/step-00000100/LABEL.json`."""

    __pydantic_config__ = CLOSED  # type: ignore[misc]
    label: str
    step: Whole
    protocol: str
    settings: Fields
    metrics: Annotated[dict[str, Number | None], NotEmpty]
    intervals: dict[str, tuple[Number | None, Number | None]]
    tables: Fields
    figures: dict[str, str]
    data: dict[str, Split]
    readout: Fields
    view: Fields
    weights_sha256: str
    checkpoint: str | None
    unreadable: list[str]
    run: NotRequired[str | None]
    checksum: NotRequired[str]
    predictions_sha256: NotRequired[str | None]
    better: NotRequired[dict[str, Better | None]]
    variant: NotRequired[str]


LOCK_FILE = JsonFile(
    TypeAdapter(Lock),
    CheckpointError,
    "bring it back from a copy, or begin the run anew in another folder with --out",
)
MANIFEST_FILE = JsonFile(
    TypeAdapter(StoredManifest), CheckpointError, "remove it: the other files are known by themselves"
)
META_FILE = JsonFile(TypeAdapter(Meta), CheckpointError, "the checkpoint cannot be used")
SUMMARY_FILE = JsonFile(TypeAdapter(Summary), CheckpointError, "`sslkit resume` makes it again")
EVALUATION_FILE = JsonFile(TypeAdapter(EvaluationFile), CheckpointError, "run `sslkit evaluate` again")
