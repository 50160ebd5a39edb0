"""Export of networks to the formats of other programs, each read back and compared before it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from sslkit.errors import SpecError
from sslkit.evaluate.exports.model_card import Card, card_of
from sslkit.evaluate.exports.opened_model import OpenedModel, open_model
from sslkit.evaluate.exports.written import OPSET, Options, Reading
from sslkit.nn.modes import evaluating
from sslkit.runtime.atomic_files import write_text
from sslkit.runtime.whole_folder import whole_folder

Format = Literal["timm", "hf", "onnx", "torch-export"]
README = "README.md"
"""The card in a folder."""
Fill = Callable[[OpenedModel, Path, Path], Reading]
"""Writes a network into a folder, which becomes another."""
Write = Callable[[OpenedModel, Path, Options], Reading]
"""Writes a network to a file."""


class ExportedModel(NamedTuple):
    """What `export` wrote."""

    path: Path
    """The file or folder."""
    deviation: float
    """Largest difference of what was read back to the network, relative to the largest value of the output."""
    usage: str
    """Lines of Python that load it."""
    notes: tuple[str, ...]
    """What people should know of it."""
    card: Path
    """The model card."""


def export(
    what: str | Path,
    *,
    to: Format,
    out: str | Path,
    checkpoint: str = "last",
    normalize: bool = False,
    opset: int | None = None,
    license: str | None = None,
) -> ExportedModel:
    """Write a network for another program, read it back there and compare its answers to 1e-5.

    A model card goes with it, written from the run: `README.md` in the folder, or `FILE.md` beside the file.

    Args:
        what: a run folder, a `.safetensors` file of `sslkit export`, or `timm:NAME`.
        to: `timm`: a folder for `timm.create_model("local-dir:...", pretrained=True)`. `hf`: one for
            `transformers.AutoModel` and `AutoImageProcessor`. `onnx`: a file for onnxruntime and others.
            `torch-export`: a file for `torch.export.load`.
        out: the folder or file, `.onnx` or `.pt2`. It must not be there; a folder may be empty.
        checkpoint: of a run: `last`, `best` or a name. Of `timm:NAME`: a file of weights. Default: timm's own weights,
            which it may download.
        normalize: whether `onnx` and `torch-export` take pixels in [0, 1] and normalize them. Default: they take
            images that are normalized already; the file says by which statistics.
        opset: of ONNX, 18 to 23. Default: 20, torch's own, which onnxruntime reads from 1.17 on.
        license: for the card: an identifier of Hugging Face's hub, as `apache-2.0`, or any name. Default: none.

    Raises:
        SpecError: there is no such network, the format has none of its kind or no such option, a package is missing,
            or something is at `out`.
        CheckpointError: the network cannot be read, or what was written answers otherwise; nothing is kept then.
        StorageError: it could not be written.
    """
    path = Path(out)
    _require_format(to, normalize=normalize, opset=opset)
    card_path = path / README if to in _folders() else path.with_name(f"{path.name}.md")
    for taken in (path,) if to in _folders() else (path, card_path):
        _require_free(taken)
    options = Options(normalize, OPSET if opset is None else opset)
    card = Card(to, path, license, normalize)
    model = open_model(str(what), checkpoint)
    with evaluating(model.net, model.head), torch.no_grad():
        if to in _folders():
            reading = _folder(model, path, _folders()[to], card)
        else:
            reading = _files()[to](model, path, options)
            write_text(card_path, card_of(model, card, reading))
    return ExportedModel(path, reading.deviation, reading.usage, reading.notes, card_path)


def _folders() -> Mapping[str, Fill]:
    from sslkit.evaluate.exports.hugging_face_folder import fill_hugging_face
    from sslkit.evaluate.exports.timm_folder import fill_timm

    return {"timm": fill_timm, "hf": fill_hugging_face}


def _files() -> Mapping[str, Write]:
    from sslkit.evaluate.exports.onnx_file import write_onnx
    from sslkit.evaluate.exports.torch_program import write_torch_program

    return {"onnx": write_onnx, "torch-export": write_torch_program}


def _folder(model: OpenedModel, path: Path, fill: Fill, card: Card) -> Reading:
    with whole_folder(path) as folder:
        reading = fill(model, folder, path)
        write_text(folder / README, card_of(model, card, reading))
        return reading


def _require_format(to: str, *, normalize: bool, opset: int | None) -> None:
    if to not in get_args(Format):
        raise SpecError(f"--to: {to!r} is no format. Known: {', '.join(get_args(Format))}")
    if opset is not None and to != "onnx":
        raise SpecError("--opset: is of --to onnx; leave it out")
    if normalize and to not in _files():
        raise SpecError(
            f"--normalize: a folder for {to} says mean and deviation, by which its transforms normalize; leave it out"
        )


def _require_free(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise SpecError(f"{path}: is there already; remove it, or give another --out")
