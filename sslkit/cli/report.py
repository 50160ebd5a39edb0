"""`sslkit report`: one HTML file about a run."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN", help="a run folder")
    add("--out", type=Path, metavar="FILE", help="the file; default: report.html in the run folder")
    add("--fast", action="store_true", help="leave out what needs the network: neighbors and maps")
    add("--seed", type=int, default=0, help="of the choice of images and of the maps; default 0")


def execute(args: argparse.Namespace) -> int:
    """Write the page."""
    from sslkit.report.run_report import report

    path = report(args.run_dir, args.out, args.fast, args.seed)
    print(f"written: {path}")
    return 0
