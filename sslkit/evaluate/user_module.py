"""Evaluation of any `torch.nn.Module` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Scores
from sslkit.core.view import Grid, Size, View
from sslkit.evaluate.evaluate_network import measure
from sslkit.evaluate.open_network import Network, stand_in, view_of
from sslkit.nn.wrapped_network import PLAIN, Forward, Layout, Wrapped
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import BackboneSpec, EvaluatorSpec, SourceSpec
from sslkit.specs.readout import Readout
from sslkit.specs.views import IMAGENET_MEAN, IMAGENET_STD, Normalize, ViewSpec


@final
class Given(BackboneSpec):
    """Stands for a module from Python where a spec is asked for; no entry point offers it."""

    kind: Literal["module"] = "module"

    def grid(self, size: Size) -> Grid | None:
        return None

    def build(self, view: View) -> Backbone:
        raise AssertionError("a module from Python is given, not built")


def evaluate_network(
    network: nn.Module,
    evaluators: Sequence[EvaluatorSpec],
    data: SourceSpec,
    *,
    size: int,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    forward: Forward | None = None,
    layout: Layout = PLAIN,
    readout: Readout | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    workers: int = 4,
) -> dict[str, Scores]:
    """Measure any network by the protocols of sslkit.

    Args:
        network: a `torch.nn.Module`, or a `Backbone`. Its weights and modes stay as they are.
        evaluators: the protocols, as `[KNN(), LinearProbe()]`.
        data: the labeled images.
        size: side of the images, in pixels.
        mean: what is subtracted from pixels in [0, 1], one number a channel (default: ImageNet's).
        std: what they are divided by (default: ImageNet's).
        forward: the network and images `[B, C, size, size]` -> features, as `lambda net, images: net.stem(images)`, or
            a method of the network; the network itself by default. It takes the network because fine-tuning trains
            a copy.
        layout: how features are read that are no vectors: tokens before the patches, channels last.
        readout: pooling and crop; the class token, or the mean where there is none, by default.
        out: folder for results and predictions; nothing is written by default.
        seed: of the protocols' randomness.
        device: where to compute.
        workers: processes that decode images.

    Returns:
        The scores of each evaluator, by its label.

    Raises:
        SpecError: the network gives no features of such images, or a protocol does not fit it.
        DataError: images or labels are missing.
    """
    spec = EvaluationSpec.model_construct(
        data=data, evaluate=tuple(evaluators), seed=seed, device=device, workers=workers, precision="float32"
    )
    view = ViewSpec(size=size, normalize=Normalize(mean=mean, std=std))
    run = stand_in(spec, Given(), view, readout or Readout())
    input_view = view_of(run)
    net = network if isinstance(network, Backbone) else Wrapped(network, input_view, forward, layout)
    folder = Path() if out is None else Path(out)
    return measure(Network(run, net, input_view, None, folder, 0, None), write=out is not None).scores
