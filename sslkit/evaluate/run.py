"""Evaluate a run after the fact, with the numbers it had during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sslkit.errors import SpecError
from sslkit.evaluate.reading import reading_of
from sslkit.evaluate.results import folder_of
from sslkit.evaluate.sources import Sources
from sslkit.evaluate.store import About, store
from sslkit.evaluate.subject import evaluate
from sslkit.spec.families import EvaluatorSpec
from sslkit.spec.run import RunSpec
from sslkit.train.parallel import Parallel, start
from sslkit.train.restore import Restored, restore
from sslkit.train.stepper import autocast_of, resolved_precision
from sslkit.train.summary import weights_sha256


def evaluate_run(run_dir: Path, which: str = "last", only: Sequence[str] = ()) -> dict[str, Any]:
    """Run the evaluators of the run in `run_dir` on one of its checkpoints; write what they find to `evaluations/`.

    Args:
        run_dir: the run folder.
        which: `last`, `best`, or the name of a checkpoint.
        only: labels of the evaluators to run; all of them if empty.

    Raises:
        SpecError: the run has no evaluators, or none of that label.
        CheckpointError: there is no such checkpoint.
    """
    restored = restore(run_dir, which)
    wanted = _wanted(restored.spec, run_dir, only)
    parallel = start(restored.spec.device)
    try:
        return _result(run_dir, restored, wanted, parallel)
    finally:
        parallel.close()


def _wanted(spec: RunSpec, run_dir: Path, only: Sequence[str]) -> dict[int, EvaluatorSpec]:
    """The evaluators to run, by their place in the spec."""
    labels = [e.label for e in spec.evaluate]
    if not labels:
        raise SpecError(f"{run_dir}: its spec has no `evaluate`, so there is nothing to run")
    for label in only:
        if label not in labels:
            raise SpecError(f"{label!r} is not an evaluator of this run. Known: {', '.join(labels)}")
    return {i: e for i, e in enumerate(spec.evaluate) if not only or e.label in only}


def _result(
    run_dir: Path, restored: Restored, wanted: Mapping[int, EvaluatorSpec], parallel: Parallel
) -> dict[str, Any]:
    spec, unreadable, sources, step = restored.spec, set[str](), Sources(), restored.loaded.step
    restored.system.to(parallel.device)
    reading = reading_of(
        spec,
        restored.env.views[spec.first_view],
        parallel,
        partial(autocast_of, resolved_precision(spec, parallel.device), parallel.device),
        lambda source, index, reason: unreadable.add(reason),
        (restored.system, restored.env),
    )
    found = evaluate(restored.net, wanted, spec.data, reading, sources)
    about = About(
        run_dir, step, weights_sha256(restored.net), str(restored.loaded.path), tuple(sorted(unreadable))
    )
    if parallel.first:
        store(about, wanted, found, spec.data, reading, sources)
    return {
        "step": step,
        "folder": str(folder_of(run_dir, step)),
        "metrics": {label: dict(scores.metrics) for label, scores in found.items()},
        "protocols": {e.label: e.build().protocol for e in wanted.values()},
        "unreadable": sorted(unreadable),
    }
