"""`sslkit run`: train and evaluate a spec."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sslkit.cli.closing import close
from sslkit.cli.spec_arguments import add_data_changed, add_from, add_spec_arguments, load_spec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add_spec_arguments(parser)
    add_from(parser)
    add_data_changed(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder (default: the spec's `out`, or runs/NAME)"
    )


def execute(args: argparse.Namespace) -> int:
    """Train, evaluate and print the closing summary."""
    if args.out is not None:
        quoted = json.dumps(
            str(args.out), ensure_ascii=False
        )  # overrides are YAML, where `7` and `#` mean more
        args.overrides = [*args.overrides, f"out={quoted}"]
    spec = load_spec(args)
    from sslkit.train.launch import train

    return close(train(spec, _say, args.data_changed))


def _say(text: str) -> None:
    print(text, flush=True)
