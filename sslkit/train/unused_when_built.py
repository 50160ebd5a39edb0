"""Fields that were set without effect, as only built parts show; `sslkit.specs.unused_fields` checks specs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from timm.optim import get_optimizer_info, list_optimizers
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.backbone import Backbone
from sslkit.core.masker import Masker
from sslkit.core.problem import Problem
from sslkit.core.source import Source
from sslkit.core.system import STUDENT, System
from sslkit.evaluate.evaluation_sources import Sources, unused_by_evaluators
from sslkit.functional.submodules import submodules
from sslkit.specs.byte_sizes import byte_count
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.optimizer import OptimizerSpec
from sslkit.specs.run import RunSpec
from sslkit.specs.unread_names import unread_views
from sslkit.specs.unused_fields import only_changed

OURS = ("adamw", "lars")
"""Names that do not go to timm: torch's fused AdamW, and our LARS, whose specs know what they read."""


def unused_when_built(spec: RunSpec, system: System, maskers: Iterable[Masker]) -> Iterator[Problem]:
    """Every field of `spec` that was set and has no effect on the run of `system`, by its path from the root."""
    read = {request.view for request in system.plan} | {g.view for masker in maskers for g in masker.passes}
    problems = [
        *(p._replace(path=f"optimizer.{p.path}") for p in ignored_by_timm(spec.optimizer)),
        *_unmatched(spec.optimizer, system),
        *unread_views(spec, frozenset(read)),
        *_norms(spec, system),
        *(p for i, e in enumerate(spec.evaluate) for p in _unread_splits(e, f"evaluate.{i}")),
    ]
    yield from only_changed(spec, problems)


def unused_for_images(spec: RunSpec, sources: Sources, net: Backbone | None) -> Iterator[Problem]:
    """Fields of evaluators that were set and have no effect on the images that they have."""
    problems = unused_by_evaluators(spec.evaluate, spec.data, sources, net, spec.readout.pool)
    yield from only_changed(spec, problems)


def unused_in_memory(
    spec: RunSpec, source: Source, sources: Sources, device: torch.device
) -> Iterator[Problem]:
    """Fields on decoding that were set although `source` has the training images in memory: to be told, not refused.

    They change no number, so that a spec may go from a few images to many and back.
    """
    images = source.resident()
    if images is None or not (device.type == "cpu" or images.numel() <= byte_count(spec.resident)):
        return
    held = "as the images are in memory"
    fields = {
        "augment_on": (spec.augment_on == "workers", f"{held} and are cut on the training device"),
        "resident": (device.type == "cpu", f"{held}, where a CPU reads them"),
        "workers": (spec.workers > 0, f"{held} and need no workers"),
        "max_corrupt": (True, f"{held} and can all be read"),
    }
    everywhere = all(one.resident() is not None for one in sources.all())
    decoding = () if everywhere else ("workers", "max_corrupt")  # evaluations may read files
    problems = (
        Problem(field, f"has no effect, {why}", note=True)
        for field, (idle, why) in fields.items()
        if idle and field not in decoding
    )
    yield from only_changed(spec, problems)


def ignored_by_timm(spec: OptimizerSpec) -> Iterator[Problem]:
    """The fields of `spec` that timm's optimizer of that name does not read."""
    if spec.name in OURS or spec.name not in list_optimizers():
        return
    info = get_optimizer_info(spec.name)
    reads = {
        "momentum": info.has_momentum,
        "betas": info.has_betas and info.num_betas == 2,
        "eps": info.has_eps,
    }
    for field, there in reads.items():
        if not there:
            pair = " pair of" if field == "betas" and info.has_betas else ""
            yield Problem(
                field, f"{spec.name!r} has no{pair} `{field}`; leave it out, or take an optimizer that has it"
            )


def _unmatched(spec: OptimizerSpec, system: System) -> Iterator[Problem]:
    names = [name for name, parameter in system.named_parameters() if parameter.requires_grad]
    for ending in spec.no_decay:
        if not any(name.endswith(ending) for name in names):
            yield Problem(
                "optimizer.no_decay", f"no parameter that is trained has a name that ends with {ending!r}"
            )


def _norms(spec: RunSpec, system: System) -> Iterator[Problem]:
    """How a moving average takes statistics that it does not have."""
    for name, net in spec.nets.items():
        online: nn.Module = system.nets[net.of]
        if net.is_average and not any(True for _ in submodules(online, _BatchNorm)):
            yield Problem(
                f"nets.{name}.batch_norm", "has no effect, as the backbone has no batch norm; leave it out"
            )


def _unread_splits(spec: EvaluatorSpec, path: str) -> Iterator[Problem]:
    """Sources of splits that a protocol does not read."""
    needs = spec.build().needs
    if "test" not in needs:
        yield Problem(f"{path}.test", f"{spec.label!r} reads the train split only; leave it out")
    if "train" not in needs and spec.test is not None:
        yield Problem(f"{path}.train", f"{spec.label!r} reads the test split only; leave it out")


def training_problems(system: System) -> Iterator[Problem]:
    """What the backbone and the towers say about being trained."""
    for name in system.trained:
        place = "backbone" if name == STUDENT else f"towers.{name}"
        yield from (
            p._replace(path=".".join(filter(None, (place, p.path)))) for p in system.nets[name].problems()
        )
