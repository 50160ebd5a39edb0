"""From a spec to modules: views, nets, objectives and maskers, with the checks that need them built."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.env import Env, Length, NetInfo, View
from sslkit.core.masker import Masker
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.registry.manager import kinds
from sslkit.spec.families import MaskerSpec
from sslkit.spec.run import RunSpec
from sslkit.train import rng
from sslkit.train.average import frozen_copy
from sslkit.train.order import Order, Share
from sslkit.train.parallel import Parallel, start
from sslkit.train.stepper import Stepper, micro_batch_size

Maskers = Mapping[int, Masker]
"""Index of a pass -> its masker."""


class Composed(NamedTuple):
    """The parts of a run, for people with a loop of their own."""

    system: System
    """Nets, objectives and balancer."""
    step: Stepper
    """`step(number, batches)` makes one optimizer step and returns the losses."""
    source: Source
    """The training images."""
    env: Env
    """Views, nets and grids."""
    order: Order
    """Which images make which step."""
    length: Length
    """Steps of the run and of an epoch."""


def compose(spec: RunSpec, parallel: Parallel | None = None) -> Composed:
    """Build everything that a training loop of your own needs.

    Raises:
        SpecError: the parts do not fit; the message names the path in the spec.
        DataError: there are no training images.
    """
    parallel = parallel or start(spec.device)
    source = training_source(spec)
    views = make_views(spec, source.channels)
    order = make_order(spec, len(source), parallel)
    length = make_length(spec, order.steps_per_epoch)
    system, env = make_system(spec, views, length)
    stepper = Stepper(spec, system, make_maskers(system, env), length, parallel)
    return Composed(system, stepper, source, env, order, length)


def training_source(spec: RunSpec) -> Source:
    """The training images of `spec`."""
    source = spec.data.build("train")
    if source is None:
        raise DataError("data: has no training split")
    return source


def make_order(spec: RunSpec, images: int, parallel: Parallel) -> Order:
    """The data order of this rank."""
    micro = micro_batch_size(spec, parallel.world)
    return Order(images, spec.batch_size, spec.seed, Share(parallel.rank, parallel.world, micro))


def make_length(spec: RunSpec, steps_per_epoch: int) -> Length:
    """How long the run is."""
    steps = spec.steps if spec.steps is not None else (spec.epochs or 0) * steps_per_epoch
    return Length(steps, steps_per_epoch)


def make_views(spec: RunSpec, channels: int) -> dict[str, View]:
    """The views as networks see them. Raises SpecError where the statistics do not fit the channels."""
    views = {}
    for name, view in spec.views.items():
        mean, std = view.normalize.mean, view.normalize.std
        if len(mean) != channels or len(std) != channels:
            raise SpecError(
                f"views.{name}.normalize: gives statistics of {len(mean)} channels but the images have {channels}; "
                "give `mean` and `std` with one number a channel"
            )
        views[name] = View(view.size, view.crops, channels, mean, std)
    return views


def make_system(spec: RunSpec, views: Mapping[str, View], length: Length) -> tuple[System, Env]:
    """Nets, objectives and balancer, initialized from the run's seed on the CPU."""
    _check_names(spec)
    rng.seed_torch(spec.seed, "init")
    first = views[spec.first_view]
    student = spec.backbone.build(first)
    if not -student.depth <= spec.readout.layer < student.depth:
        raise SpecError(
            f"readout.layer: {spec.readout.layer} does not exist; the backbone has {student.depth} blocks"
        )
    own = {name: _frozen(spec, name, first) for name, net in spec.nets.items() if net.backbone is not None}
    infos = {name: _info(own.get(name, student), views) for name in ("student", *spec.nets)}
    env = Env(views, infos, infos["student"].grids, length)
    objectives = {name: _objective(spec, name, env) for name in spec.terms}
    passes = [p for objective in objectives.values() for p in objective.passes]
    student.serve([p for p in passes if p.net == "student"])
    nets: dict[str, Backbone] = {"student": student}
    nets |= {name: own[name] if name in own else frozen_copy(student) for name in spec.nets}
    system = System(nets, objectives, spec.balance.build(list(objectives)))
    _check_passes(system, spec)
    return system, env


