"""Checkpoints of all ranks together: whether weights are finite, and what is gathered for the first rank to write."""

from __future__ import annotations

from typing import final

from sslkit.build.saved_state import load_loss_scale, load_masking, load_optimizer, load_system
from sslkit.errors import TrainingError
from sslkit.runs.checkpoint import Entries, Loaded
from sslkit.runs.run_loggers import Loggers
from sslkit.runtime.parallel import Parallel
from sslkit.train.saver import Saver
from sslkit.train.step.stepper import Stepper
from sslkit.train.watch.finite import CAUSES, broken


@final
class Checkpointing:
    """Saves the state of a step, and remembers which step was saved last."""

    def __init__(
        self, stepper: Stepper, saver: Saver, loggers: Loggers, parallel: Parallel, saved: int
    ) -> None:
        """`saved`: the step whose checkpoint is there already."""
        self.saved = saved
        self._stepper, self._saver, self._loggers, self._parallel = stepper, saver, loggers, parallel

    def save(self, step: int, meta: Entries, best: int | None, *, final: bool) -> bool:
        """Write the checkpoint of `step`, with `meta` beside its state; return whether that is done.

        Raises:
            TrainingError: weights are not finite, or the `final` checkpoint could not be written.
        """
        self._require_finite(step)
        state, path = self._stepper.state_dict(), None  # on every rank: shards are gathered
        if self._parallel.first:
            path = self._saver.save(step, state, meta, best, final=final)
            if path is not None:
                self._loggers.saved(step, path)
        saved = self._parallel.any(path is not None)  # the others wait for it
        self.saved = step if saved else self.saved
        return saved

    def _require_finite(self, step: int) -> None:
        """A gradient may be infinite where the loss is not; the next loss would tell, after the checkpoint."""
        name = broken((n, p) for n, p in self._stepper.system.named_parameters() if p.requires_grad)
        if self._parallel.any(name is not None):
            where = f"in {name}" if name else "of another rank's"
            raise TrainingError(
                f"step {step}: values {where} are not finite, though all losses were. "
                f"{self._saver.last_good()} {CAUSES}"
            )


def restore_stepper(stepper: Stepper, loaded: Loaded) -> None:
    """Put the state of a checkpoint into `stepper`. Raises CheckpointError where it does not fit."""
    load_system(stepper.system, loaded)
    load_masking(stepper.masking, loaded)
    load_optimizer(stepper.optimizer, loaded)
    load_loss_scale(stepper.loss_scale, loaded)
