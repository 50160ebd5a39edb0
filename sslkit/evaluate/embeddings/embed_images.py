"""Embeddings of images into a file: in source order, on all ranks, continued where they were cut off."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.core.source import Source
from sslkit.errors import DataError, Interrupted, SpecError, SslkitError
from sslkit.evaluate.embeddings.embedding_file import FORMAT, About, LeftOut, read_about
from sslkit.evaluate.embeddings.embedding_formats import WRITERS, Listed
from sslkit.evaluate.embeddings.embedding_index import write_index
from sslkit.evaluate.embeddings.embedding_network import channels_of, encoder_of, existing, network_of
from sslkit.evaluate.embeddings.partial_rows import (
    ABSENT,
    READ,
    UNREADABLE,
    Floats,
    PartialRows,
    Rows,
    RowWriter,
    in_words,
)
from sslkit.evaluate.evaluate_network import reading_for
from sslkit.evaluate.evaluation_sources import require_channels
from sslkit.evaluate.evaluator_checks import layer_problems
from sslkit.evaluate.features import outputs
from sslkit.evaluate.open_network import Network
from sslkit.evaluate.readout import Reading
from sslkit.nn.modes import evaluating
from sslkit.registry.manager import registry
from sslkit.runs.lock import trained_spec
from sslkit.runs.owner import owned
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.mixed_precision import resolved_precision
from sslkit.runtime.parallel import Parallel, start
from sslkit.runtime.rank_agreement import on_first_rank
from sslkit.runtime.signals import StopRequest
from sslkit.specs.embedding import TIMM, EmbeddingSpec, Tokens, images_at
from sslkit.specs.families import SourceSpec

Progress = Callable[[int, int], None]
"""Told how many images are done, and of how many."""


class Embedded(NamedTuple):
    """What `embed` wrote."""

    path: Path
    about: About
    """What the file says of itself: rows, shape, unreadable images, weights, view."""
    before: int
    """Images that an earlier call had done."""
    faiss_index: Path | None = None
    """The faiss index, where one was asked for."""


def embed(
    what: str | Path,
    *,
    out: str | Path,
    data: SourceSpec | str | Path | None = None,
    tokens: Tokens | None = None,
    layer: int | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    checkpoint: str = "last",
    split: Literal["train", "test"] = "train",
    size: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    workers: int = 4,
    precision: Literal["float32", "bfloat16", "float16"] | None = None,
    index: bool = False,
    progress: Progress | None = None,
) -> Embedded:
    """Take the embeddings of images and write them to a file, in the order of the source.

    An interrupted call is continued by the same call: no image comes twice and none is left out. Images that cannot be
    read have no row, and are listed.

    Args:
        what: a run folder, a `.safetensors` file of `sslkit export`, or `timm:NAME`.
        out: the file, which ends in `.parquet`, `.npy` or `.safetensors`.
        data: a source, a folder of images, or a YAML file with `data`. Default: the images of the run.
        tokens: the class token, the mean of the patch tokens, or all patch tokens, `[P, D]` an image. Default: what the
            run or the exported file reads, or else the class token.
        layer: block whose output is taken, -1 the last. Default: that of the run's readout, or -1.
        dtype: type of the numbers in the file.
        checkpoint: of a run: `last`, `best` or a name. Of `timm:NAME`: a file of weights, or `none` for random ones.
        split: the images of which split.
        size: side of the images, in pixels. Default: what the run or the file says, or timm.
        batch_size: images a forward. Default: 256, or that of the run's readout.
        seed: of random weights.
        device: where to compute.
        workers: processes that decode images.
        precision: autocast type of forwards. Default: that of the run, or bfloat16 on CUDA.
        index: also write a faiss index, `FILE.faiss`, for `sslkit search`.
        progress: is called with the images that are done, and all.

    Raises:
        SpecError: what is asked for does not fit.
        CheckpointError: the network cannot be read, or half of other embeddings is there.
        DataError: there are no images, or `out` holds something else.
        StorageError: the file could not be written.
        Interrupted: a signal came; what was done is kept.
    """
    spec = EmbeddingSpec(
        what=str(what), out=Path(out), tokens=tokens, layer=layer, dtype=dtype, checkpoint=checkpoint, split=split,
        size=size, batch_size=batch_size, seed=seed, device=device, workers=workers, precision=precision, index=index,
    )  # fmt: skip
    if isinstance(data, str | Path):
        data = images_at(Path(data), channels_of(spec), registry().failures)
    spec = spec.model_copy(update={"data": data})
    return embed_spec(spec, progress)


def embed_spec(spec: EmbeddingSpec, progress: Progress | None = None) -> Embedded:
    """As `embed`, of a spec."""
    data = spec.data or _data_of_run(spec)
    source = data.build(spec.split)
    if source is None or not len(source):
        missing = "has no images" if source is not None else "does not exist"
        raise DataError(
            f"data: the {spec.split} split of {data.kind_name()!r} {missing}; name another `split`"
        )
    network = network_of(spec, source, data)
    require_channels(source, spec.split, network.view.channels)
    for problem in layer_problems("layer", [network.spec.readout.layer], network.net):
        raise SpecError(f"{problem.path}: {problem.message}")
    parallel = start(spec.device)
    try:
        reading = reading_for(network, parallel, lambda reason: None)
        with evaluating(network.net, reading.head), torch.no_grad():
            return _Job(spec, data, source, network, reading, parallel).run(progress)
    finally:
        parallel.close()


def _data_of_run(spec: EmbeddingSpec) -> SourceSpec:
    if spec.what.startswith(TIMM) or not existing(spec.what).is_dir():
        raise SpecError("data: must be given where no run says which images; a folder, or a spec with `data`")
    return trained_spec(Path(spec.what)).data


@final
class _Job:
    """One network, one source, one file."""

    def __init__(
        self, spec: EmbeddingSpec, data: SourceSpec, source: Source, network: Network, reading: Reading,
        parallel: Parallel,
    ) -> None:  # fmt: skip
        self.spec, self.source, self.network, self.reading, self.parallel = (
            spec,
            source,
            network,
            reading,
            parallel,
        )
        readout = network.spec.readout
        self.tokens: Tokens = spec.tokens or ("mean" if readout.pool == "mean" else "class")
        self.batch, self.encode = readout.batch_size, encoder_of(self.tokens, network, reading)
        view = network.view
        black = torch.zeros(1, view.channels, view.size, view.size, device=parallel.device)
        self.rows = Rows(len(source), tuple(self.encode(black).shape[1:]), spec.dtype)
        self.partial = PartialRows(spec.out, self.rows)
        self.origin = {"what": spec.what, "checkpoint": spec.checkpoint, "data": data.model_dump(mode="json")}
        self.plan = self._plan()

    def _plan(self) -> dict[str, object]:
        """What decides every number in the file."""
        network, head, readout = self.network, self.reading.head, self.network.spec.readout
        device = self.parallel.device
        return {
            "format": FORMAT,
            "sslkit": metadata.version("sslkit"),
            "step": network.step,
            "weights_sha256": weights_sha256(network.net),
            "head_sha256": None if head is None else weights_sha256(head),
            "net": readout.net,
            "tokens": self.tokens,
            "layer": readout.layer,
            **({"pyramid": list(readout.pyramid)} if readout.pyramid else {}),
            "view": network.view.seen(),
            "crop": readout.crop,
            "dtype": self.spec.dtype,
            "precision": resolved_precision(network.spec, device),
            "device": device.type,
            "batch_size": self.batch,
            "split": self.spec.split,
            "fingerprint": self.source.fingerprint,
            "images": self.rows.images,
            "classes": self.source.classes,
            "labeled": self.source.labels is not None,
            "shape": self.rows.shape,
        }

    def run(self, progress: Progress | None) -> Embedded:
        """Do what is left of it."""
        out, parallel = self.spec.out, self.parallel
        with contextlib.ExitStack() as held:
            ready: list[About] = []
            on_first_rank(parallel, lambda: ready.extend(self._begin(held)))
            before = self.rows.images
            if not parallel.any(bool(ready)):
                states = self.partial.states()
                before = int((states != ABSENT).sum())
                parallel.wait()  # nobody writes before all have looked
                self._extract(states, progress)
                on_first_rank(parallel, self._finish)
            about = read_about(out)
            written: list[Path] = []
            if self.spec.index:
                on_first_rank(parallel, lambda: written.append(write_index(out)))
            parallel.wait()
        if parallel.first:
            self.partial.remove()
        return Embedded(out, about, before, next(iter(written), None))

    def _begin(self, held: contextlib.ExitStack) -> list[About]:
        """Keep other processes out, and make or check the folder of what is half done. One item: all is done."""
        out = self.spec.out
        held.enter_context(owned(self.partial.folder, warnings.warn))
        if out.exists():
            return [_same(out, self.plan)]
        self.partial.begin(self.plan, copies=1 if out.suffix == ".npy" else 2)
        return []

    def _extract(self, states: NDArray[np.uint8], progress: Progress | None) -> None:
        """Rows of the batches that are not there yet, of which each rank has its share."""
        parallel, batch = self.parallel, self.batch
        left = [s for s in range(0, len(states), batch) if (states[s : s + batch] == ABSENT).any()]
        starts = left[parallel.rank :: parallel.world]
        total = int((states == ABSENT).sum())
        with StopRequest(speaks=parallel.first) as stop, self.partial.writer(parallel.rank) as writer:
            done = 0
            for start_of_batch, values in self._batches(starts, writer):
                count = min(batch, len(states) - start_of_batch)
                writer.add(start_of_batch, count, *values)
                done += count * parallel.world
                if progress is not None and parallel.first:
                    progress(min(done, total), total)
                if stop.signal is not None:
                    break
        if parallel.any(stop.signal is not None):
            name = stop.signal or "SIGTERM"
            raise Interrupted(f"stopped by {name}; the same command goes on from {self.partial.folder}", name)

    def _batches(
        self, starts: Sequence[int], writer: RowWriter
    ) -> Iterator[tuple[int, tuple[NDArray[np.int64], Floats | None]]]:
        """(first image, (readable ones, their rows)) of each batch."""

        def note(source: Source, index: int, reason: str) -> None:
            writer.unreadable(index, reason)

        loading = self.reading.loading._replace(unreadable=note)
        every = torch.arange(self.rows.images)
        kind = getattr(torch, self.spec.dtype)
        with contextlib.closing(
            outputs(self.source, lambda images, _: self.encode(images), loading, every, starts)
        ) as batches:
            moved = (
                (places, None if rows is None else rows.to(kind).contiguous()) for places, rows in batches
            )
            for first, (places, rows) in zip(starts, overlapped(moved), strict=True):
                values = None if rows is None else rows.numpy()
                if values is not None:
                    self._require_finite(values, places)
                yield first, (places.numpy(), values)

    def _require_finite(self, values: Floats, places: Tensor) -> None:
        finite = np.isfinite(values).reshape(len(values), -1).all(1)
        if not finite.all():
            first = self.source.name(int(places[int(np.argmin(finite))]))
            reason = (
                "too large for float16; use `dtype` float32"
                if self.spec.dtype == "float16"
                else "the network has diverged"
            )
            raise DataError(f"{first}: its embedding is not finite: {reason}")

    def _finish(self) -> None:
        """Make the file of the rows, and say what it came from."""
        states, reasons, source = self.partial.states(), self.partial.reasons(), self.source
        indices = np.flatnonzero(states == READ)
        if not len(indices):
            self.partial.remove()
            raise DataError(
                f"none of the {len(source):,} images can be read; the first: {reasons.get(0, source.name(0))}"
            )
        left_out = [
            LeftOut(i, source.name(i), reasons.get(i, ""))
            for i in np.flatnonzero(states == UNREADABLE).tolist()
        ]
        labels = None if source.labels is None else source.labels.numpy()[indices]
        listed = Listed(indices, [source.name(i) for i in indices.tolist()], labels, source.classes)
        about = {**self.plan, **self.origin, "unreadable": left_out}
        WRITERS[self.spec.out.suffix](self.spec.out, self.partial, listed, about)


def overlapped(batches: Iterator[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches on the CPU, each once the next one is under way, so that a GPU does not wait for copies."""
    waiting: deque[tuple[Tensor, Tensor | None, Callable[[], object]]] = deque()
    for places, rows in batches:
        copied, wait = _copy(rows)
        waiting.append((places, copied, wait))
        if len(waiting) > 1:
            yield _arrived(*waiting.popleft())
    while waiting:
        yield _arrived(*waiting.popleft())


def _copy(rows: Tensor | None) -> tuple[Tensor | None, Callable[[], object]]:
    """`rows` on their way to the CPU, and what waits for them."""
    if rows is None or not rows.is_cuda:
        return None if rows is None else rows.cpu(), lambda: None
    copied = rows.to("cpu", non_blocking=True)
    return copied, torch.cuda.current_stream(rows.device).record_event().synchronize


def _arrived(places: Tensor, rows: Tensor | None, wait: Callable[[], object]) -> tuple[Tensor, Tensor | None]:
    wait()
    return places, rows


def _same(out: Path, plan: Mapping[str, object]) -> About:
    """What the file says of itself that is there. Raises DataError where it holds anything else than is planned."""
    try:
        about = read_about(out)
    except SslkitError as error:
        raise DataError(f"{out}: is there already and stays as it is ({error}). Give another name") from None
    there, here = about.model_dump(mode="json"), json.loads(json.dumps(plan))
    differing = [name for name in here if here[name] != there.get(name) and name != "sslkit"]
    if differing:
        raise DataError(
            f"{out}: is there already, with other embeddings ({in_words(differing, there, here)}). Remove it, or give "
            "another name"
        )
    return about
