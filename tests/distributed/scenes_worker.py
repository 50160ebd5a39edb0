"""The three evaluators of scenes on the kit's images, alone or as a rank: every rank writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.runtime.parallel import start
from sslkit.specs.readout import Readout
from sslkit.testing.tiny_run import evaluated
from sslkit.train.compose import compose
from sslkit_evaluators.specs.dense import Concept, Dense, Reconstruction

torch.set_num_threads(1)
SPECS = (Dense.example(), Concept.example(), Reconstruction.example())


def main(path: str) -> None:
    parallel, found = start("cpu"), {}
    for spec in SPECS:
        run = evaluated(spec).model_copy(update={"readout": Readout(batch_size=7)})
        composed = compose(run, parallel)
        view, whole = composed.env.views["global"], (composed.system, composed.env)
        reading = reading_of(run, view, parallel, composed.step.autocast, run=whole)
        scores = evaluate(composed.system.nets["student"], {0: spec}, run.data, reading, Sources())[
            spec.label
        ]
        found[spec.label] = {
            "metrics": dict(scores.metrics),
            "tables": dict(scores.tables),
            "figures": sorted(scores.figures),
        }
    Path(f"{path}.{parallel.rank}").write_text(json.dumps(found), encoding="utf-8")
    parallel.wait()
    parallel.close()
