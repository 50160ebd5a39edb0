"""Promises of objectives beside training."""

from __future__ import annotations

from functools import partial

import torch

from sslkit.spec.families import ObjectiveSpec
from sslkit.testing.report import Checks, require
from sslkit.testing.stage import CHANNELS, stage
from sslkit.testing.training import Trial


def checks(spec: ObjectiveSpec) -> Checks:
    """The check of its figures."""
    return {"makes pictures of images": partial(_pictures, spec)}


@torch.no_grad()
def _pictures(spec: ObjectiveSpec) -> None:
    trial = Trial(stage(objectives={"check": spec}))
    batch, system = trial.batch(), trial.system.eval()
    tokens = trial.composed.step.encode(batch, 0)
    made = {
        name: pictures
        for term, objective in trial.composed.step.objectives.items()
        for name, pictures in objective.pictures(*system.objective_tokens(term, tokens)).items()
    }
    for name, pictures in made.items():
        shape = tuple(pictures.images.shape)
        expected = (len(pictures.columns), CHANNELS)
        require(
            len(shape) == 5 and shape[1:3] == expected,
            f"picture {name!r} is {shape}, expected (rows, {expected[0]} columns, {CHANNELS}, H, W)",
        )
        require(bool(pictures.images.isfinite().all()), f"picture {name!r} is not finite")
