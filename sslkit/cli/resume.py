"""`sslkit resume`: go on with a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sslkit.cli.closing import close


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the run")


def execute(args: argparse.Namespace) -> int:
    """Continue to the end and print the closing summary."""
    from sslkit.train.launch import resume

    return close(resume(args.run_dir, say=lambda text: print(text, flush=True)))
