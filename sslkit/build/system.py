"""From a spec to modules: views, nets, objectives and balancers, with the checks that need them built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.balancer import Balancer
from sslkit.core.context import Env, Length, NetInfo
from sslkit.core.objective import Objective, Schedule
from sslkit.core.passes import Encode
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import Grid, View, sides_of
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.nn.frozen import frozen_copy
from sslkit.nn.low_rank import add_low_rank
from sslkit.runtime import seeds
from sslkit.specs.error_text import joined
from sslkit.specs.families import BackboneSpec, BalancerSpec, SourceSpec
from sslkit.specs.references import STUDENT
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import Value
from sslkit.specs.terms import Term
from sslkit.specs.views import ViewSpec


class HasViews(Protocol):
    """A `RunSpec`, or part of one."""

    @property
    def data(self) -> SourceSpec:
        """Where the samples are."""
        ...

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """Crops of each image, by name."""
        ...


class Inputs(NamedTuple):
    """What views need to know of the data, beside the spec; a run keeps it."""

    channels: Mapping[str, int]
    """Of each stream that a view reads."""
    learned: Mapping[str, str] = {}
    """What transforms learned of the training samples, by view."""


def read_inputs(spec: HasViews, source: Source, learned: Mapping[str, str] | None = None) -> Inputs:
    """What the views of `spec` need to know of `source`.

    Args:
        spec: has the views.
        source: the training samples.
        learned: what transforms learned, by view, where that is known already. Default: they learn it now.

    Raises:
        DataError: a transform cannot learn from the samples.
    """
    texts = dict(learned or {})
    for name, view in spec.views.items():
        if view.transform is not None and name not in texts:
            try:
                texts[name] = view.transform.learn(source, view.stream_in(spec.data))
            except (SpecError, DataError) as error:
                raise type(error)(f"views.{name}.transform: {error}") from None
    streams = dict.fromkeys(view.stream_in(spec.data) for view in spec.views.values())
    return Inputs({stream: source.channels_of(stream) for stream in streams}, texts)


def make_views(spec: HasViews, inputs: Inputs | int) -> dict[str, View]:
    """The views as networks see them. `inputs`: a number is that of the channels of all streams.

    Raises:
        SpecError: something in a view does not fit samples of so many channels; all that does not is named.
    """
    messages: dict[str, str] = {}
    views: dict[str, View] = {}
    for name, view in spec.views.items():
        try:
            views[name] = _view(view, spec.data, name, inputs)
        except SpecError as error:
            messages.setdefault(f"views.{name}", str(error))
            continue
        if not views[name].symbols:
            for problem in view.channel_problems(views[name].channels):
                messages.setdefault(f"views.{name}.{problem.path}", problem.message)
    if messages:
        raise joined(messages)
    return views


def _view(spec: ViewSpec, data: SourceSpec, name: str, inputs: Inputs | int) -> View:
    stream, statistics = spec.stream_in(data), spec.normalize
    channels = inputs if isinstance(inputs, int) else inputs.channels[stream]
    axes, mean, std, transform = data.streams[stream].axes, statistics.mean, statistics.std, None
    if spec.transform is not None:
        transform = spec.transform.build(spec.size, "" if isinstance(inputs, int) else inputs.learned[name])
        channels = transform.channels or channels
        mean, std = ((), ()) if transform.symbols else (mean, std)
    elif axes != 2 and not any(step.build(spec.size).fixes_size for chain in spec.chains for step in chain):
        raise SpecError(
            f"nothing cuts samples of the stream {stream!r}, which have {axes} axes, to one size; give a `transform`, "
            "or an augmentation that does"
        )
    sides = sides_of(spec.size, spec.axes_in(data))
    return View(
        sides, spec.crops, channels, mean, std, spec.show, spec.type_in(data), stream, axes, transform
    )


def length_of(spec: RunSpec, steps: int, steps_per_epoch: int) -> Length:
    """The length of a run of so many steps, with where `spec` says that it was made longer."""
    return Length(steps, steps_per_epoch, tuple((one.step, one.schedule) for one in spec.extended))


def make_system(spec: RunSpec, views: Mapping[str, View], length: Length) -> tuple[System, Env]:
    """Nets, objectives and balancer, initialized from the run's seed on the CPU."""
    _check_names(spec)
    seeds.seed_torch(spec.seed, "init")
    trained = _trained(spec, views)
    frozen = {n: _frozen(spec, n, views) for n, net in spec.nets.items() if net.backbone is not None}
    infos = {
        name: _info(spec, name, frozen.get(name) or trained[spec.original(name)], views)
        for name in (*spec.trained, *spec.nets)
    }
    grids = {view: grid for info in reversed(infos.values()) for view, grid in info.grids.items()}
    env = Env(views, infos, {view: grids[view] for view in views if view in grids}, length)
    every = list(spec.all_terms())
    objectives = {term.name: _objective(term, env) for term in every if term.balance is None}
    passes = [p for objective in objectives.values() for p in objective.passes]
    for name, net in trained.items():
        net.serve([p for p in passes if p.net == name])
    _adapt(trained[STUDENT], spec)
    nets: dict[str, Backbone] = dict(trained)
    nets |= {n: frozen.get(n) or frozen_copy(trained[spec.original(n)]) for n in spec.nets}
    weights = {term.name: _weight(term.spec.weight, length) for term in every}
    balancer = _built(spec.combined.balance, spec.terms, spec.balance_path)
    inner = {term.name: _inner(term) for term in every if term.balance is not None}
    system = System(nets, objectives, balancer, weights, inner, spec.trained)
    _check_passes(system, env, spec)
    return system, env


