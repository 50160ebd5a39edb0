"""Builds views, nets, objectives and maskers from a spec, with the checks that need them built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.balancer import Balancer
from sslkit.core.env import Env, Length, NetInfo, View
from sslkit.core.masker import Masker
from sslkit.core.objective import Objective, Schedule
from sslkit.core.passes import Encode
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.registry.manager import kinds
from sslkit.spec.families import BalancerSpec, MaskerSpec
from sslkit.spec.run import RunSpec
from sslkit.spec.schedule import Value
from sslkit.spec.terms import Term
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
    parallel = parallel or start(spec.device, spec.parallel)
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
            f"readout.layer: {spec.readout.layer} does not exist; the backbone has {student.depth} blocks, from 0"
        )
    frozen = {name: _frozen(spec, name, first) for name, net in spec.nets.items() if net.backbone is not None}
    infos = {name: _info(frozen.get(name, student), views) for name in ("student", *spec.nets)}
    env = Env(views, infos, infos["student"].grids, length)
    every = list(spec.all_terms())
    objectives = {term.name: _objective(term, env) for term in every if term.balance is None}
    passes = [p for objective in objectives.values() for p in objective.passes]
    student.serve([p for p in passes if p.net == "student"])
    nets: dict[str, Backbone] = {"student": student}
    nets |= {name: frozen[name] if name in frozen else frozen_copy(student) for name in spec.nets}
    weights = {term.name: _weight(term.spec.weight, length.steps) for term in every}
    balancer = _built(spec.combined.balance, spec.terms, spec.balance_path)
    inner = {term.name: _inner(term) for term in every if term.balance is not None}
    system = System(nets, objectives, balancer, weights, inner)
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


def _objective(term: Term, env: Env) -> Objective:
    path = term.path
    try:
        objective = term.spec.build(env)
    except (SpecError, CheckpointError) as error:
        raise type(error)(f"{path}: {error}") from None
    if term.salt:
        objective.passes = tuple(
            request if request.mask is None else replace(request, salt=term.salt)
            for request in objective.passes
        )
    for view, crops in objective.crops.items():
        if env.view(view).crops < crops:
            raise SpecError(
                f"{path}: needs {crops} crops of view {view!r}; set `views.{view}.crops` to {crops}"
            )
    return objective


def _weight(weight: Value, steps: int) -> float | Schedule:
    return float(weight) if isinstance(weight, int | float) else partial(weight.at, total=steps)


def _built(balance: BalancerSpec, names: Iterable[str], path: str) -> Balancer:
    try:
        return balance.build(list(names))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _inner(term: Term) -> Balancer:
    """The balancer of a hybrid that is a term."""
    members = term.spec.combined()
    assert members is not None, "only hybrids are asked about"
    balancer = _built(members.balance, members.objectives, f"{term.path}.balance")
    if balancer.weighs_gradients:
        raise SpecError(
            f"{term.path}.balance: {members.balance.kind_name()!r} weighs gradients, which only the balancer of the "
            "whole run can do; move the terms of this hybrid up to the others, or balance their losses"
        )
    return balancer


def _check_names(spec: RunSpec) -> None:
    """A module is an attribute of its container, beside those that torch gives it."""
    paths = {f"nets.{name}": name for name in spec.nets}
    paths |= {term.path: term.name for term in spec.all_terms() if term.path != "objective"}
    for path, name in paths.items():
        if hasattr(nn.ModuleDict, name):
            raise SpecError(f"{path}: is a name that torch's modules use; choose another")


def _check_passes(system: System, spec: RunSpec) -> None:
    for request in system.plan:
        if request.net not in system.nets:
            names = ", ".join(system.nets)
            raise SpecError(
                f"nets: an objective reads net {request.net!r}, which the run does not have. Known: {names}"
            )


def make_maskers(system: System, env: Env) -> Maskers:
    """The sampler of every masked pass; equal maskers on one view are one.

    Raises:
        SpecError: a masker does not fit its grid or mode, or reads a net that the run does not have.
    """
    shared: dict[tuple[str, MaskerSpec, str], Masker] = {}
    result = {}
    for i, request in enumerate(system.plan):
        if request.mask is not None:
            key = (request.view, request.mask, request.salt)
            try:
                shared[key] = shared.get(key) or _masker(request, env)
                _require_fixed(shared[key], request, env)
            except SpecError as error:
                raise SpecError(f"{_asker(system, request)}{error}") from None
            result[i] = shared[key]
    return result


def _asker(system: System, request: Encode) -> str:
    """Path of the first of several objectives that asks for `request`; nothing where there is only one."""
    objectives = cast("Mapping[str, Objective]", dict(system.objectives.items()))
    owners = [name for name, objective in objectives.items() if request in objective.passes]
    return f"objectives.{owners[0].replace('/', '.objectives.')}: " if len(objectives) > 1 else ""


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
    fixed = []
    for kind, cls in sorted(kinds("masker").items()):
        with suppress(Exception):  # whatever ails another masker, this error is not about it
            example = cls.example() if issubclass(cls, MaskerSpec) else None
            stages = () if example is None else example.build(env, view).stages()
            if stages and all(stage.visible is not None for stage in stages):
                fixed.append(kind)
    return ", ".join(fixed) or "no masker that is installed"
