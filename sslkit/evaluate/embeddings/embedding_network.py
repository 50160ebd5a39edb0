"""Opens the network whose embeddings are taken: of a run, an exported file, or timm."""

from __future__ import annotations

from pathlib import Path

from sslkit.build.restore import restore
from sslkit.core.source import Source
from sslkit.errors import SpecError
from sslkit.evaluate.encoders import Encoder, net_encoder, patch_encoder
from sslkit.evaluate.open_network import Network, exported, of_backbone, read_as
from sslkit.evaluate.readout import Reading
from sslkit.evaluate.timm_network import timm_network
from sslkit.runs.lock import read_lock
from sslkit.specs.check import check
from sslkit.specs.embedding import TIMM, EmbeddingSpec, Tokens
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.families import SourceSpec
from sslkit.specs.load import similar_path
from sslkit.specs.readout import Readout
from sslkit.specs.views import ViewSpec

POOLS = {"class": "cls", "mean": "mean", "patch": "cls"}
"""Tokens -> `readout.pool`, which of all patch tokens is not asked."""
RANDOM = "none"
"""The checkpoint of random weights."""


def channels_of(spec: EmbeddingSpec) -> int | None:
    """Channels that the network of `spec` reads; None where it takes those of the images.

    Raises:
        SpecError: there is no such network.
        CheckpointError: the run or the file cannot be read.
    """
    if spec.what.startswith(TIMM):
        return None
    path = existing(spec.what)
    if path.is_dir():
        return int(read_lock(path)["resolved"]["channels"])
    return len(exported(path)[1].normalize.mean)


def network_of(spec: EmbeddingSpec, source: Source, data: SourceSpec) -> Network:
    """The network of `spec` on the CPU, with its weights, its view and its readout.

    Args:
        spec: what is asked for.
        source: the images.
        data: their spec.

    Raises:
        SpecError: there is no such network, or what is asked of it does not fit.
        CheckpointError: a run, checkpoint or file is missing or damaged.
    """
    if spec.what.startswith(TIMM):
        return _of_timm(spec, source.channels, data)
    path = existing(spec.what)
    if path.is_dir():
        return _of_run(spec, path, data)
    if spec.checkpoint != "last":
        raise SpecError(f"checkpoint: is one of a run, and {path} is a file; leave it out")
    backbone, view, readout = exported(path)
    return of_backbone(_evaluation(spec, data), backbone, _sized(view, spec), _read(readout, spec))


def encoder_of(tokens: Tokens, network: Network, reading: Reading) -> Encoder:
    """What makes embeddings of normalized images: `[B, D]`, or `[B, P, D]` of patch tokens, which pass no head."""
    if tokens == "patch":
        return patch_encoder(network.net, reading.readout.layer, reading.autocast)
    return net_encoder(network.net, reading.readout, reading.autocast, reading.head)


def existing(what: str) -> Path:
    """The run folder or file. Raises SpecError where there is none."""
    path = Path(what)
    if not path.exists():
        raise SpecError(
            f"{what}: no such run folder or exported file; a network of timm is written {TIMM}NAME."
            f"{similar_path(path)}"
        )
    return path


def _of_run(spec: EmbeddingSpec, run_dir: Path, data: SourceSpec) -> Network:
    restored = restore(run_dir, spec.checkpoint)
    run = restored.spec
    views = {**run.views, run.first_view: _sized(run.views[run.first_view], spec)}
    changes = {"precision": spec.precision} if spec.precision else {}
    run = run.model_copy(
        update={
            "data": data,
            "evaluate": (),
            "readout": _read(run.readout, spec),
            "views": views,
            "device": spec.device,
            "workers": spec.workers,
            **changes,
        }
    )
    check(run, effects=None, unread={*run.views} - {run.first_view})
    return read_as(restored, run, run_dir)


def _of_timm(spec: EmbeddingSpec, channels: int, data: SourceSpec) -> Network:
    """As timm evaluates it: size, statistics and crop of its settings for the name."""
    backbone, view, readout = timm_network(spec.what, channels, spec.size, _weights(spec.checkpoint))
    return of_backbone(_evaluation(spec, data), backbone, view, _read(readout, spec))


def _weights(checkpoint: str) -> dict[str, object]:
    if checkpoint in ("last", RANDOM):
        return {"pretrained": checkpoint == "last"}
    return {"checkpoint": checkpoint}


def _sized(view: ViewSpec, spec: EmbeddingSpec) -> ViewSpec:
    return view if spec.size is None else view.model_copy(update={"size": spec.size})


def _read(readout: Readout, spec: EmbeddingSpec) -> Readout:
    """`readout` with what was asked for in its place. No head reads patch tokens."""
    changes = {"layer": spec.layer, "batch_size": spec.batch_size}
    pool = {} if spec.tokens is None else {"pool": POOLS[spec.tokens], "pyramid": ()}
    head = {"head": None} if spec.tokens == "patch" else {}
    kept = {name: value for name, value in changes.items() if value is not None}
    return readout.model_copy(update={**kept, **pool, **head})


def _evaluation(spec: EmbeddingSpec, data: SourceSpec) -> EvaluationSpec:
    """What the opener of networks asks for; nothing is evaluated or written there."""
    return EvaluationSpec.model_construct(
        data=data,
        seed=spec.seed,
        device=spec.device,
        workers=spec.workers,
        precision=spec.precision,
        out=Path(),
    )
