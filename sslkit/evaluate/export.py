"""Export of backbones to files that timm loads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save

from sslkit.build.restore import restore
from sslkit.core.backbone import Exported
from sslkit.errors import SpecError
from sslkit.runtime.atomic_files import write_bytes, write_whole
from sslkit.specs.run import RunSpec


def export(run_dir: Path, out: Path, checkpoint: str = "last") -> Exported:
    """Write the backbone of the run in `run_dir` to `out`: safetensors, or a torch `state_dict` for `.pt`, `.pth`.

    Raises:
        SpecError: the ending of `out` is none of these.
        CheckpointError: no such run or checkpoint.
        StorageError: `out` could not be written.
    """
    if out.suffix not in {".safetensors", ".pt", ".pth"} or out.is_dir():
        raise SpecError(
            f"{out}: must be a file that ends in .safetensors, or in .pt or .pth for a torch state_dict"
        )
    restored = restore(run_dir, checkpoint)
    exported = restored.net(restored.spec.readout.net).export()
    state = {name: value.detach().cpu().contiguous() for name, value in exported.state.items()}
    if out.suffix == ".safetensors":
        metadata = {"architecture": exported.architecture, "arguments": json.dumps(dict(exported.arguments))}
        metadata |= {"changes": "\n".join(exported.changes)} if exported.changes else {}
        metadata |= {"sslkit": json.dumps(_reading(restored.spec))}
        write_bytes(out, save(state, {"format": "pt", **metadata}))
    else:
        write_whole(out, lambda file: torch.save(state, file))
    return exported


def _reading(spec: RunSpec) -> dict[str, object]:
    """How the network is built and read, for `sslkit evaluate`."""
    view = spec.views[spec.first_view]
    readout = spec.readout.model_copy(update={"net": "student", "view": None, "head": None})
    name = spec.readout.net
    backbone = spec.backbone_of(name)
    if view.transform is not None:
        raise SpecError(
            f"readout.net: {name!r} reads {view.transform.gives}, and files are of networks for images"
        )
    return {
        "backbone": backbone.model_dump(mode="json", exclude_unset=True),
        "view": {"size": view.side, "normalize": view.normalize.model_dump(mode="json")},
        "readout": readout.model_dump(mode="json"),
    }


def usage(exported: Exported, out: Path) -> str:
    """The lines of Python that load the file."""
    arguments = "".join(f", {name}={value!r}" for name, value in exported.arguments.items())
    call = f"timm.create_model({exported.architecture!r}{arguments}"
    if not exported.changes:
        return f"{call}, checkpoint_path={str(out)!r})"
    return "\n".join([f"net = {call})", *exported.changes, f"timm.models.load_checkpoint(net, {str(out)!r})"])
