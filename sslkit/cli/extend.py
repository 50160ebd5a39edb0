"""`sslkit extend`: make a finished run longer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from sslkit.cli.closing import close
from sslkit.cli.spec_arguments import add_data_changed
from sslkit.specs.extension import Continuation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the finished run")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="epochs=N or steps=N, its length from the beginning; and fields that may change, as in workers=8",
    )
    parser.add_argument(
        "--schedule",
        choices=get_args(Continuation),
        default="stretch",
        help="how schedules over the run's length go on: as those of the longer run, at their last values, or from "
        "their beginning over what is added (default: stretch)",
    )
    add_data_changed(parser)


def execute(args: argparse.Namespace) -> int:
    """Train to the new end and print the closing summary."""
    from sslkit.train.launch import extend

    def say(text: str) -> None:
        print(text, flush=True)

    return close(extend(args.run_dir, args.overrides, args.schedule, say, args.data_changed))
