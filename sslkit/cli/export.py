"""`sslkit export`: a run's backbone as weights that timm loads, or a part that an objective trained."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the run")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="file.safetensors, or file.pt"
    )
    parser.add_argument(
        "--part",
        default="backbone",
        metavar="NAME",
        help="backbone (the default), or what an objective of the run trained, such as tokenizer",
    )
    parser.add_argument("--checkpoint", default="last", help="last, best, or a name such as step-00001000")


def execute(args: argparse.Namespace) -> int:
    """Write the weights and print how to load them."""
    if args.part != "backbone":
        from sslkit.evaluate.export_part import export_part

        export_part(args.run_dir, args.part, args.out, args.checkpoint)
        print(f"written: {args.out}")
        return 0
    from sslkit.evaluate.export import export, usage

    exported = export(args.run_dir, args.out, args.checkpoint)
    lines = usage(exported, args.out).replace("\n", "\n  ")
    print(f"written: {args.out}\nload it with:\n  {lines}")
    return 0
