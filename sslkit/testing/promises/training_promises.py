"""Conformance checks by training: finite gradients, repeats, resuming, compilation, precision."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor

from sslkit.data.crops import Pipeline
from sslkit.data.loaders import Batch, ResidentFeed
from sslkit.data.resident import resident_streams
from sslkit.errors import SpecError
from sslkit.runtime.parallel import Parallel, Single
from sslkit.specs.compilation import CompileSpec
from sslkit.specs.run import RunSpec
from sslkit.testing.kit_report import Checks, Needs, NotOffered, require
from sslkit.testing.tiny_run import STEPS
from sslkit.train.compose import compose

CPU = torch.device("cpu")
HALF = STEPS // 2
BACKEND = "aot_eager"
"""Of `torch.compile`: traces forward and backward, and generates no code."""
TRAINS, REPEATS = "trains every parameter, all finite", "repeats under a seed"
NEEDS: Needs = {
    REPEATS: TRAINS,
    "resumes exactly": REPEATS,
    "compiles to one graph": REPEATS,
    "keeps its loss in float32 under bfloat16": TRAINS,
    "makes the same step in micro-batches": REPEATS,
    "makes the same step on two ranks": REPEATS,
}

Values = Mapping[str, Tensor]
"""Losses and metrics of a step, by name."""


@final
class Trial:
    """One training of a run, from its seed."""

    def __init__(self, run: RunSpec, parallel: Parallel | None = None) -> None:
        self.composed = compose(run, parallel or Single(CPU))
        self.system = self.composed.system
        pipeline = Pipeline(run.views, self.composed.env.views, run.seed)
        views = self.composed.env.views
        held = resident_streams(self.composed.source, views, 0, CPU, 0, lambda index, reason: None)
        assert held is not None, "the kit's samples are in memory"
        self.feed = ResidentFeed(held, self.composed.order, pipeline, CPU)

    def batch(self) -> Batch:
        """The images of the first step."""
        return next(self.feed.step(0))

    def steps(self, begin: int, end: int) -> list[Values]:
        """Make the steps from `begin` to before `end`."""
        return [self._step(number) for number in range(begin, end)]

    def weights(self) -> dict[str, Tensor]:
        """A copy of all that the system saves."""
        return {name: value.clone() for name, value in self.system.state_dict().items()}

    def _step(self, number: int) -> Values:
        losses = self.composed.step(number, self.feed.step(number))
        return {"loss": losses.total, **losses.values}


@final
class Straight:
    """The run that all checks compare with, made once: `STEPS` steps, saved half-way."""

    def __init__(self, run: RunSpec) -> None:
        torch.manual_seed(1)
        trial = Trial(run)
        self.finite: dict[str, bool] = {}
        """Whether the gradient of the first step is, by parameter."""
        handles = [
            parameter.register_hook(partial(self._note_gradient, name))
            for name, parameter in trial.system.named_parameters()
            if parameter.requires_grad
        ]
        self.values = trial.steps(0, 1)
        for handle in handles:
            handle.remove()
        self.values += trial.steps(1, HALF)
        self.middle = trial.weights()
        saved = io.BytesIO()
        torch.save(trial.composed.step.state_dict(), saved)
        self._saved = saved.getvalue()
        self.values += trial.steps(HALF, STEPS)
        self.end = trial.weights()

    def checkpoint(self) -> dict[str, object]:
        """The state of the run half-way, as a resumed one reads it."""
        state: dict[str, object] = torch.load(io.BytesIO(self._saved), weights_only=True)
        return state

    def _note_gradient(self, name: str, gradient: Tensor) -> None:
        self.finite[name] = bool(gradient.isfinite().all())


@final
class Training:
    """The checks of a run whose specs include the one that is checked."""

    def __init__(self, run: RunSpec) -> None:
        self.run = run

    @cached_property
    def straight(self) -> Straight:
        """The run from its first to its last step."""
        return Straight(self.run)

    def checks(self) -> Checks:
        """By name."""
        return {
            TRAINS: self._trains,
            REPEATS: self._repeats,
            "resumes exactly": self._resumes,
            "compiles to one graph": self._compiles,
            "keeps its loss in float32 under bfloat16": self._keeps_precision,
        }

    def _trains(self) -> None:
        for step, values in enumerate(self.straight.values[:1]):
            _require_finite(values, step)
        bad = [name for name, finite in self.straight.finite.items() if not finite]
        require(
            not bad,
            f"gradients that are not finite at the first step: {', '.join(bad[:3])}; look for roots, logarithms and "
            "quotients at 0, whose values are finite and whose slopes are not",
        )
        for step, values in enumerate(self.straight.values):
            _require_finite(values, step)

    def _repeats(self) -> None:
        torch.manual_seed(2)  # nothing may depend on torch's generator as it was before the run
        trial = Trial(self.run)
        hint = "take randomness from what the component is given, not from `random`, NumPy or the clock"
        for step, (first, second) in enumerate(
            zip(self.straight.values[:HALF], trial.steps(0, HALF), strict=True)
        ):
            require_equal(first, second, f"two runs of one seed differ at step {step}; {hint}")
        require_equal(
            self.straight.middle, trial.weights(), f"two runs of one seed end with different weights; {hint}"
        )

    def _resumes(self) -> None:
        """Straight through, and with nothing kept but the checkpoint."""
        trial = Trial(self.run)
        trial.composed.step.load_state_dict(self.straight.checkpoint())
        hint = "keep all state in parameters and buffers"
        resumed = trial.steps(HALF, STEPS)
        for step, (first, second) in enumerate(
            zip(self.straight.values[HALF:], resumed, strict=True), start=HALF
        ):
            require_equal(first, second, f"a resumed run differs at step {step}; {hint}")
        require_equal(
            self.straight.end, trial.weights(), f"a resumed run ends with different weights; {hint}"
        )

    def _compiles(self) -> None:
        """One graph, no second one at the next step, and the numbers of the eager forward."""
        compiled = self.run.model_copy(update={"compile": CompileSpec(enabled=True, backend=BACKEND)})
        torch._dynamo.reset()
        try:
            with torch._dynamo.config.patch(error_on_recompile=True):
                steps = Trial(compiled).steps(0, HALF)
        finally:
            torch._dynamo.reset()
        for step, values in enumerate(self.straight.values[:HALF]):
            for name, value in values.items():
                close = torch.allclose(steps[step][name], value, rtol=1e-4, atol=1e-6)
                require(
                    close,
                    f"{name} is {steps[step][name]:.6g} compiled and {value:.6g} eager at step {step}; let no branch "
                    "depend on `torch.compiler.is_compiling` or on what a graph keeps as a constant",
                )

    def _keeps_precision(self) -> None:
        (values,) = Trial(self.run.model_copy(update={"precision": "bfloat16"})).steps(0, 1)
        _require_finite(values, step=0)
        for name, value in values.items():
            wide = value.dtype in (torch.float32, torch.float64)
            require(wide or not name.startswith("loss"), f"{name} is {value.dtype}; compute it in float32")


def unless_refused(check: Callable[[], None]) -> Callable[[], None]:
    """`check`, left out where the component refuses with a SpecError what is asked of it."""

    def tried() -> None:
        try:
            check()
        except SpecError as error:
            raise NotOffered(f"refused: {error}") from None

    return tried


def _require_finite(values: Values, step: int) -> None:
    bad = [f"{name} = {value.item()}" for name, value in values.items() if not bool(value.isfinite())]
    require(not bad, f"not finite at step {step}: {', '.join(bad)}; a component may divide by 0 or overflow")


def require_equal(first: Values, second: Values, otherwise: str) -> None:
    """Raise PluginError unless both hold bit-equal tensors of the same names."""
    names = [name for name in {**first, **second} if not _equal(first.get(name), second.get(name))]
    require(not names, f"{otherwise}: {', '.join(names[:3])}")


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    return first is not None and second is not None and torch.equal(first, second)
