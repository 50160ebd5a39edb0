"""Computes the tokens that a run caches, before its first step: each rank its share, and what a kill left goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from sslkit.core.pass_plan import read_patches
from sslkit.core.passes import Encode, Request
from sslkit.data.content_hash import VARIABLE, cache_folder
from sslkit.data.loaders import Batch
from sslkit.data.resident import resident_streams
from sslkit.data.sampler import InOrder
from sslkit.data.unreadable import Unreadable
from sslkit.errors import CheckpointError, DataError, StorageError
from sslkit.evaluate.embeddings.partial_rows import ABSENT, VALUES, PartialRows, Rows
from sslkit.runs.owner import owned
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.atomic_files import storing, sync_folder, write_json
from sslkit.runtime.mps import exact_device
from sslkit.runtime.parallel import Parallel
from sslkit.runtime.rank_agreement import on_first_rank
from sslkit.specs.byte_sizes import byte_count
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed
from sslkit.train.step.cached_tokens import CachedTokens, packing_of, tensors_of
from sslkit.train.supply import feed_of
from sslkit.train.watch.progress import Progress, duration

FOLDER = "tokens"
"""Folder inside that of caches."""
WAIT = 24 * 3600.0
"""Seconds to wait for another process that computes the same tokens."""
TELL_EVERY = 10.0
"""Seconds between lines on what is done."""
CLOSE = {torch.float16: 1e-2, torch.float32: 1e-3, torch.float64: 1e-3}
"""How far tokens may lie from those computed again, relative to the largest; arithmetic makes far less."""


def token_caches(
    spec: RunSpec, composed: Composed, parallel: Parallel, unreadable: Unreadable, progress: Progress
) -> dict[int, CachedTokens]:
    """The caches of the passes of nets with `cache`, by their place in `system.early.runs`; all ranks must ask.

    What is not there is computed. `unreadable` is told of images that another stands for, as in training.

    Raises:
        CheckpointError: a file holds other tokens than the net computes now.
        DataError: tokens are not finite, or no image can be read.
        StorageError: they could not be written, or the disk has too little space.
        InUseError: another process has been writing them for a day.
    """
    runs = enumerate(composed.system.early.runs)
    passes = {i: run for i, run in runs if run.net in spec.nets and spec.nets[run.net].cache}
    if not passes:
        return {}
    with composed.step.full_weights(), torch.no_grad():
        return {
            i: _Job(spec, composed, run, parallel, unreadable, progress).done() for i, run in passes.items()
        }


@final
class _Job:
    """One pass over one source."""

    def __init__(
        self,
        spec: RunSpec,
        composed: Composed,
        run: Encode,
        parallel: Parallel,
        unreadable: Unreadable,
        progress: Progress,
    ) -> None:
        self.spec, self.composed, self.run, self.parallel = spec, composed, run, parallel
        self.unreadable, self.progress = unreadable, progress
        self.net = composed.step.reading.nets[run.net]
        self.source, self.images = composed.source, len(composed.source)
        self.batch = spec.images_per_forward(parallel.world)
        self.view = {run.view: composed.env.views[run.view]}
        cache = spec.nets[run.net].cache
        assert cache is not None, "asked only of nets that have it"
        first = next(self._batches([0], workers=0))
        tensors = self._encode(first)
        self.packing = packing_of(tensors, cache)
        assert first.indices is not None, "feeds give it"
        self.first, self.first_rows = first.indices, self.packing.packed(tensors).cpu()

    def done(self) -> CachedTokens:
        """Open the file, once it is there."""
        path = cache_folder() / FOLDER / f"{self._key()}.npy"
        try:
            self._ensure(path)
        except StorageError as error:
            text = f"{str(error).rstrip('.')}. `{VARIABLE}` names another folder; without `nets.{self.run.net}.cache` "
            raise StorageError(f"{text}nothing is kept") from None
        try:
            cached = CachedTokens(path, self.packing, self.images)
        except OSError as error:
            text = f"{path}: cannot be read by rank {self.parallel.rank} ({error}); all ranks need one {VARIABLE}"
            raise CheckpointError(text) from None
        except ValueError as error:
            raise CheckpointError(f"{path}: is damaged ({error}); remove it, and start again") from None
        self._require_same(cached)
        return cached

    def _ensure(self, path: Path) -> None:
        """Compute what is not there."""
        partial = PartialRows(path, Rows(self.images, (self.packing.width,), self.packing.numpy_type))
        with contextlib.ExitStack() as held:
            ready: list[CachedTokens] = []
            on_first_rank(self.parallel, lambda: ready.extend(self._begin(path, partial, held)))
            if not self.parallel.any(bool(ready)):
                self._compute(partial)
                self.parallel.wait()
                on_first_rank(self.parallel, lambda: _finish(path, partial, self._about()))
            self.parallel.wait()
        if self.parallel.first:
            partial.remove()

    def _begin(self, path: Path, partial: PartialRows, held: contextlib.ExitStack) -> list[CachedTokens]:
        """Keep other processes out. One item: all is there."""
        held.enter_context(owned(partial.folder, self.progress.warn, wait=WAIT))
        size = f"{partial.rows.all_bytes / 2**20:,.1f} MiB in {path}"
        name = f"nets.{self.run.net}: tokens of {self.images:,} images of view {self.run.view!r}"
        with contextlib.suppress(OSError, ValueError):
            ready = [CachedTokens(path, self.packing, self.images)]
            self.progress.note(f"{name} are there: {size}")
            return ready
        partial.begin(self._about(), copies=1)
        self.progress.note(f"{name} are computed once, {size}")
        return []

    def _about(self) -> dict[str, object]:
        """What decides every number of the file."""
        spec, run, backbone = self.spec, self.run, self.spec.backbone_of(self.run.net)
        return {
            "sslkit": metadata.version("sslkit"),
            "torch": torch.__version__,
            "weights_sha256": weights_sha256(self.net),
            "backbone": backbone.model_dump(mode="json", exclude=set(backbone.first_weights)),
            "view": spec.views[run.view].model_dump(mode="json", exclude={"show", "crops_like"}),
            "fingerprint": self.source.fingerprint,
            "images": self.images,
            "layers": run.layers,
            "attention": run.attention,
            "patches": run.patches,
            "shapes": self.packing.shapes,
            "types": [str(kind) for kind in self.packing.types],
            "stored": self.packing.numpy_type,
            "precision": self.composed.step.precision,
            "device": self.parallel.device.type,
            "batch_size": self.batch,
        }

    def _key(self) -> str:
        """A name for all of that; the first rank's, as the fingerprint is known there."""
        digest = torch.zeros(16, device=self.parallel.device)
        if self.parallel.first:
            identity = json.dumps(self._about(), sort_keys=True).encode()
            digest += torch.tensor(list(hashlib.sha256(identity).digest()[:16]), device=digest.device)
        return bytes(map(int, self.parallel.total(digest).tolist())).hex()

    def _batches(self, starts: Sequence[int], workers: int | None = None) -> Iterator[Batch]:
        """The images that begin at `starts`, as the view shows them."""
        spec = self.spec if workers is None else self.spec.model_copy(update={"workers": workers})
        device = self.parallel.device
        held = None
        if self.source.resident() is not None:
            budget, exact = byte_count(spec.resident), exact_device(device)
            held = resident_streams(self.source, self.view, budget, exact, 0, self.unreadable)
        order, steps = InOrder(self.images, starts, self.batch), range(len(starts))
        feed = feed_of(
            spec, self.source, held, self.view, order, steps, device, self.unreadable, self.progress.warn
        )
        with contextlib.closing(feed):
            for step in steps:
                yield from feed.step(step)

    def _encode(self, batch: Batch) -> list[Tensor]:
        run, dtype = self.run, next(self.composed.system.parameters()).dtype
        images = batch.images[run.view].to(dtype)
        with self.composed.step.autocast():
            tokens = self.net([Request(images, None, "drop", run.layers, run.attention)])[0]
            return tensors_of(tokens._replace(patch=read_patches(tokens.patch, run.patches)))

    def _compute(self, partial: PartialRows) -> None:
        """The batches that are not there yet, of which each rank has its share."""
        states, began = partial.states(), time.monotonic()
        left = [s for s in range(0, self.images, self.batch) if (states[s : s + self.batch] == ABSENT).any()]
        self.parallel.wait()  # nobody writes before all have looked
        starts = left[self.parallel.rank :: self.parallel.world]
        shown = began
        with partial.writer(self.parallel.rank) as writer:
            for number, (start, batch) in enumerate(zip(starts, self._batches(starts), strict=True), start=1):
                count = min(self.batch, self.images - start)
                rows = self.packing.packed(self._encode(batch))[:count].cpu().contiguous()
                self._require_finite(rows, start)
                writer.add(start, count, torch.arange(start, start + count).numpy(), rows.numpy())
                if time.monotonic() - shown >= TELL_EVERY:
                    shown = time.monotonic()
                    rest = duration((shown - began) / number * (len(starts) - number))
                    self.progress.note(f"  {number / len(starts):.0%} of them, {rest} left")

    def _require_finite(self, rows: Tensor, start: int) -> None:
        finite = rows.isfinite().all(1)
        if not finite.all():
            name = self.source.name(start + int(finite.logical_not().int().argmax()))
            small = rows.dtype == torch.float16
            advice = "too large for float16; use `cache: exact`" if small else "its weights are damaged"
            raise DataError(f"nets.{self.run.net}: the tokens of {name} are not finite: {advice}")

    def _require_same(self, cached: CachedTokens) -> None:
        """Weights do not tell the code that uses them: the first tokens are computed again, and compared."""
        before = cached.rows(self.first).double()
        now = self.first_rows.double()
        if (before - now).abs().max() > CLOSE[self.packing.stored] * now.abs().max():
            raise CheckpointError(
                f"{cached.path}: holds other tokens than nets.{self.run.net} computes now, of the same weights: its "
                "code or a library has changed. Remove the file, or leave `cache` out"
            )


def _finish(path: Path, partial: PartialRows, about: dict[str, object]) -> None:
    """Move the rows to their place. Beside them stands what they are, for people."""
    write_json(path.with_suffix(".json"), about)
    with storing(path):
        (partial.folder / VALUES).replace(path)
        sync_folder(path.parent)
