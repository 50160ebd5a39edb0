"""Conformance checks by family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sslkit.core.view import IMAGE as IMAGE_TYPE
from sslkit.errors import PluginError
from sslkit.runtime.parallel import Single
from sslkit.specs.base import Spec
from sslkit.specs.check import problems
from sslkit.specs.families import AugmentSpec, BackboneSpec, EvaluatorSpec, TargetSpec, TransformSpec
from sslkit.specs.logging import LogSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.views import ViewSpec
from sslkit.testing.kit_report import Checks, Needs, require
from sslkit.testing.other_types import network_of, reader_of, taker_of
from sslkit.testing.promises import (
    augment_promises,
    backbone_promises,
    balancer_promises,
    evaluator_promises,
    logger_promises,
    masker_promises,
    objective_promises,
    source_promises,
    target_promises,
    training_promises,
    transform_promises,
)
from sslkit.testing.promises.micro_batch_promises import require_same_step
from sslkit.testing.promises.rank_promises import require_same_on_ranks
from sslkit.testing.promises.training_promises import CPU
from sslkit.testing.tiny_run import BATCH, IMAGE, Probe, evaluated, helper, kit_views, stage
from sslkit.testing.tiny_stream import STREAMS
from sslkit.train.compose import compose

_PARTS: dict[str, Callable[..., dict[str, object]]] = {
    "backbone": lambda spec: {"backbone": spec, "views": kit_views(spec.takes)},
    "masker": lambda spec: {"objectives": {"check": _mae(masker=spec)}, **_along(spec.axes)},
    "target": lambda spec: {"objectives": {"check": _mae(target=spec)}},
    "objective": lambda spec: {"objectives": {"check": spec}},
    "balancer": lambda spec: {"objectives": {"one": Probe(), "two": Probe(view="local")}, "balance": spec},
    "source": lambda spec: {"data": spec, **_read_of(next(iter(spec.streams.values())).type)},
    "augment": lambda spec: _changed_by(spec),
    "transform": lambda spec: {"views": {"global": ViewSpec(size=IMAGE), "read": read_by(spec)}},
    "logger": lambda spec: {"log": LogSpec.model_construct(loggers=(spec,))},
}
"""Family -> the fields of a run that hold a spec of it."""

FITS = "fits the kit's run"
NEEDS: Needs = {"*": FITS, **training_promises.NEEDS, **masker_promises.NEEDS}
"""What must pass before another check makes sense."""

_BY_FAMILY: dict[str, Callable[..., Checks]] = {
    "balancer": balancer_promises.checks,
    "backbone": backbone_promises.checks,
    "masker": masker_promises.checks,
    "objective": objective_promises.checks,
    "source": source_promises.checks,
    "augment": augment_promises.checks,
    "transform": transform_promises.checks,
    "logger": logger_promises.checks,
    "evaluator": evaluator_promises.checks,
}
"""Family -> checks of what only it promises."""

_TRAINED = ("backbone", "target", "objective", "balancer")


def checks(spec: Spec) -> Checks:
    """Everything that can be tried with `spec`.

    Raises:
        PluginError: a kind that the kit needs beside it is not there.
    """
    run = evaluated(spec) if isinstance(spec, EvaluatorSpec) else stage(**_PARTS[spec.family](spec))
    trained = _trained(run) if spec.family in _TRAINED else {}
    of_family = (
        target_promises.checks(spec, run) if isinstance(spec, TargetSpec) else _BY_FAMILY[spec.family](spec)
    )
    return {FITS: partial(_fits, run, bool(trained)), **of_family, **trained}


def _trained(run: RunSpec) -> Checks:
    return {
        **training_promises.Training(run).checks(),
        "makes the same step in micro-batches": partial(require_same_step, run, BATCH // 2),
        "makes the same step on two ranks": partial(require_same_on_ranks, run),
    }


def _along(axes: tuple[int, ...] | None) -> dict[str, object]:
    """The fields of a run whose patches have axes that a masker serves; none where images have them."""
    if axes is None or 2 in axes:
        return {}
    return _with(reader_of(axes[0]), f"patches along {axes[0]} axes")


def _read_of(stream: str) -> dict[str, object]:
    """The fields of a run that reads a source whose first stream is of this type; none where that is of images."""
    return {} if stream == IMAGE_TYPE else _with(network_of(stream), f"streams of {stream}")


def _changed_by(spec: AugmentSpec) -> dict[str, object]:
    """The fields of a run with a view of the type that an augmentation changes."""
    if spec.takes == IMAGE_TYPE:
        return {"views": {"global": ViewSpec.model_construct(size=IMAGE, augment=(spec,))}}
    changed = {n: view.model_copy(update={"augment": (spec,)}) for n, view in kit_views(spec.takes).items()}
    return {**_with(taker_of(spec.takes), f"views of {spec.takes}"), "views": changed}


def _with(network: BackboneSpec | None, what: str) -> dict[str, object]:
    """Raises PluginError where no network is there."""
    if network is None:
        raise PluginError(
            f"the kit needs a network and a transform for {what}, and no plugin offers both with an example"
        )
    return {"backbone": network, "views": kit_views(network.takes)}


def read_by(spec: TransformSpec) -> ViewSpec:
    """A view of the kit's stream that the transform takes."""
    stream = next((name for name, stream in STREAMS.items() if stream.type == spec.takes), None)
    return ViewSpec.model_construct(size=IMAGE, stream=stream, transform=spec)


def _mae(**parts: Spec) -> Spec:
    return helper("objective", "mae").model_copy(update=parts)


def _fits(run: RunSpec, trained: bool) -> None:
    messages = [f"{problem.path}: {problem.message}" for problem in problems(run)]
    require(not messages, "; ".join(messages))
    if trained:
        compose(run, Single(CPU))
