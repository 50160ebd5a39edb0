"""Opens the network to evaluate: of a run, an exported file, a backbone spec, or a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from sslkit import catalog
from sslkit.build.restore import Restored, restore
from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.system import System
from sslkit.core.view import View, sides_of
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.evaluate.stated_backbone import require_no_files
from sslkit.files.regular import require_regular
from sslkit.files.typed_json import JsonFile
from sslkit.registry.manager import registry
from sslkit.runs.lock import begun_anew
from sslkit.runtime import seeds
from sslkit.specs.check import check
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import BackboneSpec
from sslkit.specs.readout import Readout
from sslkit.specs.run import RunSpec
from sslkit.specs.views import Normalize, ViewSpec

VIEW = "evaluated"
"""The view of networks that come from no run."""


@final
class _Kind(BaseModel):
    """A backbone spec, whose other fields are checked where its kind is known."""

    model_config = ConfigDict(extra="allow")
    kind: str


@final
class _Description(BaseModel):
    """What `sslkit export` writes about a network."""

    backbone: _Kind
    view: Mapping[str, object]
    readout: Mapping[str, object]


DESCRIPTION = JsonFile(TypeAdapter(_Description), CheckpointError, "export it again")


class Network(NamedTuple):
    """A network and how it is evaluated."""

    spec: RunSpec
    """The run, with the fields that the evaluation overrides; of no run, only what evaluators can ask about."""
    net: Backbone
    view: View
    objectives: Callable[[], tuple[System, Env]] | None
    """Builds the run that trained it, where there is one, at the first call."""
    folder: Path
    """Where results go."""
    step: int
    checkpoint: str | None


def open_network(spec: EvaluationSpec) -> Network:
    """The network that `spec` names, on the CPU, with its weights.

    Raises:
        SpecError: what is asked of it does not fit.
        CheckpointError: a run, checkpoint or file is missing or damaged.
        DataError: there are no images.
    """
    if spec.run is not None:
        return of_run(spec.run, spec.checkpoint, spec)
    if spec.file is not None:
        backbone, view, readout = exported(spec.file)
        if spec.size is not None or spec.normalize is not None:
            view = _with(view, spec)
        return of_backbone(spec, backbone, view, spec.readout or readout)
    assert spec.backbone is not None, "the spec checks itself"
    assert spec.size is not None, "the spec checks itself"
    view = ViewSpec(size=spec.size, normalize=spec.normalize or Normalize())
    return of_backbone(spec, spec.backbone, view, spec.readout or Readout())


def of_run(run_dir: Path, checkpoint: str = "last", spec: EvaluationSpec | None = None) -> Network:
    """The network of a run at one of its checkpoints; what `spec` sets replaces what the run says.

    Raises:
        CheckpointError: the folder holds no run, or no such checkpoint.
        SpecError: what is set does not fit.
    """
    restored = restore(run_dir, checkpoint)
    run = restored.spec
    if spec is not None:
        overrides = {
            name: getattr(spec, name) for name in ("data", "readout", "precision") if getattr(spec, name)
        }
        overrides |= {"evaluate": spec.evaluate} if spec.evaluate else {}
        run = run.model_copy(
            update={**overrides, **_limits(spec), "device": spec.device, "workers": spec.workers}
        )
        run = _resized(run, spec)
        check(run, effects="evaluate", unread={*run.views} - {run.first_view})
    return read_as(restored, run, spec.out if spec is not None and spec.out is not None else run_dir)


def read_as(restored: Restored, run: RunSpec, folder: Path) -> Network:
    """The network of a run as `run` reads it, which differs from the restored spec in no part that was trained.

    Raises:
        SpecError: the net of its readout is not there, or its statistics are of other channels.
    """
    loaded = restored.loaded
    if run.readout.net not in (*run.trained, *run.nets):
        names = ", ".join([*run.trained, *run.nets])
        raise SpecError(f"readout.net: {run.readout.net!r} is not a net of this run. Known: {names}")
    view_spec, trained_view = run.views[run.first_view], restored.views[run.first_view]
    view = trained_view._replace(size=sides_of(view_spec.size, len(trained_view.sides)))
    if not view.symbols:
        _require_channels(view_spec.normalize, view.channels, "the network reads")
        view = view._replace(mean=view_spec.normalize.mean, std=view_spec.normalize.std)
    net = restored.net(run.readout.net)
    return Network(
        run, net, view, lambda: (restored.system, restored.env), folder, loaded.step, str(loaded.path)
    )


def _limits(spec: EvaluationSpec) -> dict[str, float]:
    return {} if spec.max_duplicates is None else {"max_duplicates": spec.max_duplicates}


def _resized(run: RunSpec, spec: EvaluationSpec) -> RunSpec:
    if spec.size is None and spec.normalize is None:
        return run
    views = {**run.views, run.first_view: _with(run.views[run.first_view], spec)}
    return run.model_copy(update={"views": views})


def _with(view: ViewSpec, spec: EvaluationSpec) -> ViewSpec:
    return view.model_copy(
        update={"size": spec.size or view.size, "normalize": spec.normalize or view.normalize}
    )


def of_backbone(spec: EvaluationSpec, backbone: BackboneSpec, view: ViewSpec, readout: Readout) -> Network:
    """The network that `backbone` builds, read through `view` and `readout`; random weights are those of the seed.

    Raises:
        SpecError: it cannot be built, or what is asked of it does not fit.
        DataError: there are no images.
    """
    assert spec.out is not None, "the spec checks itself"
    run = stand_in(spec, backbone, view, readout)
    input_view = view_of(run)
    seeds.seed_torch(spec.seed, "init")
    net = backbone.build(input_view).requires_grad_(False)
    return Network(run, net, input_view, None, spec.out, 0, None)


def stand_in(spec: EvaluationSpec, backbone: BackboneSpec, view: ViewSpec, readout: Readout) -> RunSpec:
    """What evaluators may ask a run about, of a network that comes from none.

    Raises:
        SpecError: a protocol does not fit the network.
    """
    assert spec.data is not None, "the spec checks itself"
    run = RunSpec.model_construct(
        name="evaluation", seed=spec.seed, device=spec.device, data=spec.data, workers=spec.workers,
        views={VIEW: view}, backbone=backbone, nets={}, objective=None, objectives={}, readout=readout,
        evaluate=spec.evaluate, precision=spec.precision, batch_size=readout.batch_size,
    )  # fmt: skip
    run = run.model_copy(update=_limits(spec))
    check(run)
    return run


def view_of(run: RunSpec) -> View:
    """What a network of no run reads, with the channels of the data."""
    view, source = run.views[VIEW], run.data.build("test") or run.data.build("train")
    if source is None:
        raise DataError("data: has neither a train nor a test split")
    _require_channels(view.normalize, source.channels, "the images have")
    return View(view.size, 1, source.channels, view.normalize.mean, view.normalize.std, view.show)


def _require_channels(normalize: Normalize, channels: int, subject: str) -> None:
    if not len(normalize.mean) == len(normalize.std) == channels:
        raise SpecError(
            f"normalize: gives statistics of {len(normalize.mean)} channels but {subject} {channels}"
        )


def exported(path: Path) -> tuple[BackboneSpec, ViewSpec, Readout]:
    """What `sslkit export` wrote about the network in `path`, which its spec loads from there.

    Raises:
        CheckpointError: it is no such file, is damaged, or needs a backbone that no plugin offers.
    """
    require_regular(path, CheckpointError)
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from None
    if "sslkit" not in metadata:
        raise CheckpointError(
            f"{path}: does not say how it is read, as files of `sslkit export` do; use `backbone` with a `checkpoint`"
        )
    description = DESCRIPTION.parse(metadata["sslkit"], f"{path}: metadata 'sslkit'")
    kind = description.backbone.kind
    try:
        spec_class = catalog.kinds("backbone").get(kind)
        if (
            spec_class is None
            or not issubclass(spec_class, BackboneSpec)
            or "checkpoint" not in spec_class.model_fields
        ):
            unable = f"no plugin here can load a {kind!r} from a file"
            raise CheckpointError(f"{path}: {registry().clashes('backbone').get(kind, unable)}")
        backbone = spec_class.model_validate({**begun_anew(dict(description.backbone)), "checkpoint": path})
        require_no_files(backbone, path, "checkpoint")
        return (
            backbone,
            ViewSpec.model_validate(description.view),
            Readout.model_validate(description.readout),
        )
    except ValidationError as error:
        wrong = ".".join(str(place) for place in error.errors()[0]["loc"])
        reason = f"was written by another version, for {wrong!r} is not known here"
        raise CheckpointError(f"{path}: {reason}; export it again") from None
