"""Evaluate a run after the fact, with the numbers it had during training."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from sslkit.errors import SpecError
from sslkit.evaluate.subject import Sources, evaluate, reading_of
from sslkit.train.files import write_json
from sslkit.train.parallel import start
from sslkit.train.restore import restore
from sslkit.train.stepper import resolved_precision

RESULT = "evaluation.json"


def evaluate_run(run_dir: Path, which: str = "last", only: Sequence[str] = ()) -> dict[str, Any]:
    """Run the evaluators of the run in `run_dir` on one of its checkpoints and write `evaluation.json`.

    Args:
        run_dir: the run folder.
        which: `last`, `best`, or the name of a checkpoint.
        only: labels of the evaluators to run; all of them if empty.

    Raises:
        SpecError: the run has no evaluators, or none of that label.
        CheckpointError: there is no such checkpoint.
    """
    restored = restore(run_dir, which)
    spec = restored.spec
    labels = [e.label for e in spec.evaluate]
    if not labels:
        raise SpecError(f"{run_dir}: its spec has no `evaluate`, so there is nothing to run")
    for label in only:
        if label not in labels:
            raise SpecError(f"{label!r} is not an evaluator of this run. Known: {', '.join(labels)}")
    parallel = start(spec.device)

    def autocast() -> AbstractContextManager[Any]:
        if resolved_precision(spec, parallel.device) == "float32":
            return contextlib.nullcontext()
        return torch.autocast(parallel.device.type, torch.bfloat16)

    try:
        system = restored.system.to(parallel.device)
        reading = reading_of(spec, restored.env.views[spec.first_view], parallel, autocast)
        wanted = {i: e for i, e in enumerate(spec.evaluate) if not only or e.label in only}
        metrics = evaluate(restored.net, wanted, spec.data, reading, Sources())
        del system
        result = {"step": restored.loaded.step, "checkpoint": str(restored.loaded.path), "metrics": metrics}
        result["protocols"] = {e.label: e.build().protocol for e in wanted.values()}
        result["readout"] = spec.readout.model_dump(mode="json")
        if parallel.first:
            write_json(run_dir / RESULT, result)
        return result
    finally:
        parallel.close()