def make_net(spec: RunSpec, views: Mapping[str, View], name: str, passes: Sequence[Encode]) -> Backbone:
    """The net called `name` as `make_system` has it, without objectives; `passes` run through it as it trains."""
    seeds.seed_torch(spec.seed, "init")
    if name in spec.nets and spec.nets[name].backbone is not None:
        return _frozen(spec, name, views)
    net = _built_net(spec, spec.original(name), views)
    net.serve(passes)
    if spec.original(name) == STUDENT:
        _adapt(net, spec)
    return net if name in spec.trained else frozen_copy(net)


def _trained(spec: RunSpec, views: Mapping[str, View]) -> dict[str, Backbone]:
    """The student and the towers."""
    return {name: _built_net(spec, name, views) for name in spec.trained}


def _built_net(spec: RunSpec, name: str, views: Mapping[str, View]) -> Backbone:
    """The student, or a tower."""
    view = views[spec.view_of(name)]
    student = name == STUDENT
    net = spec.backbone.build(view) if student else _named(f"towers.{name}", spec.towers[name], view)
    if spec.original(spec.readout.net) == name and not -net.depth <= spec.readout.layer < net.depth:
        what = "the backbone" if student else f"{name!r}"
        raise SpecError(
            f"readout.layer: {spec.readout.layer} does not exist; {what} has {net.depth} blocks, from 0"
        )
    if spec.original(spec.readout.net) == name and spec.readout.pyramid:
        _require_parts(net.grid(view.extent), spec.readout.pyramid)
    return net


def _require_parts(grid: Grid, parts: Sequence[int]) -> None:
    if max(parts) > grid.shape[0]:
        raise SpecError(
            f"readout.pyramid: {max(parts)} parts cannot be made of {grid.shape[0]} patches along the first axis; "
            "give fewer"
        )


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


def _frozen(spec: RunSpec, name: str, views: Mapping[str, View]) -> Backbone:
    """A net of its own, which stays as it is."""
    backbone = spec.nets[name].backbone
    assert backbone is not None, "only nets with a backbone of their own are asked about"
    return _named(f"nets.{name}", backbone, views[spec.view_of(name)]).requires_grad_(False).eval()


def _named(path: str, backbone: BackboneSpec, view: View) -> Backbone:
    """The network for `view`; errors name its path in the spec."""
    try:
        return backbone.build(view)
    except (SpecError, CheckpointError) as error:
        raise type(error)(f"{path}: {error}") from None


def _info(spec: RunSpec, name: str, net: Backbone, views: Mapping[str, View]) -> NetInfo:
    """What is known of a net: its patches of the views that it reads."""
    takes = spec.backbone_of(name).takes
    return NetInfo(net.dim, net.depth, {n: net.grid(v.extent) for n, v in views.items() if v.type == takes})


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


def _check_passes(system: System, env: Env, spec: RunSpec) -> None:
    for request in system.plan:
        if request.net not in system.nets:
            names = ", ".join(system.nets)
            raise SpecError(
                f"nets: an objective reads net {request.net!r}, which the run does not have. Known: {names}"
            )
        if request.view not in env.nets[request.net].grids:
            reads = ", ".join(env.nets[request.net].grids) or "none"
            raise SpecError(
                f"views.{request.view}: is of {env.view(request.view).type}, which net {request.net!r} does not read; "
                f"views that it reads: {reads}"
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
