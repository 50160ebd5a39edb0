"""Opens the network that is exported: of a run, an exported file, or timm."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.view import View
from sslkit.errors import SpecError
from sslkit.evaluate.embeddings.embedding_network import existing
from sslkit.evaluate.evaluator_checks import layer_problems
from sslkit.evaluate.open_network import exported, of_run
from sslkit.evaluate.readout import head_of
from sslkit.evaluate.timm_network import timm_network
from sslkit.specs.embedding import TIMM
from sslkit.specs.families import BackboneSpec
from sslkit.specs.readout import Readout
from sslkit.specs.views import ViewSpec

COLORS = 3
"""Channels that a network of `timm:NAME` reads."""


class OpenedModel(NamedTuple):
    """A network on the CPU with its weights, in evaluation mode, and how it is read."""

    what: str
    net: Backbone
    view: View
    readout: Readout
    head: nn.Module | None
    """What its features go through, where the readout names one."""
    run_dir: Path | None = None
    """The run that trained it, where there is one."""
    step: int = 0

    def images(self, count: int) -> Tensor:
        """Random images as it reads them, `[count, C, H, W]`, the same in every call."""
        shape = (count, *self.view.shape)
        return torch.randn(shape, generator=torch.Generator().manual_seed(count))


def open_model(what: str, checkpoint: str = "last") -> OpenedModel:
    """The network that `what` names.

    Args:
        what: a run folder, a `.safetensors` file of `sslkit export`, or `timm:NAME`.
        checkpoint: of a run: `last`, `best` or a name. Of `timm:NAME`: a file of weights; `last` are timm's own,
            which it may download.

    Raises:
        SpecError: there is no such network.
        CheckpointError: a run, checkpoint or file is missing or damaged.
    """
    path = None if what.startswith(TIMM) else existing(what)
    if path is not None and path.is_dir():
        model = _of_run(what, path, checkpoint)
    else:
        model = _of_backbone(what, *_named(what, path, checkpoint))
    for problem in layer_problems("readout.layer", [model.readout.layer], model.net):
        raise SpecError(f"{problem.path}: {problem.message}")
    for module in (model.net, model.head):
        if module is not None:
            module.eval().requires_grad_(False)
    return model


def _of_run(what: str, run_dir: Path, checkpoint: str) -> OpenedModel:
    network = of_run(run_dir, checkpoint)
    readout = network.spec.readout
    assert network.objectives is not None, "a run has objectives"
    head = None if readout.head is None else head_of(network.objectives()[0], readout)
    return OpenedModel(what, network.net, network.view, readout, head, run_dir, network.step)


def _named(what: str, path: Path | None, checkpoint: str) -> tuple[BackboneSpec, ViewSpec, Readout]:
    """Of an exported file or of timm."""
    if path is None:
        weights = {"pretrained": True} if checkpoint == "last" else {"checkpoint": checkpoint}
        return timm_network(what, COLORS, None, weights)
    if checkpoint != "last":
        raise SpecError(f"checkpoint: is one of a run, and {path} is a file; leave it out")
    return exported(path)


def _of_backbone(what: str, backbone: BackboneSpec, view_spec: ViewSpec, readout: Readout) -> OpenedModel:
    statistics = view_spec.normalize
    view = View(view_spec.size, 1, len(statistics.mean), statistics.mean, statistics.std)
    with torch.random.fork_rng(devices=[]):  # what is drawn here is replaced by the weights
        return OpenedModel(what, backbone.build(view), view, readout, None)
