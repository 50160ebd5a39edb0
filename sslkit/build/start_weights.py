"""A run that begins with the networks of another: what it takes, what it resizes, and what is fresh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslkit.build.restore import find, learned_of
from sslkit.core.backbone import Backbone
from sslkit.core.objective import Objective
from sslkit.core.system import STUDENT, System
from sslkit.errors import CheckpointError
from sslkit.nn.low_rank import plain_names, plain_state
from sslkit.runs.lock import read_lock
from sslkit.runs.seal import RUN
from sslkit.runs.weights import state_sha256
from sslkit.specs.run import RunSpec

State = Mapping[str, Tensor]
TAKEN, COPIED = "taken", "a copy of the student"
SHOWN = 3
"""Names that a message shows of each kind."""


class Begun(NamedTuple):
    """What the networks of a run took of another."""

    folder: str
    run: str | None
    """The other's id; None of earlier versions."""
    step: int
    weights: str
    """sha256 over all of its weights, as in its `summary.json`."""
    parts: Mapping[str, str]
    """Part of the system -> what became of it."""

    def lines(self) -> Iterator[str]:
        """For people."""
        of = f"run {self.run[:8]}, " if self.run else ""
        yield f"begins with {self.folder}, step {self.step:,} ({of}weights {self.weights[:8]}):"
        for name, what in self.parts.items():
            yield f"  {name}: {what}"

    def recorded(self) -> dict[str, object]:
        """For the lock."""
        facts = {"folder": self.folder, RUN: self.run, "step": self.step, "weights_sha256": self.weights}
        return {**facts, "parts": dict(self.parts)}


def learned_before(spec: RunSpec) -> dict[str, str]:
    """What the transforms of the run to begin with learned, by view, where this one's views have equal transforms.

    Raises:
        CheckpointError: the folder holds no run.
    """
    if spec.start_from is None:
        return {}
    lock = read_lock(spec.start_from.run)
    views = lock["spec"].get("views", {})
    same = {
        name
        for name, view in spec.views.items()
        if view.transform is not None
        and views.get(name, {}).get("transform") == view.transform.model_dump(mode="json")
    }
    return {name: text for name, text in learned_of(lock["resolved"]).items() if name in same}


@torch.no_grad()
def begin_with(system: System, spec: RunSpec) -> Begun | None:
    """Put the networks of the run that `spec.start_from` names into `system`; None where it names none.

    Nets and heads are taken whole or not at all. Averages and copies that the other run lacks become copies of the
    student as taken. Balancers, optimizer and maskers begin anew.

    Raises:
        CheckpointError: no such checkpoint, or the student does not fit; the message names what differs.
    """
    start = spec.start_from
    if start is None:
        return None
    try:
        read_lock(start.run)
        loaded = find(start.run, start.checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"start_from: {error}") from None
    state: dict[str, Tensor] = loaded.state["system"]
    parts = {f"nets.{n}": _net(system.nets[n], _below(state, f"nets.{n}.")) for n in system.trained}
    if not parts["nets.student"].startswith(TAKEN):
        raise CheckpointError(
            f"start_from: the student of {loaded.path} does not fit `backbone`: {parts['nets.student']}"
        )
    for name, net in system.nets.items():
        if name not in system.trained:
            online = system.nets[spec.original(name)]
            parts[f"nets.{name}"] = _other(net, spec, name, _below(state, f"nets.{name}."), online)
    for name, objective in system.objectives.items():
        prefix = f"objectives.{name}."
        parts |= {prefix + part: what for part, what in _heads(objective, _below(state, prefix)).items()}
    return Begun(str(start.run), loaded.meta.get(RUN), loaded.step, state_sha256(state), parts)


