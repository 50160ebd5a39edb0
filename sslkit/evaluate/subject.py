"""The network as evaluators see it, and the loop over evaluators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.evaluator import Features, Make, Rows, Scores, Split, Subject
from sslkit.core.passes import Request, Tokens
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.data.fixed_crops import as_input, fixed_crops
from sslkit.errors import DataError, SslkitError
from sslkit.evaluate.encoders import Encoder, net_encoder, pixel_encoder, pooled
from sslkit.evaluate.evaluation_sources import Sources, source_of
from sslkit.evaluate.feature_cache import FeatureStore
from sslkit.evaluate.features import require_labels, rows
from sslkit.evaluate.readout import Reading
from sslkit.nn.modes import evaluating
from sslkit.runtime import seeds
from sslkit.runtime.optional_work import component
from sslkit.specs.families import EvaluatorSpec, SourceSpec

FeatureCache = dict[tuple[int, int], Features]
"""Features by (source, layer), shared by the evaluators of one round."""


@final
class NetSubject(Subject):
    """A backbone, or with `None` the pixels themselves."""

    def __init__(
        self, net: Backbone | None, reading: Reading, data: SourceSpec, evaluator: EvaluatorSpec,
        sources: Sources, cache: FeatureCache, store: FeatureStore | None = None,
    ) -> None:  # fmt: skip
        self._net, self._reading, self._sources, self._cache = net, reading, sources, cache
        self._evaluator, self._data, self._store = evaluator, data, store
        self.seed = seeds.key(reading.seed, "evaluate", evaluator.label)
        self.view = reading.loading.view
        self.pool, self.workers = reading.readout.pool, reading.loading.workers
        self.crop = reading.loading.crop

    def features(self, split: Split, layer: int | None = None) -> Features:
        """Extracted at first use and kept for the round."""
        source, block = self.source(split), self._reading.readout.layer if layer is None else layer
        require_labels(source)
        key = (id(source), block)
        if key not in self._cache:
            extracted = self._stored(source, block)
            assert extracted.labels is not None, "checked above"
            self._cache[key] = Features(extracted.values, extracted.labels, extracted.classes)
        return self._cache[key]

    def _stored(self, source: Source, layer: int) -> Rows:
        """From the store where there is one; raw pixels are as quick to make."""

        def make() -> Rows:
            encode = self._encoder(layer)
            return rows(source, lambda images, _: encode(images), self._reading.loading)

        if self._store is None or self._net is None:
            return make()
        cached = self._store.get(source, layer, make)
        device = self._reading.loading.parallel.device
        labels = None if cached.labels is None else cached.labels.to(device)
        return Rows(cached.values.to(device), cached.indices.to(device), labels, cached.classes)

    def rows(self, split: Split, make: Make, only: Tensor | None = None, view: str | None = None) -> Rows:
        """Made anew at every call."""
        loading = self._reading.loading
        if view is not None:
            loading = loading._replace(view=self.system()[1].view(view))
        return rows(self.source(split), make, loading, only)

    def values(self, view: str, samples: Sequence[Tensor]) -> Tensor:
        shown, loading = self.system()[1].view(view), self._reading.loading
        return as_input(fixed_crops(samples, shown, loading.crop).to(loading.parallel.device), shown)

    def encode(self, images: Tensor) -> Tensor:
        return self._encoder(self._reading.readout.layer)(images).float()

    def tokens(self, images: Tensor, layers: tuple[int, ...] = (), attention: bool = False) -> Tokens:
        """One pass without a mask."""
        with self._reading.autocast():
            answer: Tokens = self.backbone()([Request(images[None], None, "drop", layers, attention)])[0]
        return answer

    def pooled(self, cls: Tensor, patch: Tensor) -> Tensor:
        readout = self._reading.readout
        extent = self.backbone().grid(self.view.extent).shape[0] if readout.pyramid else 1
        return pooled(cls, patch, readout, extent)

    def source(self, split: Split) -> Source:
        return self._sources.get(source_of(self._evaluator, self._data, split), split)

    def backbone(self) -> Backbone:
        if self._net is None:
            raise DataError("raw pixels have no network; this evaluator cannot be used with `baselines`")
        return self._net

    def system(self) -> tuple[System, Env]:
        run, open_run = self._reading.run, self._reading.open_run
        if self._net is not None and run is not None:
            return run
        if self._net is not None and open_run is not None:
            return open_run()
        raise DataError("this evaluator needs the objectives of the run that trained the network")

    def _encoder(self, layer: int) -> Encoder:
        if self._net is None:
            return pixel_encoder
        reading = self._reading
        readout = reading.readout.model_copy(update={"layer": layer})
        return net_encoder(self._net, readout, reading.autocast, reading.head)


def evaluate(
    net: Backbone | None,
    evaluators: Mapping[int, EvaluatorSpec],
    data: SourceSpec,
    reading: Reading,
    sources: Sources,
    store: FeatureStore | None = None,
) -> dict[str, Scores]:
    """Label -> the scores of each of the evaluators, which are keyed by place in the spec. `net` None: raw pixels.

    Features come from `store` where it has them.

    Every rank extracts features; scores are computed by all of them alike.
    """
    cache: FeatureCache = {}
    with evaluating(net, reading.head, reading.run[0] if reading.run else None):
        return score(evaluators, lambda spec: NetSubject(net, reading, data, spec, sources, cache, store))


def score(
    evaluators: Mapping[int, EvaluatorSpec], subject_of: Callable[[EvaluatorSpec], Subject]
) -> dict[str, Scores]:
    """Label -> the scores of each of the evaluators, of the subject that is made for it; errors name the evaluator."""
    results: dict[str, Scores] = {}
    for place, spec in evaluators.items():
        try:
            results[spec.label] = spec.build()(subject_of(spec))
        except SslkitError as error:
            raise type(error)(f"evaluate.{place}: {error}") from None
        except Exception as error:
            error.add_note(f"It came from evaluate.{place}: {component(spec)}.")
            raise
    return results
