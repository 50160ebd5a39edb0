"""`sslkit export`: a network for other programs, a run's weights in one file, or a part that an objective trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from sslkit.errors import SpecError

if TYPE_CHECKING:
    from sslkit.evaluate.exports.export_model import ExportedModel

FORMATS = ("timm", "hf", "onnx", "torch-export")
"""Other programs' formats."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument(
        "what", metavar="WHAT", help="a run folder; with --to also a file of this command, or timm:NAME"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE|FOLDER",
        help="without --to file.safetensors or file.pt, the weights alone",
    )
    parser.add_argument(
        "--to",
        choices=FORMATS,
        help="timm: a folder for timm.create_model('local-dir:FOLDER'); hf: one for transformers.AutoModel; onnx: "
        "file.onnx; torch-export: file.pt2",
    )
    parser.add_argument(
        "--part",
        default="backbone",
        metavar="NAME",
        help="backbone (the default), or what an objective of the run trained, such as tokenizer",
    )
    parser.add_argument(
        "--checkpoint",
        default="last",
        metavar="NAME|FILE",
        help="of a run: last (the default), best or a name such as step-00001000; of timm:NAME: a file of weights",
    )
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="onnx, torch-export: take pixels in [0, 1]; by default images come normalized",
    )
    parser.add_argument(
        "--license", metavar="NAME", help="for the model card that --to writes, as apache-2.0; default: none"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="onnx: 18 to 23; default: 20")


def execute(args: argparse.Namespace) -> int:
    """Write the network and print how to load it."""
    if args.to is not None:
        return _for_another_program(args)
    for option in ("normalize", "opset", "license"):
        if getattr(args, option):
            raise SpecError(f"--{option}: has no effect without --to; leave it out")
    run_dir = Path(args.what)
    if args.part != "backbone":
        from sslkit.evaluate.export_part import export_part

        export_part(run_dir, args.part, args.out, args.checkpoint)
        print(f"written: {args.out}")
        return 0
    from sslkit.evaluate.export import export, usage

    exported = export(run_dir, args.out, args.checkpoint)
    lines = usage(exported, args.out).replace("\n", "\n  ")
    print(f"written: {args.out}\nload it with:\n  {lines}")
    return 0


def _for_another_program(args: argparse.Namespace) -> int:
    if args.part != "backbone":
        raise SpecError("--part: is of safetensors files; leave out --to, or --part")
    from sslkit.evaluate.exports.export_model import export

    exported = export(
        args.what,
        to=args.to,
        out=args.out,
        checkpoint=args.checkpoint,
        normalize=args.normalize,
        opset=args.opset,
        license=args.license,
    )
    print("\n".join(lines(exported)))
    return 0


def lines(exported: ExportedModel) -> list[str]:
    """What was written, how near it is to the network, and how it is loaded."""
    from sslkit.evaluate.exports.written import nearness

    near = f"read back: answers as the network, {nearness(exported.deviation)}"
    notes = [f"note: {note}" for note in exported.notes]
    written = [f"written: {path}" for path in (exported.path, exported.card)]
    return [*written, near, *notes, f"load it with:\n{indent(exported.usage, '  ')}"]