def _frozen(spec: RunSpec, name: str, view: View) -> Backbone:
    """A net of its own, which stays as it is."""
    backbone = spec.nets[name].backbone
    assert backbone is not None, "only nets with a backbone of their own are asked about"
    try:
        return backbone.build(view).requires_grad_(False).eval()
    except (SpecError, CheckpointError) as error:
        raise type(error)(f"nets.{name}: {error}") from None


def _info(net: Backbone, views: Mapping[str, View]) -> NetInfo:
    return NetInfo(net.dim, net.depth, {name: net.grid(view.size) for name, view in views.items()})


def _objective(spec: RunSpec, name: str, env: Env) -> Objective:
    path = "objective" if spec.objective is not None else f"objectives.{name}"
    try:
        objective = spec.terms[name].build(env)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    for view, crops in objective.crops.items():
        if env.view(view).crops < crops:
            raise SpecError(
                f"{path}: needs {crops} crops of view {view!r}; set `views.{view}.crops` to {crops}"
            )
    return objective


def _check_names(spec: RunSpec) -> None:
    """A module is an attribute of its container, beside those that torch gives it."""
    for group, names in (("objectives", spec.objectives), ("nets", spec.nets)):
        for name in names:
            if hasattr(nn.ModuleDict, name):
                raise SpecError(f"{group}.{name}: is a name that torch's modules use; choose another")


def _check_passes(system: System, spec: RunSpec) -> None:
    for request in system.plan:
        if request.net not in system.nets:
            known = ", ".join(system.nets)
            raise SpecError(
                f"nets: an objective reads net {request.net!r}, which the run does not have. Known: {known}"
            )


def make_maskers(system: System, env: Env) -> Maskers:
    """The sampler of every masked pass; equal maskers on one view are one.

    Raises:
        SpecError: a masker does not fit its grid or mode, or reads a net that the run does not have.
    """
    made: dict[tuple[str, MaskerSpec], Masker] = {}
    result = {}
    for i, request in enumerate(system.plan):
        if request.mask is not None:
            key = (request.view, request.mask)
            try:
                made[key] = made.get(key) or _masker(request, env)
                _require_fixed(made[key], request, env)
            except SpecError as error:
                raise SpecError(f"{_asker(system, request)}{error}") from None
            result[i] = made[key]
    return result


def _asker(system: System, request: Encode) -> str:
    """Path of the first of several objectives that asks for `request`; nothing where there is only one."""
    objectives: Mapping[str, Any] = dict(system.objectives.items())
    owners = [name for name, objective in objectives.items() if request in objective.passes]
    return f"objectives.{owners[0]}: " if len(objectives) > 1 else ""


def _masker(request: Encode, env: Env) -> Masker:
    assert request.mask is not None, "only masked passes are asked about"
    try:
        masker = request.mask.build(env, request.view)
        for guide in masker.passes:
            env.net(guide.net)
    except SpecError as error:
        raise SpecError(f"masker: {error}") from None
    return masker


def _require_fixed(masker: Masker, request: Encode, env: Env) -> None:
    assert request.mask is not None, "only masked passes are asked about"
    grid = env.grid(request.view)
    if request.mode == "drop" and any(stage.visible is None for stage in masker.stages()):
        raise SpecError(
            f"masker: {request.mask.kind_name()!r} hides a varying number of patches, but this objective leaves hidden "
            f"patches out and needs a fixed number; {grid.rows} x {grid.cols} patches fit {_fixed(env, request.view)}"
        )


def _fixed(env: Env, view: str) -> str:
    """The kinds of maskers that leave a fixed number of patches visible in `view`, as far as their examples tell."""
    found = []
    for kind, cls in sorted(kinds("masker").items()):
        with suppress(Exception):  # whatever ails another masker, this error is not about it
            example = cls.example() if issubclass(cls, MaskerSpec) else None
            stages = () if example is None else example.build(env, view).stages()
            if stages and all(stage.visible is not None for stage in stages):
                found.append(kind)
    return ", ".join(found) or "no masker that is installed"
