"""The arguments of every command that takes a spec. Torch-free."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sslkit.registry.manager import registry
from sslkit.specs.load import load
from sslkit.specs.run import RunSpec
from sslkit.specs.start_from import start_from_text


def add_spec_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `SPEC.yaml [key.path=value ...]`."""
    parser.add_argument("spec", type=Path, metavar="SPEC.yaml", help="the spec to read")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="changes to the spec, as in optimizer.lr=3e-4 or evaluate.0.k=5; values are YAML",
    )


def add_data_changed(parser: argparse.ArgumentParser) -> None:
    """Add `--data-changed`."""
    parser.add_argument(
        "--data-changed",
        action="store_true",
        help="continue a run although its data are not those that it began with; the lock records what changed",
    )


def add_from(parser: argparse.ArgumentParser) -> None:
    """Add `--from`."""
    parser.add_argument(
        "--from",
        dest="start_from",
        metavar="RUN[:STEP]",
        help="begin with the networks of another run, those of its last step, of STEP or of `best`",
    )


def load_spec(args: argparse.Namespace) -> RunSpec:
    """The spec that the arguments name, overrides applied.

    Raises:
        SpecError: the file cannot be read, or the spec is wrong.
        PluginConflictError: two plugins offer the same kind.
    """
    start = getattr(args, "start_from", None)
    added = [] if start is None else [f"start_from={json.dumps(start_from_text(start), ensure_ascii=False)}"]
    return load(args.spec, [*args.overrides, *added], notes=registry().absences)