def _below(state: State, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _net(net: Backbone, state: State) -> str:
    """Load `state` into `net` where it fits, and say so; parameters beside its modules, as a mask token, may differ."""
    if not state:
        return "fresh: the other run has no such net"
    plain = plain_state(state)
    fitted, changes = net.resized(plain)
    names, values = plain_names(net), net.state_dict()
    expected = {plain_name: values[name] for plain_name, name in names.items()}
    alone = {*expected} ^ {*fitted}
    optional = {name for name in alone if "." not in name or name.endswith("num_batches_tracked")}
    if wrong := _differences(expected, fitted, optional):
        return f"fresh: {wrong}"
    arrays = {name: value for name, value in fitted.items() if name in expected}
    net.load_state_dict({names[name]: value for name, value in arrays.items()}, strict=False)
    fresh = [name for name in expected if name not in arrays]
    resized = f", resized: {'; '.join(changes)}" if changes else ""
    merged = ", its low-rank changes merged" if plain.keys() != state.keys() else ""
    return TAKEN + merged + resized + (f", fresh: {_names(fresh)}" if fresh else "")


def _other(net: Backbone, spec: RunSpec, name: str, state: State, online: Backbone) -> str:
    """What becomes of a net that is not trained."""
    settings = spec.nets[name]
    if settings.backbone is not None:
        return "its own weights" if settings.backbone.has_first_weights else _net(net, state)
    what = _net(net, state) if settings.is_average else ""
    if what.startswith(TAKEN):
        return what
    expected = net.state_dict()
    net.load_state_dict({name: value for name, value in online.state_dict().items() if name in expected})
    return COPIED if settings.of == STUDENT else f"a copy of {settings.of!r}"


def _heads(objective: Objective, state: State) -> dict[str, str]:
    """Load the parts of an objective that fit; what became of each.

    Its buffers, as centers and queues, tell of its heads: they come along with all of them or not at all. What is
    frozen, as a tokenizer, has weights of its own. An average goes with what it averages.
    """
    averages = {average: online for online, average in objective.twins.items()}
    heads = {name: part for name, part in objective.named_children() if _trains(part) or name in averages}
    fits = {name: _differences(part.state_dict(), _below(state, f"{name}.")) for name, part in heads.items()}
    for average, online in averages.items():
        if average in fits and online in fits:
            fits[average] = fits[online] = fits[online] or fits[average]
    for name, part in heads.items():
        if not fits[name]:
            part.load_state_dict(_below(state, f"{name}."))
    parts = {name: f"fresh: {wrong}" if wrong else TAKEN for name, wrong in fits.items()}
    rest = {name: value for name, value in objective.state_dict().items() if _owner(name) not in heads}
    frozen = {name for name, part in objective.named_children() if name not in heads and _has(part)}
    rest = {name: value for name, value in rest.items() if _owner(name) not in frozen}
    if rest:
        wrong = _differences(rest, {name: value for name, value in state.items() if name in rest})
        wrong = "its heads are" if any(fits.values()) else wrong
        if not wrong:
            objective.load_state_dict({name: state[name] for name in rest}, strict=False)
        owners = ", ".join(dict.fromkeys(_owner(name) for name in rest))
        parts[owners] = f"fresh: {wrong}" if wrong else TAKEN
    return parts


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _has(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _owner(name: str) -> str:
    return name.partition(".")[0]


def _differences(expected: State, other: State, optional: set[str] | frozenset[str] = frozenset()) -> str:
    """In words, how the names and shapes of `other` differ from `expected`; empty where they do not."""
    if not {*expected} & {*other}:
        return "the other run has no such part"
    lacking = [name for name in expected if name not in other and name not in optional]
    unknown = [name for name in other if name not in expected and name not in optional]
    shapes = [
        f"{name} ({_shape(other[name])} there, {_shape(value)} here)"
        for name, value in expected.items()
        if name in other and other[name].shape != value.shape
    ]
    kinds = {"lacks": lacking, "has besides": unknown, "of another shape": shapes}
    return "; ".join(f"{what} {len(names)}: {_names(names)}" for what, names in kinds.items() if names)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"
