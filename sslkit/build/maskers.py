"""The maskers of a system, one for all equal masked passes, with the checks that need them built."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from sslkit import catalog
from sslkit.core.context import Env
from sslkit.core.masker import Masker
from sslkit.core.passes import Encode
from sslkit.core.system import System
from sslkit.errors import SpecError
from sslkit.specs.families import MaskerSpec, masker_misfit
from sslkit.specs.walk import walk

Maskers = Mapping[int, Masker]
"""Index of a pass -> its masker."""


def make_maskers(system: System, env: Env) -> Maskers:
    """The sampler of every masked pass; equal maskers on one view are one.

    Raises:
        SpecError: a masker does not fit its grid or mode, or reads a net that the run does not have.
    """
    shared: dict[str, Masker] = {}
    result = {}
    for i, request in enumerate(system.plan):
        if request.mask is not None:
            try:
                key = mask_key(request)
                shared[key] = shared.get(key) or _masker(request, env)
                _require_fixed(shared[key], request, env)
            except SpecError as error:
                raise SpecError(f"{_asker(system, request)}{error}") from None
            result[i] = shared[key]
    return result


def masker_spec(request: Encode) -> MaskerSpec:
    """The masker that a masked pass names: `core` holds it as any value that can be compared.

    Raises:
        SpecError: it is something else.
    """
    if not isinstance(request.mask, MaskerSpec):
        raise SpecError(f"masker: a pass takes the spec of a masker, found {request.mask!r}")
    return request.mask


def mask_key(request: Encode) -> str:
    """What decides the mask of a masked pass: passes with equal ones share masker and mask. Masks are drawn by it.

    Raises:
        SpecError: it names something else than the spec of a masker.
    """
    masker = masker_spec(request).model_dump_json()
    return " ".join([request.view, masker, *([request.salt] if request.salt else [])])


def _asker(system: System, request: Encode) -> str:
    """Path of the first of several objectives that asks for `request`; nothing where there is only one."""
    objectives = system.objectives
    owners = [name for name, objective in objectives.items() if request in objective.passes]
    return f"objectives.{owners[0].replace('/', '.objectives.')}: " if len(objectives) > 1 else ""


def _require_axes(request: Encode, env: Env) -> None:
    grid = env.grid(request.view)
    for _, spec in walk(request.mask):
        if isinstance(spec, MaskerSpec) and spec.axes is not None and len(grid.shape) not in spec.axes:
            raise SpecError(masker_misfit(spec, request.view, len(grid.shape)))


def _masker(request: Encode, env: Env) -> Masker:
    try:
        _require_axes(request, env)
        masker = masker_spec(request).build(env, request.view)
        for guide in masker.passes:
            env.net(guide.net)
    except SpecError as error:
        raise SpecError(f"masker: {error}") from None
    return masker


def _require_fixed(masker: Masker, request: Encode, env: Env) -> None:
    grid = env.grid(request.view)
    if request.mode == "drop" and any(stage.visible is None for stage in masker.stages()):
        kind = masker_spec(request).kind_name()
        raise SpecError(
            f"masker: {kind!r} hides a varying number of patches, but this objective leaves hidden "
            f"patches out and needs a fixed number; {grid} patches fit {_fixed(env, request.view)}"
        )


def _fixed(env: Env, view: str) -> str:
    """The kinds of maskers that leave a fixed number of patches visible in `view`, as far as their examples tell."""
    fixed = []
    for kind, cls in sorted(catalog.kinds("masker").items()):
        with suppress(Exception):  # whatever ails another masker, this error is not about it
            example = cls.example() if issubclass(cls, MaskerSpec) else None
            stages = () if example is None else example.build(env, view).stages()
            if stages and all(stage.visible is not None for stage in stages):
                fixed.append(kind)
    return ", ".join(fixed) or "no masker that is installed"
