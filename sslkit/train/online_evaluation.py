"""Evaluation while training: scores, best values, results and figures, beside the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Scores
from sslkit.core.source import Source
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import Reading, reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.evaluate.write_results import About, store
from sslkit.runs.best_checkpoint import Best
from sslkit.runs.recorder import Recorder
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.line_file import Warn
from sslkit.runtime.parallel import Parallel
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed
from sslkit.train.pictures import draw_curves, draw_pictures
from sslkit.train.saver import Saver
from sslkit.train.watch.finite import UnreadableImages
from sslkit.train.watch.progress import Progress

Due = Mapping[int, EvaluatorSpec]
"""Evaluators by their place in the spec."""
REDRAWN = 60.0
"""Seconds from one drawing of the figures to the next while a run goes on: they cost more than a short evaluation."""


@final
class LeftOut:
    """Images that evaluation cannot read: one of the training images counts, any other is told."""

    def __init__(self, training: Source, skipped: UnreadableImages, warn: Warn) -> None:
        self.reasons: set[str] = set()
        self._training, self._skipped, self._warn = training, skipped, warn

    def __call__(self, source: Source, index: int, reason: str) -> None:
        """Image `index` of `source` was left out."""
        self.reasons.add(reason)
        if source is self._training:
            self._skipped.add(index, reason)
        else:
            self._warn(f"left out of evaluation: {reason}")


def training_readout(spec: RunSpec, composed: Composed, parallel: Parallel, left_out: LeftOut) -> Reading:
    """How the network is read while it trains. Raises SpecError where the readout names what is not there."""
    stepper, view = composed.step, composed.env.views[spec.first_view]
    with stepper.full_weights():
        return reading_of(spec, view, parallel, stepper.autocast, left_out, (stepper.reading, composed.env))


@final
class OnlineEvaluation:
    """Evaluates the network of a run between two steps; changes nothing that training reads."""

    def __init__(
        self, spec: RunSpec, composed: Composed, sources: Sources, reading: Reading, left_out: LeftOut,
        *, best: Best, recorder: Recorder, saver: Saver, progress: Progress,
    ) -> None:  # fmt: skip
        self.composed, self.best = composed, best
        self._spec, self._sources, self._reading, self._left_out = spec, sources, reading, left_out
        self._recorder, self._saver, self._progress = recorder, saver, progress
        self._stepper, self._length = composed.step, composed.length
        self._first = reading.loading.parallel.first
        self._drawn = -math.inf

    @property
    def net(self) -> Backbone:
        """The net that the readout names, for reading under `stepper.full_weights`."""
        return self._stepper.reading.nets[self._spec.readout.net]

    def due(self, done: int) -> dict[int, EvaluatorSpec]:
        """The evaluators to run after `done` steps."""
        last, every = self._length.ends(done), self._length.steps_per_epoch
        return {i: e for i, e in enumerate(self._spec.evaluate) if last or e.due(done, every)}

    def run(self, done: int, due: Due) -> None:
        """Run the evaluators `due` after `done` steps: record and store what they say."""
        with self._stepper.full_weights():
            results = self._scores(self.net, due)
            metrics = {
                f"eval/{label}/{name}": value
                for label, scores in results.items()
                for name, value in scores.metrics.items()
            }
            self._recorder.write({"step": done, "epoch": self._length.epoch(done), **metrics})
            self._note_best(done, metrics)
            for label, scores in results.items():
                self._progress.evaluated(label, scores.metrics)
            self._store(done, due, results)
            if done < self._length.steps:
                self.figures(done)

    def baselines(self, *, begun: bool) -> None:
        """Scores of raw pixels and of the net before the first step, for the evaluators that ask for them.

        The net is called `start` where it begins with weights from elsewhere, as with the networks of another run
        (`begun`): what it forgets is told from them.
        """
        due = {i: e for i, e in enumerate(self._spec.evaluate) if e.baselines}
        elsewhere = self._spec.backbone_of(self._spec.readout.net).has_first_weights
        start = "start" if elsewhere or begun else "untrained"
        for name, net in (("raw_pixels", None), (start, self.net)) if due else ():
            with self._stepper.full_weights():
                results = self._scores(net, due)
            metrics = {
                f"baseline/{name}/{label}/{k}": v
                for label, s in results.items()
                for k, v in s.metrics.items()
            }
            self._recorder.write({"step": 0, "epoch": 0.0, **metrics})

    def figures(self, done: int) -> None:
        """Draw what objectives show of held-out images, and the curves: at the end, and now and then before it."""
        run_dir, warn = self._spec.run_dir, self._progress.warn
        with self._stepper.full_weights():
            recent = done < self._length.steps and time.monotonic() - self._drawn < REDRAWN
            if self._first and self._spec.log.figures and not recent:
                paths = draw_pictures(self.composed, self._reading, self._sources, self._spec, run_dir, warn)
                self._show(done, paths + draw_curves(run_dir, warn))
                self._drawn = time.monotonic()

    def _scores(self, net: Backbone | None, due: Due) -> dict[str, Scores]:
        return evaluate(net, due, self._spec.data, self._reading, self._sources)

    def _note_best(self, done: int, metrics: Mapping[str, float]) -> None:
        self.best.update(done, metrics)
        if text := self.best.unreported(metrics):
            self._progress.warn(text)

    def _store(self, done: int, due: Due, results: Mapping[str, Scores]) -> None:
        if not self._first:
            return
        spec, unreadable = self._spec, tuple(sorted(self._left_out.reasons))
        if not spec.log.figures:
            results = {label: scores._replace(figures={}) for label, scores in results.items()}
        about = About(spec.run_dir, done, weights_sha256(self.net), None, unreadable, self._saver.run)

        def write() -> None:
            reading, sources, warn = self._reading, self._sources, self._progress.warn
            self._show(done, store(about, due, results, spec.data, reading, sources, warn=warn))

        self._saver.store(write)

    def _show(self, done: int, paths: Sequence[Path]) -> None:
        self._recorder.loggers.figures(done, paths)
