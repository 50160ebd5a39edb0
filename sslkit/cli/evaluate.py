"""`sslkit evaluate`: measure a finished or stopped run."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the run")
    parser.add_argument("--checkpoint", default="last", help="last, best, or a name such as step-00001000")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run this evaluator only")


def execute(args: argparse.Namespace) -> int:
    """Run the run's own evaluators and print their metrics."""
    from sslkit.evaluate.run import evaluate_run

    result = evaluate_run(args.run_dir, args.checkpoint, args.only)
    print(f"{args.run_dir} at step {result['step']}")
    for label, metrics in result["metrics"].items():
        values = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        print(f"  {label} ({result['protocols'][label]}): {values}")
    if result["unreadable"]:
        print(f"  {len(result['unreadable'])} images could not be read and are left out; the files list them")
    print(f"written: {result['folder']}")
    return 0
