"""The training loop: feed, step, record, evaluate, save, for any objectives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast, final

from sslkit.build.restore import load_loss_scale, load_masking, load_optimizer, load_system
from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Scores
from sslkit.core.source import Source
from sslkit.data.loaders import Batch, Feed
from sslkit.errors import Interrupted, TrainingError, WorkerError
from sslkit.evaluate.readout import Reading, reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.evaluate.write_results import About, store
from sslkit.runs import metrics_log
from sslkit.runs.best_checkpoint import Best
from sslkit.runs.checkpoint import FOLDER, Entries, Loaded
from sslkit.runs.lock import write_lock
from sslkit.runs.run_loggers import open_loggers
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.parallel import Parallel
from sslkit.runtime.rank_agreement import Agreement
from sslkit.runtime.signals import Abandoned, StopRequest
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import is_due
from sslkit.train.compose import Composed
from sslkit.train.lineage import Lineage, require_within
from sslkit.train.outcome import Outcome
from sslkit.train.pictures import FIGURES, draw_curves, draw_pictures
from sslkit.train.prepare import prepare
from sslkit.train.resolved_values import resolved
from sslkit.train.saver import Saver
from sslkit.train.step.stepper import Losses
from sslkit.train.supply import supply
from sslkit.train.watch.collapse_guard import CollapseGuard
from sslkit.train.watch.energy import Energy, Meter, counters, energy_of
from sslkit.train.watch.finite import CAUSES, FiniteGuard, UnreadableImages, broken
from sslkit.train.watch.progress import Progress
from sslkit.train.watch.timer import Clock

SKIPPED = "skipped.txt"


@final
class Trainer:
    """Runs a spec in its folder, from the start or from a checkpoint."""

    def __init__(
        self,
        spec: RunSpec,
        parallel: Parallel,
        *,
        loaded: Loaded | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        self.spec, self.parallel, self.run_dir = spec, parallel, spec.run_dir
        parts = prepare(spec, parallel, began=loaded is not None)
        self.notes, self.sources = parts.notes, parts.sources
        self.composed: Composed = parts.composed(spec, parallel)
        self.stepper, self.length = self.composed.step, self.composed.length
        self.best = Best(spec)
        self.meta: Entries = loaded.meta if loaded else {}
        self.start = self.done = loaded.step if loaded else 0
        self._saved, self._abandoned = self.start, False
        self.lineage = lineage or Lineage(self.run_dir)
        self.lineage.require_same_data(spec, self.sources, parallel, begun=loaded is not None)
        require_within(self.start, self.length.steps, self.run_dir)
        if loaded is not None:
            self._restore(loaded)
        if parallel.first:
            self._prepare_folder()
        parallel.wait()
        self.best.restore(self.meta.get("best", {}), partial(metrics_log.read, self.run_dir))
        self._unscored: set[str] = set()
        self.reading = self._reading()
        self.progress = Progress(enabled=parallel.first)
        loggers = open_loggers(
            spec.log.loggers if parallel.first else (), self.run_dir, spec.name, self._warn
        )
        self.collapse = CollapseGuard(spec.log.collapse, self.stepper.peak_lr)
        self.collapse.restore(self.meta.get("collapse", {}))
        self.recorder = metrics_log.Recorder(self.run_dir, loggers, parallel, self.collapse.look, self._warn)
        self.saver = Saver(self.run_dir, spec.checkpoint.keep, self.recorder.file, self._warn)
        self.stop = StopRequest(self.saver.last_good, parallel.first)
        self.agreement = Agreement(parallel)
        self.guard = FiniteGuard(list(self.stepper.objectives), parallel.device)
        source, listed = self.composed.source, self.run_dir / SKIPPED
        self.skipped = UnreadableImages(listed, len(source), spec.max_corrupt, source.name, self._warn)
        self.clock = Clock(float(self.meta.get("seconds", 0.0)), self._meter())

    @property
    def net(self) -> Backbone:
        """The net that the readout names, for reading under `stepper.whole`."""
        net = self.stepper.reading.nets[self.spec.readout.net]
        assert isinstance(net, Backbone)
        return net

    def run(self) -> Outcome:
        """Train to the end, or until a signal; either leaves a checkpoint of the last step behind.

        Raises:
            TrainingError: a loss was not finite, or something could not be saved.
            WorkerError: worker processes died; all steps until then are saved.
            Interrupted: a second signal came.
        """
        feed, at_once = self._feed(), False
        try:
            with self.stop, self.progress:
                stopped = self._run(feed)
        except Interrupted:
            at_once = True
            raise
        finally:
            feed.close()
            if not at_once:
                self.recorder.close()
        by = (self.stop.signal or "another rank") if stopped else None
        agreed = self.parallel.world == 1 or not (stopped and self._abandoned)
        skipped, energy = len(self.skipped.reasons), self._energy() if agreed else None
        return Outcome(self.done, not stopped, by, self.clock.seconds, skipped, energy, agreed)

    def _run(self, feed: Feed) -> bool:
        """Evaluate what is owed and train; return whether a signal ended it."""
        try:
            with self.clock.paused(), self.stop.abandoning():
                self._before()
            self.progress.start(self.length.steps, self.start)
            self.clock.rate(self.start * self.spec.batch_size)
            stopped = self._loop(feed)
            if not stopped:
                with self.clock.paused(), self.stop.abandoning():
                    self._figures(self.done)
            if self.parallel.first:
                self.saver.finish()
            return stopped
        except Abandoned:
            self._abandoned = True
            return True
        except Exception as error:
            if self.saver.checkpoints.all() and (last_good := self.saver.last_good()) not in str(error):
                error.add_note(last_good)
            raise

    def _loop(self, feed: Feed) -> bool:
        """Train; return whether a signal ended it."""
        for step in range(self.start, self.length.steps):
            batches = self._batches(feed, step)
            if batches is None:
                return True
            losses = self.stepper(step, batches)
            self.done = done = step + 1
            self.guard.watch(done, losses.values)
            last = done == self.length.steps
            if done % self.spec.log.every == 0 or last or done == 1 or self.stepper.measures(step):
                self._record(done, losses)
            if self._leaving(feed):
                self._save(done, final=True)
                if feed.failure is not None:
                    raise WorkerError(f"step {done}: {feed.failure}. {self.saver.last_good()}")
                return True
            self._after(done)
        return False

    def _batches(self, feed: Feed, step: int) -> Iterator[Batch] | None:
        """The micro-batches of `step`, of which the first is there; None where a signal came before it was.

        An error until then costs no step: nothing of it has been computed.
        """
        batches = feed.step(step)
        if self.parallel.world > 1:  # the others are in the step already
            return batches
        try:
            with self.stop.abandoning():
                return chain([next(batches)], batches)
        except (Abandoned, Exception) as error:
            if self._saved != step:
                self._save(step, evaluated=self.saver.complete, final=True)
            if isinstance(error, Abandoned):
                return None
            raise

    def _after(self, done: int) -> None:
        """What is due after `done` steps: a checkpoint first, so that an evaluation that fails costs no training."""
        last, due = done == self.length.steps, self._due(done)
        saved = False
        if last or due or is_due(self.spec.checkpoint.every, done, self.length.steps_per_epoch):
            saved = self._save(done, final=last)
        if due:
            self._evaluate(done, due)
            self._evaluated(done, saved=saved, final=last)
        if self.collapse.stopping:
            self._save(done, evaluated=self.saver.complete, final=True)
            raise TrainingError(self.collapse.reason(self.run_dir))

    def _before(self) -> None:
        """Baselines before the first step; after a stop, the evaluation that it cut off."""
        student = cast("Backbone", self.composed.system.nets["student"])
        for note in student.notes():
            self.progress.note(f"note: {note}")
        if self.start == 0:
            self._baselines()
        elif not self.meta.get("evaluated", True) and (due := self._due(self.start)):
            self._evaluate(self.start, due)
            self._evaluated(self.start, saved=True, final=self.start == self.length.steps)

    def _leaving(self, feed: Feed) -> bool:
        """Whether a rank was asked to stop, or has lost its workers."""
        return self.agreement.any(self.stop.signal is not None or feed.failure is not None)

    def _record(self, done: int, losses: Losses) -> None:
        values = {"loss": losses.total, **losses.values}
        if losses.gradient_norm is not None:
            values["gradient_norm"] = losses.gradient_norm
        rate = self.clock.rate(done * self.spec.batch_size)
        numbers = {
            "step": done,
            "epoch": self.length.epoch(done),
            "lr": self.stepper.lr(done - 1),
            "images_per_s": rate,
        }
        self.recorder.add(numbers, values)
        if self.parallel.world > 1 or self.recorder.due:
            self._flush()
            self.progress.update(done, self.length.epoch(done), self.recorder.latest)

    def _flush(self) -> None:
        self.recorder.flush()
        for finding in self.collapse.news():
            self.progress.note(f"warning: {finding.text}")
        self.guard.check(self.saver.last_good)

    def _warn(self, text: str) -> None:
        self.progress.note(f"warning: {text}")

    def _evaluate(self, done: int, due: Mapping[int, EvaluatorSpec]) -> None:
        """Run the evaluators `due` after `done` steps."""
        self._flush()
        self.progress.update(done, self.length.epoch(done), self.recorder.latest)
        with self.clock.paused(), self.stop.abandoning(), self.stepper.whole():
            results = self._scores(self.net, due)
            metrics = {
                f"eval/{label}/{name}": value
                for label, scores in results.items()
                for name, value in scores.metrics.items()
            }
            self.recorder.write({"step": done, "epoch": self.length.epoch(done), **metrics})
            self._note_best(done, metrics)
            for label, scores in results.items():
                self.progress.evaluated(label, scores.metrics)
            self._store(done, due, results)
            if done < self.length.steps:
                self._figures(done)

    def _evaluated(self, done: int, *, saved: bool, final: bool) -> None:
        """Put the evaluation of `done` into its checkpoint, of which the state is written already."""
        if not saved:
            self._save(done, evaluated=True, final=final)
        elif self.parallel.first and self.saver.complete:
            self.saver.amend(done, {"best": self.best.state(), "evaluated": True}, self.best.step)

    def _note_best(self, done: int, metrics: Mapping[str, float]) -> None:
        self.best.update(done, metrics)
        if text := self.best.unreported(metrics):
            self.progress.note(f"warning: {text}")

    def _scores(self, net: Backbone | None, due: Mapping[int, EvaluatorSpec]) -> dict[str, Scores]:
        return evaluate(net, due, self.spec.data, self.reading, self.sources)

    def _store(self, done: int, due: Mapping[int, EvaluatorSpec], results: Mapping[str, Scores]) -> None:
        if self.parallel.first:
            unreadable = tuple(sorted(self._unscored))
            about = About(self.run_dir, done, weights_sha256(self.net), None, unreadable)
            self.saver.store(
                lambda: self._show(
                    done,
                    store(about, due, results, self.spec.data, self.reading, self.sources, warn=self._warn),
                )
            )

    def _baselines(self) -> None:
        """Scores of raw pixels and of the untrained net, for the evaluators that ask for them."""
        due = {i: e for i, e in enumerate(self.spec.evaluate) if e.baselines}
        for name, net in (("raw_pixels", None), ("untrained", self.net)) if due else ():
            with self.stepper.whole():
                results = self._scores(net, due)
            metrics = {
                f"baseline/{name}/{label}/{k}": v
                for label, s in results.items()
                for k, v in s.metrics.items()
            }
            self.recorder.write({"step": 0, "epoch": 0.0, **metrics})

    def _figures(self, done: int) -> None:
        with self.stepper.whole():
            if self.parallel.first:
                paths = draw_pictures(
                    self.composed, self.reading, self.sources, self.spec, self.run_dir, self._warn
                )
                self._show(done, paths + draw_curves(self.run_dir, self._warn))

    def _show(self, done: int, paths: Sequence[Path]) -> None:
        self.recorder.loggers.figures(done, paths)

    def _save(self, done: int, *, evaluated: bool = False, final: bool = False) -> bool:
        """Write a checkpoint; return whether that is done. `evaluated`: no evaluation of this step is still owed.

        Raises:
            TrainingError: weights are not finite, or the `final` checkpoint could not be written.
        """
        self._flush()
        self._require_finite(done)
        state = self.stepper.state_dict()  # on every rank: shards are gathered
        energy, path = self._energy(), None
        if self.parallel.first:
            meta = {
                "epoch": self.length.epoch(done),
                "seconds": self.clock.seconds,
                "joules": None if energy is None else energy.joules,
                "best": self.best.state(),
                "collapse": self.collapse.state(),
                "evaluated": evaluated or not self._due(done),
            }
            path = self.saver.save(done, state, meta, self.best.step, final=final)
            if path is not None:
                self.recorder.loggers.saved(done, path)
        saved = self.parallel.any(path is not None)  # the others wait for it
        self._saved = done if saved else self._saved
        return saved

    def _require_finite(self, done: int) -> None:
        """A gradient may be infinite where the loss is not; the next loss would tell, after the checkpoint."""
        name = broken((n, p) for n, p in self.stepper.system.named_parameters() if p.requires_grad)
        if self.parallel.any(name is not None):
            where = f"in {name}" if name else "of another rank's"
            raise TrainingError(
                f"step {done}: values {where} are not finite, though all losses were. {self.saver.last_good()} {CAUSES}"
            )

    def _due(self, done: int) -> dict[int, EvaluatorSpec]:
        """The evaluators to run after `done` steps, by their place in the spec."""
        last, every = done == self.length.steps, self.length.steps_per_epoch
        return {i: e for i, e in enumerate(self.spec.evaluate) if last or e.due(done, every)}

    def _meter(self) -> Meter:
        """Goes on from what a resumed run had; where it had nothing, the whole stays unknown."""
        joules = self.meta.get("joules") if self.start else 0.0
        if joules is None:
            return Meter(())
        return Meter(counters(self.parallel.device), joules if self.parallel.first else 0.0)

    def _energy(self) -> Energy | None:
        """Of all ranks, which must all ask."""
        return energy_of(self.parallel.total(self.clock.meter.values(self.parallel.device)).tolist())

    def _reading(self) -> Reading:
        view = self.composed.env.views[self.spec.first_view]
        run = (self.stepper.reading, self.composed.env)
        with self.stepper.whole():
            return reading_of(self.spec, view, self.parallel, self.stepper.autocast, self._left_out, run)

    def _left_out(self, source: Source, index: int, reason: str) -> None:
        """An image that evaluation cannot read: one of the training images counts, any other is told."""
        self._unscored.add(reason)
        if source is self.composed.source:
            self.skipped.add(index, reason)
        else:
            self._warn(f"left out of evaluation: {reason}")

    def _feed(self) -> Feed:
        return supply(
            self.spec, self.composed, self.parallel.device, self.start, self.skipped.add, self._warn
        )

    def _restore(self, loaded: Loaded) -> None:
        load_system(self.composed.system, loaded)
        load_masking(self.stepper.masking, loaded)
        load_optimizer(self.stepper.optimizer, loaded)
        load_loss_scale(self.stepper.loss_scale, loaded)

    def _prepare_folder(self) -> None:
        for folder in (self.run_dir / FOLDER, self.run_dir / FIGURES):
            folder.mkdir(parents=True, exist_ok=True)
        facts = partial(resolved, self.spec, self.composed, self.parallel)
        if self.start == 0:
            write_lock(self.spec, self.run_dir, facts(), self.lineage.record_data())
        else:
            self.lineage.write(self.start, facts)
        if self.start == 0 or self.lineage.data:  # other images have other numbers
            (self.run_dir / SKIPPED).unlink(missing_ok=True)
        evaluated, held = self.meta.get("evaluated", True), self.meta.get("records", ())
        metrics_log.rewind(self.run_dir, self.start if self.start else -1, evaluated, held)
