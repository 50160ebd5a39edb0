"""Conformance checks of loggers."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from PIL import Image

from sslkit.specs.families import LoggerSpec
from sslkit.testing.kit_report import Checks


def checks(spec: LoggerSpec) -> Checks:
    """The checks of a logger in a folder of its own."""
    return {
        "takes metrics, figures and checkpoints": partial(_record, spec, first=0),
        "closes without a record": partial(_record, spec, first=None),
        "starts again in the same folder": partial(_again, spec),
    }


def _record(spec: LoggerSpec, first: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _session(spec, Path(folder), first)


def _again(spec: LoggerSpec) -> None:
    """A resumed run repeats steps that the killed one had recorded."""
    with tempfile.TemporaryDirectory() as folder:
        _session(spec, Path(folder), 0)
        _session(spec, Path(folder), 1)


def _session(spec: LoggerSpec, folder: Path, first: int | None) -> None:
    """Record three steps from `first` on."""
    logger = spec.build(folder, "check")
    if first is not None:
        figure, checkpoint = folder / "curves.png", folder / "step-00000002"
        Image.new("RGB", (4, 4)).save(figure)
        checkpoint.mkdir(exist_ok=True)
        for step in range(first, first + 3):
            logger.metrics(step, {"loss": 1.0 / (step + 1), "eval/knn/accuracy": 0.5})
        logger.figure(first + 2, "curves", figure)
        logger.saved(first + 2, checkpoint)
    logger.close()
