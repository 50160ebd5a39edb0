"""Promises of everything that takes part in a training step: tried by training."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import final

import torch
from torch import Tensor

from sslkit.spec.parts import CompileSpec
from sslkit.spec.run import RunSpec
from sslkit.testing.report import Checks, require
from sslkit.testing.stage import STEPS
from sslkit.train.compose import compose
from sslkit.train.feed import Batch, ResidentFeed
from sslkit.train.parallel import Single
from sslkit.train.pipeline import Pipeline

CPU = torch.device("cpu")

Values = Mapping[str, Tensor]
"""Losses and metrics of a step, by name."""


@final
class Trial:
    """One training of a run, from its seed."""

    def __init__(self, run: RunSpec) -> None:
        self.composed = compose(run, Single(CPU))
        self.system = self.composed.system
        pipeline = Pipeline(run.views, self.composed.env.views, run.seed)
        images = self.composed.source.resident()
        assert images is not None, "the kit's images are in memory"
        self.feed = ResidentFeed(images, self.composed.order, pipeline, CPU)

    def batch(self) -> Batch:
        """The images of the first step."""
        return next(self.feed.step(0))

    def steps(self, begin: int, end: int) -> list[Values]:
        """Make the steps from `begin` to before `end`."""
        return [self._step(number) for number in range(begin, end)]

    def _step(self, number: int) -> Values:
        losses = self.composed.step(number, self.feed.step(number))
        return {"loss": losses.total, **losses.values}


def checks(run: RunSpec) -> Checks:
    """The checks of a run whose specs include the one that is checked."""
    return {
        "trains every parameter, all finite": partial(_trains, run),
        "repeats under a seed": partial(_repeats, run),
        "resumes exactly": partial(_resumes, run),
        "compiles to one graph": partial(_compiles, run),
        "keeps its loss in float32 under bfloat16": partial(_keeps_precision, run),
    }


def _trains(run: RunSpec) -> None:
    trial = Trial(run)
    finite: dict[str, bool] = {}
    handles = [
        parameter.register_hook(partial(_note_gradient, name, finite))
        for name, parameter in trial.system.named_parameters()
        if parameter.requires_grad
    ]
    _require_finite(trial.steps(0, 1)[0], step=0)
    for handle in handles:
        handle.remove()
    bad = [name for name, good in finite.items() if not good]
    require(not bad, f"gradients that are not finite at the first step: {', '.join(bad[:3])}")
    for step, values in enumerate(trial.steps(1, STEPS), start=1):
        _require_finite(values, step)


def _note_gradient(name: str, finite: dict[str, bool], gradient: Tensor) -> None:
    finite[name] = bool(gradient.isfinite().all())


def _require_finite(values: Values, step: int) -> None:
    bad = [f"{name} = {value.item()}" for name, value in values.items() if not bool(value.isfinite())]
    require(not bad, f"not finite at step {step}: {', '.join(bad)}")


def _repeats(run: RunSpec) -> None:
    results = []
    for seed in (1, 2):  # of torch's generator, on which nothing may depend
        torch.manual_seed(seed)
        trial = Trial(run)
        results.append((trial.steps(0, 2), dict(trial.system.state_dict())))
    (losses, weights), (losses_again, weights_again) = results
    for step, (first, second) in enumerate(zip(losses, losses_again, strict=True)):
        require_equal(first, second, f"two runs of one seed differ at step {step}")
    require_equal(weights, weights_again, "two runs of one seed end with different weights")


def _resumes(run: RunSpec) -> None:
    """Straight through, and stopped half-way with nothing kept but the checkpoint."""
    half = STEPS // 2
    whole, first, second = Trial(run), Trial(run), Trial(run)
    expected = whole.steps(0, STEPS)[half:]
    first.steps(0, half)
    saved = io.BytesIO()
    torch.save(first.composed.step.state_dict(), saved)
    saved.seek(0)
    second.composed.step.load_state_dict(torch.load(saved, weights_only=True))
    hint = "keep all state in parameters and buffers"
    for step, (straight, resumed) in enumerate(
        zip(expected, second.steps(half, STEPS), strict=True), start=half
    ):
        require_equal(straight, resumed, f"a resumed run differs at step {step}; {hint}")
    weights = whole.system.state_dict(), second.system.state_dict()
    require_equal(*weights, f"a resumed run ends with different weights; {hint}")


def require_equal(first: Values, second: Values, otherwise: str) -> None:
    """Raise PluginError unless both hold bit-equal tensors of the same names."""
    names = [name for name in {**first, **second} if not _equal(first.get(name), second.get(name))]
    require(not names, f"{otherwise}: {', '.join(names[:3])}")


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    return first is not None and second is not None and torch.equal(first, second)


def _compiles(run: RunSpec) -> None:
    """One graph, no second one at the next step, and the numbers of the eager forward."""
    compiled = run.model_copy(update={"compile": CompileSpec(enabled=True, backend="aot_eager")})
    torch._dynamo.reset()
    try:
        with torch._dynamo.config.patch(error_on_recompile=True):
            found = Trial(compiled).steps(0, 2)
    finally:
        torch._dynamo.reset()
    for step, values in enumerate(Trial(run).steps(0, 2)):
        for name, value in values.items():
            close = torch.allclose(found[step][name], value, rtol=1e-4, atol=1e-6)
            require(close, f"{name} is {found[step][name]:.6g} compiled and {value:.6g} eager at step {step}")


def _keeps_precision(run: RunSpec) -> None:
    (values,) = Trial(run.model_copy(update={"precision": "bfloat16"})).steps(0, 1)
    _require_finite(values, step=0)
    for name, value in values.items():
        wide = value.dtype in (torch.float32, torch.float64)
        require(wide or not name.startswith("loss"), f"{name} is {value.dtype}; compute it in float32")
