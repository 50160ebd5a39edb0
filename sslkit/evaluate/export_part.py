"""Export and loading of parts of a run: student, view, and what an objective added, without the run or its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, final

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sslkit import catalog
from sslkit.build.restore import Restored, restore
from sslkit.core.backbone import Backbone
from sslkit.core.objective import Part
from sslkit.core.view import View
from sslkit.errors import CheckpointError, SpecError, SslkitError
from sslkit.evaluate.stated_backbone import require_no_files
from sslkit.files.regular import require_regular
from sslkit.files.typed_json import JsonFile, Number
from sslkit.registry.manager import registry
from sslkit.runs.lock import begun_anew
from sslkit.runtime.atomic_files import write_bytes
from sslkit.specs.families import BackboneSpec

Side = Annotated[int, Field(ge=1, le=16_384, strict=True)]
"""Pixels of an image's side."""
BACKBONE = "backbone."
"""What the names of the student's weights begin with."""


@final
class _StoredView(BaseModel):
    """The view that a part reads."""

    size: Side
    crops: Annotated[int, Field(ge=1, le=1024)] = 1
    channels: Annotated[int, Field(ge=1, le=1024)]
    mean: tuple[Number, ...]
    std: tuple[Number, ...]

    @model_validator(mode="after")
    def _of_each_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"should have {self.channels} means and deviations")
        return self

    def view(self) -> View:
        """What it says."""
        return View(self.size, self.crops, self.channels, self.mean, self.std)


@final
class _Spec(BaseModel):
    """A backbone spec, whose other fields are checked where its kind is known."""

    model_config = ConfigDict(extra="allow")
    kind: str


@final
class _Described(BaseModel):
    """A backbone and the size that its positions were made for."""

    spec: _Spec
    size: Side


AGAIN = "write it again with `sslkit export RUN_DIR --part NAME --out FILE`"
VIEW = JsonFile(TypeAdapter(_StoredView), CheckpointError, AGAIN)
BACKBONE_OF = JsonFile(TypeAdapter(_Described), CheckpointError, AGAIN)
SETTINGS = JsonFile(TypeAdapter(dict[str, Any]), CheckpointError, AGAIN)


class Loaded(NamedTuple):
    """A part that was read from its file."""

    backbone: Backbone
    """The student, its weights loaded, on the CPU."""
    view: View
    state: dict[str, Tensor]
    settings: Mapping[str, Any]


def export_part(run_dir: Path, name: str, out: Path, checkpoint: str = "last") -> None:
    """Write the part `name` of the run in `run_dir` to `out`, a safetensors file.

    Raises:
        SpecError: the run has no such part, or `out` does not end in .safetensors.
        CheckpointError: no such run or checkpoint.
        StorageError: `out` could not be written.
    """
    if out.suffix != ".safetensors" or out.is_dir():
        raise SpecError(f"{out}: must be a file that ends in .safetensors")
    restored = restore(run_dir, checkpoint)
    part = _find(_parts(restored), name, run_dir)
    write_bytes(out, save(_state(restored, part), _metadata(restored, part, name)))


def read_part(path: Path, name: str) -> Loaded:
    """The part called `name` that `export_part` wrote to `path`.

    Raises:
        CheckpointError: the file is gone or damaged, is no such part, or needs a backbone that no plugin offers.
    """
    again = f"`sslkit export RUN_DIR --part {name} --out FILE` writes one"
    if not path.exists():
        raise CheckpointError(f"no file {path}; {again}")
    require_regular(path, CheckpointError)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if metadata.get("part") != name:
        raise CheckpointError(f"{path}: is no {name}; {again}")
    for key in ("view", "backbone", "settings"):
        if key not in metadata:
            raise CheckpointError(f"{path}: has no metadata {key!r}; {again}")
    view = VIEW.parse(metadata["view"], f"{path}: metadata 'view'").view()
    described = BACKBONE_OF.parse(metadata["backbone"], f"{path}: metadata 'backbone'")
    settings = SETTINGS.parse(metadata["settings"], f"{path}: metadata 'settings'")
    backbone = _backbone(path, described, view, state)
    rest = {key: value for key, value in state.items() if not key.startswith(BACKBONE)}
    return Loaded(backbone, view, rest, settings)


def _parts(restored: Restored) -> dict[str, Part]:
    """Every part; where two objectives offer the same, each goes by OBJECTIVE.PART."""
    every: list[tuple[str, str, Part]] = []
    for owner, objective in restored.system.objectives.items():
        every += [(owner, name, part) for name, part in objective.parts().items()]
    names = [name for _, name, _ in every]
    return {name if names.count(name) == 1 else f"{owner}.{name}": part for owner, name, part in every}


def _find(parts: Mapping[str, Part], name: str, run_dir: Path) -> Part:
    if name not in parts:
        names = ", ".join(["backbone", *parts])
        raise SpecError(f"{run_dir}: has no part {name!r} to export. Known: {names}")
    return parts[name]


def _state(restored: Restored, part: Part) -> dict[str, Tensor]:
    student = restored.system.nets["student"].state_dict()
    named = {f"{BACKBONE}{name}": value for name, value in student.items()} | dict(part.state)
    return {name: value.detach().cpu().contiguous().clone() for name, value in named.items()}


def _metadata(restored: Restored, part: Part, name: str) -> dict[str, str]:
    backbone = restored.spec.backbone.model_dump(mode="json", exclude={"checkpoint"})  # the weights are here
    view = restored.env.view(part.view).seen()
    # the backbone was made for the first view; its positions have that size
    size = restored.env.view(restored.spec.first_view).size
    description = {
        "backbone": {"spec": backbone, "size": size},
        "view": view,
        "settings": dict(part.settings),
    }
    return {
        "format": "pt",
        "part": name.rpartition(".")[2],
        **{key: json.dumps(value) for key, value in description.items()},
    }


def _backbone(path: Path, description: _Described, view: View, state: Mapping[str, Tensor]) -> Backbone:
    """The network that the file describes, with the file's weights."""
    kind = description.spec.kind
    cls = catalog.kinds("backbone").get(kind)
    if cls is None or not issubclass(cls, BackboneSpec):
        unknown = f"needs backbone {kind!r}, which no plugin offers here"
        raise CheckpointError(f"{path}: {registry().clashes('backbone').get(kind, unknown)}")
    weights = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    try:
        with torch.random.fork_rng(devices=[]):  # weights that are replaced at once must not move the run's
            spec = cls(**begun_anew(dict(description.spec)))
            require_no_files(spec, path)
            net: Backbone = spec.build(view._replace(size=description.size))
        missing = net.load_state_dict(weights, strict=False).missing_keys
    except (SslkitError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its backbone cannot be made again: {error}") from None
    if missing:
        raise CheckpointError(f"{path}: lacks weights of its backbone: {', '.join(missing[:3])}")
    return net
