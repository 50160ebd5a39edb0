"""Features for maps and galleries: cached in the run folder, or extracted from a random subset of images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.core.evaluator import Rows, Split
from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.evaluate.encoders import net_encoder
from sslkit.evaluate.evaluate_network import kept_features, reading_for
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.feature_cache import FeatureStore
from sslkit.evaluate.features import rows
from sslkit.evaluate.open_network import Network, of_run
from sslkit.evaluate.readout import Reading
from sslkit.nn.modes import evaluating
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.parallel import start

BANK, POINTS = 5000, 2000
"""Images at most in which neighbors are searched, and that maps show; of more, a random choice."""


class Sample(NamedTuple):
    """Images of one split with their features, on the CPU."""

    source: Source
    values: Tensor
    """`[N, D]` float32."""
    indices: Tensor
    """`[N]` int64, places in the source."""
    labels: Tensor | None
    """`[N]` int64."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.source.classes

    def label(self, row: int) -> str | None:
        """The class of one row; None without labels."""
        if self.labels is None:
            return None
        place = int(self.labels[row])
        return self.classes[place] if place < len(self.classes) else str(place)


class Looked(NamedTuple):
    """Features of training and test images, and how they were read."""

    bank: Sample
    """Training images."""
    queries: Sample
    """Test images; without a test split, the training images."""
    crop: float
    """Share of the shorter side that the readout takes."""
    size: int
    """Pixels of what the network reads."""
    step: int
    """Of the checkpoint."""
    show: tuple[int, int, int] | None = None
    """Channels that pictures have as red, green and blue."""

    @property
    def held_out(self) -> bool:
        """Whether queries are images that the network has not trained on."""
        return self.queries.source is not self.bank.source


def look(run_dir: Path, seed: int = 0) -> Looked:
    """Features of the last checkpoint of the run in `run_dir`.

    Args:
        run_dir: the run folder.
        seed: of the choice of images, where there are many.

    Raises:
        CheckpointError: there is no checkpoint.
        DataError: images are missing, or the features are not finite.
        SpecError: the run needs what is not here.
    """
    network = of_run(run_dir)
    parallel = start(network.spec.device)
    try:
        reading = reading_for(network, parallel, lambda reason: None)
        store = kept_features(network, reading, weights_sha256(network.net))
        sources = Sources()
        train = sources.get(network.spec.data, "train")
        test = _test(sources, network)
        with evaluating(network.net, reading.head):
            bank = _sample(train, network, reading, store, BANK, seed)
            queries = bank if test is None else _sample(test, network, reading, store, POINTS, seed)
        view = reading.loading.view
        return Looked(bank, queries, reading.readout.crop, view.size, network.step, view.show)
    finally:
        parallel.close()


def _test(sources: Sources, network: Network) -> Source | None:
    split: Split = "test"
    try:
        return sources.get(network.spec.data, split)
    except DataError:
        return None


def _sample(
    source: Source, network: Network, reading: Reading, store: FeatureStore, most: int, seed: int
) -> Sample:
    layer = reading.readout.layer
    extracted = store.find(source, layer)
    if extracted is None:
        encode = net_encoder(network.net, reading.readout, reading.autocast, reading.head)
        extracted = rows(
            source, lambda images, _: encode(images), reading.loading, choose(len(source), most, seed)
        )
    else:
        extracted = _select(extracted, choose(len(extracted.indices), most, seed))
    values = extracted.values.float().cpu()
    if not bool(values.isfinite().all()):
        raise DataError("features are not finite: the network has diverged")
    labels = None if extracted.labels is None else extracted.labels.cpu()
    return Sample(source, values, extracted.indices.cpu(), labels)


def choose(count: int, most: int, seed: int) -> Tensor:
    """`[min(count, most)]` int64 places below `count`, in order."""
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def _select(extracted: Rows, selection: Tensor) -> Rows:
    labels = None if extracted.labels is None else extracted.labels[selection]
    return Rows(extracted.values[selection], extracted.indices[selection], labels, extracted.classes)
