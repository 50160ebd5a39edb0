"""The training loop: feed, step, record, evaluate, save, for any objectives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import final

from sslkit.build.restore import learned_of
from sslkit.data.loaders import Batch, Feed
from sslkit.errors import Interrupted, TrainingError, WorkerError
from sslkit.evaluate.shared_images import require_unseen
from sslkit.runs import metrics_log
from sslkit.runs.best_checkpoint import Best
from sslkit.runs.checkpoint import Entries, Loaded
from sslkit.runs.lock import read_lock
from sslkit.runs.recorder import Recorder
from sslkit.runs.run_loggers import open_loggers
from sslkit.runtime.parallel import Parallel
from sslkit.runtime.rank_agreement import Agreement, on_first_rank
from sslkit.runtime.signals import Abandoned, StopRequest
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import is_due
from sslkit.train.checkpointing import Checkpointing, restore_stepper
from sslkit.train.compose import Composed
from sslkit.train.fill_token_cache import token_caches
from sslkit.train.lineage import Lineage, require_within
from sslkit.train.online_evaluation import Due, LeftOut, OnlineEvaluation, training_readout
from sslkit.train.outcome import Outcome
from sslkit.train.prepare import Parts, prepare
from sslkit.train.resolved_values import notes
from sslkit.train.run_folder import SKIPPED, prepare_folder
from sslkit.train.saver import Saver
from sslkit.train.step.stepper import Losses
from sslkit.train.supply import supply
from sslkit.train.watch.collapse_guard import CollapseGuard
from sslkit.train.watch.energy import Energy, energy_of, resumed_meter
from sslkit.train.watch.finite import FiniteGuard, UnreadableImages
from sslkit.train.watch.progress import Progress
from sslkit.train.watch.timer import Clock


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
        self.progress = Progress(enabled=parallel.first)
        warn = self.progress.warn
        learned = None if loaded is None else learned_of(read_lock(spec.run_dir)["resolved"])
        parts = prepare(spec, parallel, loaded is not None, learned)
        self.notes, self.begun = parts.notes, parts.begun
        self.composed: Composed = parts.composed(spec, parallel)
        self.stepper, self.length = self.composed.step, self.composed.length
        self.meta: Entries = loaded.meta if loaded else {}
        self.start = self.done = loaded.step if loaded else 0
        self._abandoned = False
        self.lineage = lineage or Lineage(self.run_dir)
        self.lineage.require_same_data(spec, parts.sources, parallel, begun=loaded is not None)
        on_first_rank(parallel, lambda: self._require_unseen(parts))
        require_within(self.start, self.length.steps, self.run_dir)
        if loaded is not None:
            restore_stepper(self.stepper, loaded)
        run = None
        if parallel.first:
            run = prepare_folder(
                spec, self.composed, parallel, self.lineage, self.start, self.meta, parts.begun
            )
        parallel.wait()
        best = Best(spec)
        best.restore(self.meta.get("best", {}), partial(metrics_log.read, self.run_dir))
        source = self.composed.source
        listed = self.run_dir / SKIPPED
        self.skipped = UnreadableImages(listed, len(source), spec.max_corrupt, source.name, warn)
        left_out = LeftOut(source, self.skipped, warn)
        readout = training_readout(spec, self.composed, parallel, left_out)
        loggers = open_loggers(spec.log.loggers if parallel.first else (), self.run_dir, spec.name, warn)
        self.collapse = CollapseGuard(spec.log.collapse, self.stepper.peak_lr)
        self.collapse.restore(self.meta.get("collapse", {}))
        self.recorder = Recorder(self.run_dir, loggers, parallel, self.collapse.look, warn)
        self.saver = Saver(self.run_dir, spec.checkpoint.keep, self.recorder.file, warn, run)
        self.checkpointing = Checkpointing(self.stepper, self.saver, loggers, parallel, self.start)
        self.evaluation = OnlineEvaluation(
            spec, self.composed, parts.sources, readout, left_out,
            best=best, recorder=self.recorder, saver=self.saver, progress=self.progress,
        )  # fmt: skip
        self.stop = StopRequest(self.saver.last_good, parallel.first)
        self.agreement = Agreement(parallel)
        self.guard = FiniteGuard(list(self.stepper.objectives), parallel.device)
        joules = self.meta.get("joules") if self.start else 0.0
        meter = resumed_meter(parallel.device, joules, first=parallel.first)
        seconds = max(0.0, float(self.meta.get("seconds", 0.0)))  # once, pauses could be counted twice
        self.clock = Clock(seconds, meter)

    def _require_unseen(self, parts: Parts) -> None:
        spec = self.spec
        evaluators = dict(enumerate(spec.evaluate))
        self.notes += require_unseen(evaluators, spec.data, parts.sources, spec.max_duplicates, parts.source)

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
        self.progress.expect(self.length.steps, self.start)
        try:
            with self.clock.paused(), self.stop.abandoning():
                self._before()
            self.progress.start(self.length.steps, self.start)
            self.clock.rate(self.start * self.spec.batch_size)
            stopped = self._loop(feed)
            if not stopped:
                with self.clock.paused(), self.stop.abandoning():
                    self.evaluation.figures(self.done)
            if self.parallel.first:
                self.saver.finish(self.evaluation.best.step)
            return stopped
        except Abandoned:
            self._abandoned = True
            return True
        except Exception as error:
            if self.checkpointing.saved and (last_good := self.saver.last_good()) not in str(error):
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
            last = self.length.ends(done)
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
        except Abandoned:
            self._keep(step)
            return None
        except Exception:
            self._keep(step)
            raise

    def _keep(self, step: int) -> None:
        """Save what there is after `step` steps, unless that is done."""
        if self.checkpointing.saved != step:
            self._save(step, evaluated=self.saver.complete, final=True)

    def _after(self, done: int) -> None:
        """What is due after `done` steps: a checkpoint first, so that an evaluation that fails costs no training."""
        last, due = done == self.length.steps, self.evaluation.due(done)
        saved = False
        if (
            self.length.ends(done)
            or due
            or is_due(self.spec.checkpoint.every, done, self.length.steps_per_epoch)
        ):
            saved = self._save(done, final=last)
        if due:
            self._evaluate(done, due)
            self._evaluated(done, saved=saved, final=last)
        if self.collapse.stopping:
            self._save(done, evaluated=self.saver.complete, final=True)
            raise TrainingError(self.collapse.reason(self.run_dir))

    def _before(self) -> None:
        """Baselines before the first step; after a stop, the evaluation that it cut off."""
        for note in notes(self.composed.system):
            self.progress.note(f"note: {note}")
        self.stepper.cached = token_caches(
            self.spec, self.composed, self.parallel, self.skipped.add, self.progress
        )
        if self.start == 0:
            if self.begun is not None:  # from here on the other run is not needed any more
                self._save(0, evaluated=True)
            self.evaluation.baselines(begun=self.begun is not None or bool(self.meta))
        elif not self.meta.get("evaluated", True) and (due := self.evaluation.due(self.start)):
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
            self.progress.warn(finding.text)
        self.guard.check(self.saver.last_good)

    def _evaluate(self, done: int, due: Due) -> None:
        """Run the evaluators `due` after `done` steps, which is no training time."""
        self._flush()
        self.progress.update(done, self.length.epoch(done), self.recorder.latest)
        with self.clock.paused(), self.stop.abandoning():
            self.evaluation.run(done, due)

    def _evaluated(self, done: int, *, saved: bool, final: bool) -> None:
        """Put the evaluation of `done` into its checkpoint, of which the state is written already."""
        best = self.evaluation.best
        if not saved:
            self._save(done, evaluated=True, final=final)
        elif self.parallel.first and self.saver.complete:
            self.saver.amend(done, {"best": best.state(), "evaluated": True}, best.step)

    def _save(self, done: int, *, evaluated: bool = False, final: bool = False) -> bool:
        """Write a checkpoint; return whether that is done. `evaluated`: no evaluation of this step is still owed.

        Raises:
            TrainingError: weights are not finite, or the `final` checkpoint could not be written.
        """
        self._flush()
        energy, best = self._energy(), self.evaluation.best
        meta = {
            "epoch": self.length.epoch(done),
            "seconds": self.clock.seconds,
            "joules": None if energy is None else energy.joules,
            "best": best.state(),
            "collapse": self.collapse.state(),
            "evaluated": evaluated or not self.evaluation.due(done),
        }
        return self.checkpointing.save(done, meta, best.step, final=final)

    def _energy(self) -> Energy | None:
        """Of all ranks, which must all ask."""
        return energy_of(self.parallel.total(self.clock.meter.values(self.parallel.device)).tolist())

    def _feed(self) -> Feed:
        return supply(
            self.spec, self.composed, self.parallel.device, self.start, self.skipped.add, self.progress.warn
        )
