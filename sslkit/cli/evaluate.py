"""`sslkit evaluate`: evaluate a run, or any network that a spec names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslkit.errors import SpecError
from sslkit.specs.load import similar_path

if TYPE_CHECKING:
    from sslkit.specs.evaluation import EvaluationSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument(
        "what",
        type=Path,
        metavar="RUN_DIR|SPEC.yaml|FEATURES",
        help="the folder of a run, an evaluation spec, or a file of `sslkit embed`",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="changes to the evaluation spec, or what a run's evaluation does otherwise, as in data.test=new",
    )
    parser.add_argument(
        "--checkpoint", help="of a run: last (the default), best, or a name such as step-00001000"
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run this evaluator only")
    parser.add_argument(
        "--no-cache", action="store_true", help="neither read nor keep features in the results' folder"
    )


def execute(args: argparse.Namespace) -> int:
    """Run the evaluators and print their metrics."""
    from sslkit.evaluate.evaluate_network import evaluate_run, evaluate_spec

    keep = not args.no_cache
    if not args.what.exists():
        raise SpecError(f"{args.what}: no such run folder or spec.{similar_path(args.what)}")
    if args.what.is_dir() and not args.overrides:
        result = evaluate_run(args.what, args.checkpoint or "last", args.only, keep)
    else:
        result = evaluate_spec(_spec(args), args.only, keep)
    _print(args.what, result)
    return 0


def _spec(args: argparse.Namespace) -> EvaluationSpec:
    from sslkit.registry.manager import registry
    from sslkit.specs.embedding import ENDINGS
    from sslkit.specs.evaluation import EvaluationSpec
    from sslkit.specs.load import override, parse_as, read_yaml

    if args.what.is_dir():
        fields = _of_run(args.what, args.checkpoint or "last")
    elif args.what.suffix in ENDINGS:
        fields = {"features": str(args.what)}
    else:
        fields = read_yaml(args.what)
    if args.checkpoint is not None:
        fields["checkpoint"] = args.checkpoint
    return parse_as(EvaluationSpec, override(fields, args.overrides), registry().absences)


def _of_run(run_dir: Path, checkpoint: str) -> dict[str, object]:
    """What the run does, for overrides to change."""
    from sslkit.runs.lock import trained_spec

    run = trained_spec(run_dir)
    parts = {"data": run.data, "readout": run.readout}
    fields = {name: part.model_dump(mode="json", exclude_unset=True) for name, part in parts.items()}
    protocols = [e.model_dump(mode="json", exclude_unset=True) for e in run.evaluate]
    return {"run": str(run_dir), "checkpoint": checkpoint, "evaluate": protocols, **fields}


def _print(what: Path, result: Mapping[str, Any]) -> None:
    print(f"{what} at step {result['step']}")
    for label, metrics in result["metrics"].items():
        values = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        variant = f" {result['variants'][label]}" if result["variants"].get(label) else ""
        print(f"  {label} ({result['protocols'][label]}){variant}: {values}")
    if result["unreadable"]:
        print(f"  {len(result['unreadable'])} images could not be read and are left out; the files list them")
    print(f"written: {result['folder']}")
