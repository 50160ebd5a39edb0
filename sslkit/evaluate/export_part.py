"""Export and loading of parts of a run: student, view, and what an objective added, without the run or its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sslkit import catalog
from sslkit.build.restore import Restored, restore
from sslkit.core.backbone import Backbone
from sslkit.core.context import View
from sslkit.core.objective import Part
from sslkit.errors import CheckpointError, SpecError, SslkitError
from sslkit.registry.manager import registry
from sslkit.runs.lock import begun_anew
from sslkit.runtime.atomic_files import write_bytes
from sslkit.specs.families import BackboneSpec

BACKBONE = "backbone."
"""What the names of the student's weights begin with."""


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
    if not path.is_file():
        raise CheckpointError(f"no file {path}; `sslkit export RUN_DIR --part {name} --out FILE` writes one")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if metadata.get("part") != name:
        raise CheckpointError(
            f"{path}: is no {name}; `sslkit export RUN_DIR --part {name} --out FILE` writes one"
        )
    view = View(**json.loads(metadata["view"]))
    view = view._replace(mean=tuple(view.mean), std=tuple(view.std))
    backbone = _backbone(path, json.loads(metadata["backbone"]), view, state)
    rest = {key: value for key, value in state.items() if not key.startswith(BACKBONE)}
    return Loaded(backbone, view, rest, json.loads(metadata["settings"]))


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
    view = restored.env.view(part.view)._asdict()
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


def _backbone(
    path: Path, description: Mapping[str, Any], view: View, state: Mapping[str, Tensor]
) -> Backbone:
    """The network that the file describes, with the file's weights."""
    kind = description["spec"]["kind"]
    cls = catalog.kinds("backbone").get(kind)
    if cls is None or not issubclass(cls, BackboneSpec):
        unknown = f"needs backbone {kind!r}, which no plugin offers here"
        raise CheckpointError(f"{path}: {registry().clashes('backbone').get(kind, unknown)}")
    weights = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    try:
        with torch.random.fork_rng(devices=[]):  # weights that are replaced at once must not move the run's
            net: Backbone = cls(**begun_anew(description["spec"])).build(
                view._replace(size=description["size"])
            )
        missing = net.load_state_dict(weights, strict=False).missing_keys
    except (SslkitError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its backbone cannot be made again: {error}") from None
    if missing:
        raise CheckpointError(f"{path}: lacks weights of its backbone: {', '.join(missing[:3])}")
    return net
