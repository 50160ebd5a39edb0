"""Resolved values of a run: learning rate, parameters, passes, FLOPs, and hashes of weights."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from torch import nn

from sslkit.build.maskers import masker_spec
from sslkit.build.restore import packed
from sslkit.core.context import Env
from sslkit.core.masker import Masker
from sslkit.core.passes import Encode
from sslkit.core.system import System
from sslkit.core.view import IMAGE
from sslkit.runs.lock import device_name
from sslkit.runtime.parallel import Parallel
from sslkit.specs.families import MaskerSpec
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed
from sslkit.train.cost import tokens
from sslkit.train.step.compile_system import compiles
from sslkit.train.step.mask_schedule import masks_shapes, timeline
from sslkit.train.step.stepper import module_parameters


def resolved(spec: RunSpec, composed: Composed, parallel: Parallel) -> dict[str, object]:
    """Every value that follows from the spec, the data and the machine."""
    stepper, length = composed.step, composed.length
    backbone_passes = passes(composed, composed.env)
    return {
        "images": len(composed.source),
        "channels": composed.source.channels,
        **_inputs(composed),
        "steps": length.steps,
        "steps_per_epoch": length.steps_per_epoch,
        "lr": stepper.peak_lr,
        "lr_rule": f"{spec.optimizer.lr} {spec.optimizer.scale} at batch {spec.batch_size}",
        "warmup_steps": spec.schedule.warmup_steps(length.clock(0)[1], length.steps_per_epoch),
        "precision": stepper.precision,
        "compile": compiles(spec, parallel.device),
        "device": device_name(parallel.device),
        "ranks": parallel.world,
        "micro_batch_size": composed.order.share.micro,
        "parameters": parameters(composed.system),
        "frozen": frozen_parameters(composed.system.nets["student"]) if spec.lora else 0,
        "notes": notes(composed.system),
        "passes": backbone_passes,
        "plan": tokens.plan(composed.system, stepper.masking, backbone_passes),
        "flops": flops_of(spec, composed, parallel) if spec.log.flops else None,
        "graphs": masks_shapes(timeline(stepper.masking.maskers, length).values()),
    }


def _inputs(composed: Composed) -> dict[str, object]:
    """What views need to know of the data; nothing where images are all that there is."""
    inputs = composed.inputs
    if not inputs.learned and set(inputs.channels) <= {IMAGE}:
        return {}
    learned = {view: packed(text) for view, text in inputs.learned.items()}
    return {"inputs": {"channels": dict(inputs.channels), "learned": learned}}


def notes(system: System) -> list[str]:
    """What networks say of themselves, as of the weights they start from: the student, then others by their names."""
    student = list(system.nets["student"].notes())
    others = (
        f"{name}: {note}" for name, net in system.nets.items() for note in net.notes() if note not in student
    )
    return [*student, *others]


def flops_of(spec: RunSpec, composed: Composed, parallel: Parallel) -> dict[int, int] | None:
    """Of a step, by the step from which they hold; None where a plugin's module reads values of tensors."""
    from sslkit.train.cost.flops import step_flops  # torch's formulas take a tenth of a second to import

    stages = timeline(composed.step.masking.maskers, composed.length)
    twice = composed.step.together
    at_once = spec.batch_size if twice else composed.order.share.micro * parallel.world
    try:
        return step_flops(
            composed.step.reading,
            composed.env,
            stages,
            spec.batch_size,
            at_once,
            parallel.device,
            twice=twice,
            cached=[i for i, run in enumerate(composed.system.early.runs) if is_cached(run, spec)],
        )
    except Exception:
        return None


def parameters(system: System) -> dict[str, int]:
    """Trained values by part."""
    parts = {name: system.get_submodule(f"nets.{name}") for name in system.trained}
    parts |= {
        f"objectives.{name}": module for name, module in system.get_submodule("objectives").named_children()
    }
    return {name: module_parameters(module) for name, module in parts.items()}


def is_cached(request: Encode, spec: RunSpec) -> bool:
    """Whether the answers to `request` are on disk, so that its net does not run."""
    return request.net in spec.nets and spec.nets[request.net].cache is not None


def frozen_parameters(net: nn.Module) -> int:
    """Values of `net` that are not trained: of a student with `lora` nearly all."""
    return sum(p.numel() for p in net.parameters() if not p.requires_grad)


def passes(composed: Composed, env: Env) -> list[dict[str, object]]:
    """The backbone passes that run in every step, those that maskers read first, with the tokens of each."""
    system, batch, spec = composed.system, composed.order.batch, composed.step.spec
    line = timeline(composed.step.masking.maskers, composed.length)
    wants = tokens.askers(system, composed.step.masking)
    guides = [
        _pass(request, env, batch, {})
        | {"guide": True, "for": tokens.users(request, True, wants, system.trained)}
        | ({"cached": spec.nets[request.net].cache, "tokens_per_step": 0} if is_cached(request, spec) else {})
        for request in system.early.runs
    ]
    planned = [
        _pass(request, env, batch, {step: stage[i] for step, stage in line.items() if i in stage})
        | {"guide": False, "for": tokens.users(request, False, wants, system.trained)}
        for request, i in zip(system.late.runs, system.places, strict=True)
    ]
    return guides + planned


def _pass(request: Encode, env: Env, batch: int, line: Mapping[int, Masker]) -> dict[str, object]:
    """One pass. `line`: step -> the masker in force from then on; `stages` is empty where it stays the same."""
    crops, patches = env.view(request.view).crops, env.net(request.net).grids[request.view].patches
    stages = []
    for masker, steps in groupby(line.items(), key=lambda item: item[1]):
        visible = patches if request.mode == "token" else (masker.visible or patches)
        stages.append(
            {
                "step": next(steps)[0],
                "value": masker.label,
                "hidden": masker.most,
                "varies": masker.visible is None,
                "visible": visible,
                "tokens_per_step": batch * crops * (visible + 1),
            }
        )
    first = stages[0] if stages else {"visible": patches, "tokens_per_step": batch * crops * (patches + 1)}
    return {
        "net": request.net,
        "view": request.view,
        "crops": crops,
        "mask": None if request.mask is None else _mask(masker_spec(request), request.salt),
        "mode": request.mode if request.mask is not None else "all",
        "patches": patches,
        "visible": first["visible"],
        "tokens_per_step": first["tokens_per_step"],
        "stages": stages if len(stages) > 1 else [],
    }


def _mask(masker: MaskerSpec, salt: str) -> str:
    return f"{masker.summary()}, salt {salt}" if salt else masker.summary()
