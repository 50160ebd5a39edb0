"""From a spec to modules: views, nets, objectives and balancers, with the checks that need them built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.balancer import Balancer
from sslkit.core.context import Env, Length, NetInfo, View
from sslkit.core.objective import Objective, Schedule
from sslkit.core.passes import Encode
from sslkit.core.system import System
from sslkit.errors import CheckpointError, SpecError
from sslkit.nn.frozen import frozen_copy
from sslkit.nn.low_rank import add_low_rank
from sslkit.runtime import seeds
from sslkit.specs.error_text import joined
from sslkit.specs.families import BalancerSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import Value
from sslkit.specs.terms import Term
from sslkit.specs.views import ViewSpec


class HasViews(Protocol):
    """A `RunSpec`, or part of one."""

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """Crops of each image, by name."""
        ...


def make_views(spec: HasViews, channels: int) -> dict[str, View]:
    """The views as networks see them.

    Raises:
        SpecError: something in a view does not fit images of so many channels; all that does not is named.
    """
    messages: dict[str, str] = {}
    for name, view in spec.views.items():
        for problem in view.channel_problems(channels):
            messages.setdefault(f"views.{name}.{problem.path}", problem.message)
    if messages:
        raise joined(messages)
    return {
        name: View(view.size, view.crops, channels, view.normalize.mean, view.normalize.std, view.show)
        for name, view in spec.views.items()
    }


def length_of(spec: RunSpec, steps: int, steps_per_epoch: int) -> Length:
    """The length of a run of so many steps, with where `spec` says that it was made longer."""
    return Length(steps, steps_per_epoch, tuple((one.step, one.schedule) for one in spec.extended))


def make_system(spec: RunSpec, views: Mapping[str, View], length: Length) -> tuple[System, Env]:
    """Nets, objectives and balancer, initialized from the run's seed on the CPU."""
    _check_names(spec)
    seeds.seed_torch(spec.seed, "init")
    first = views[spec.first_view]
    student = _student(spec, first)
    frozen = {name: _frozen(spec, name, first) for name, net in spec.nets.items() if net.backbone is not None}
    infos = {name: _info(frozen.get(name, student), views) for name in ("student", *spec.nets)}
    env = Env(views, infos, infos["student"].grids, length)
    every = list(spec.all_terms())
    objectives = {term.name: _objective(term, env) for term in every if term.balance is None}
    passes = [p for objective in objectives.values() for p in objective.passes]
    student.serve([p for p in passes if p.net == "student"])
    _adapt(student, spec)
    nets: dict[str, Backbone] = {"student": student}
    nets |= {name: frozen[name] if name in frozen else frozen_copy(student) for name in spec.nets}
    weights = {term.name: _weight(term.spec.weight, length) for term in every}
    balancer = _built(spec.combined.balance, spec.terms, spec.balance_path)
    inner = {term.name: _inner(term) for term in every if term.balance is not None}
    system = System(nets, objectives, balancer, weights, inner)
    _check_passes(system, spec)
    return system, env


def make_net(spec: RunSpec, views: Mapping[str, View], name: str, passes: Sequence[Encode]) -> Backbone:
    """The net called `name` as `make_system` has it, without objectives; `passes` run as the student."""
    seeds.seed_torch(spec.seed, "init")
    first = views[spec.first_view]
    if name in spec.nets and spec.nets[name].backbone is not None:
        return _frozen(spec, name, first)
    student = _student(spec, first)
    student.serve(passes)
    _adapt(student, spec)
    return student if name == "student" else frozen_copy(student)


def _student(spec: RunSpec, view: View) -> Backbone:
    student = spec.backbone.build(view)
    if not -student.depth <= spec.readout.layer < student.depth:
        raise SpecError(
            f"readout.layer: {spec.readout.layer} does not exist; the backbone has {student.depth} blocks, from 0"
        )
    return student


def _adapt(student: Backbone, spec: RunSpec) -> None:
    """Freeze all but low-rank changes where the spec has `lora`; a mask token is new, so that it is trained too."""
    if spec.lora is None:
        return
    try:
        add_low_rank(student, spec.lora.targets, spec.lora.rank, spec.lora.alpha)
    except SpecError as error:
        raise SpecError(f"lora: {error}") from None
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(parameter.requires_grad or name.endswith("mask_token"))


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


def _weight(weight: Value, length: Length) -> float | Schedule:
    return float(weight) if isinstance(weight, int | float) else lambda step: weight.at(*length.clock(step))


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
        if request.net in spec.nets and spec.nets[request.net].cache:
            _require_fixed(request, spec)


def _require_fixed(request: Encode, spec: RunSpec) -> None:
    """Tokens are the same in every step only of whole images that are."""
    if request.mask is not None:
        raise SpecError(f"nets.{request.net}.cache: an objective masks what the net sees; leave `cache` out")
    if not spec.views[request.view].fixed:
        raise SpecError(
            f"nets.{request.net}.cache: the net sees view {request.view!r}, which changes at random, so that "
            "its tokens are others each time; give it a view without random changes (`teacher_view` of distill), or "
            "leave `cache` out"
        )
