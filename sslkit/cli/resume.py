"""`sslkit resume`: continue a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sslkit.cli.closing import close
from sslkit.cli.spec_arguments import add_data_changed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the run")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="fields that may change, as in workers=8 or data.root=/new/place",
    )
    add_data_changed(parser)


def execute(args: argparse.Namespace) -> int:
    """Continue to the end and print the closing summary."""
    from sslkit.train.launch import resume

    def say(text: str) -> None:
        print(text, flush=True)

    return close(resume(args.run_dir, say, args.overrides, args.data_changed))
