"""Export of networks to the formats of other programs, each read back and compared before it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from sslkit.errors import SpecError
from sslkit.evaluate.exports.opened_model import OpenedModel, open_model
from sslkit.evaluate.exports.written import Reading
from sslkit.nn.modes import evaluating
from sslkit.runtime.whole_folder import whole_folder

Format = Literal["timm"]
Fill = Callable[[OpenedModel, Path, Path], Reading]


class ExportedModel(NamedTuple):
    """What `export` wrote."""

    path: Path
    """The folder."""
    deviation: float
    """Largest difference of what was read back to the network, relative to the largest value of the output."""
    usage: str
    """Lines of Python that load it."""
    notes: tuple[str, ...]
    """What it leaves out."""


def export(
    what: str | Path,
    *,
    to: Format,
    out: str | Path,
    checkpoint: str = "last",
) -> ExportedModel:
    """Write a network for another program, read it back there and compare its answers to 1e-5.

    Args:
        what: a run folder, a `.safetensors` file of `sslkit export`, or `timm:NAME`.
        to: `timm`: a folder for `timm.create_model("local-dir:...", pretrained=True)`.
        out: the folder; it must not be there, or be empty.
        checkpoint: of a run: `last`, `best` or a name. Of `timm:NAME`: a file of weights. Default: timm's own weights,
            which it may download.

    Raises:
        SpecError: there is no such network, the format has none of its kind, or something is at `out`.
        CheckpointError: the network cannot be read, or what was written answers otherwise; nothing is kept then.
        StorageError: it could not be written.
    """
    path = Path(out)
    _require_free(path)
    model = open_model(str(what), checkpoint)
    with evaluating(model.net, model.head), torch.no_grad():
        reading = _folder(model, path, _folders()[to])
    return ExportedModel(path, reading.deviation, reading.usage, reading.notes)


def _folders() -> Mapping[str, Fill]:
    from sslkit.evaluate.exports.timm_folder import fill_timm

    return {"timm": fill_timm}


def _folder(model: OpenedModel, path: Path, fill: Fill) -> Reading:
    with whole_folder(path) as folder:
        return fill(model, folder, path)


def _require_free(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise SpecError(f"{path}: is there already; remove it, or give another --out")
