"""Files of embeddings as evaluators see them: features with labels, and no images."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal, NoReturn, final

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.evaluator import Features, Make, Rows, Split, Subject
from sslkit.core.passes import Tokens
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.errors import DataError
from sslkit.evaluate.embeddings.embedding_file import Embeddings, load_embeddings
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.features import require_labels
from sslkit.specs.families import SourceSpec


@final
class StoredFeatures(SourceSpec):
    """Two files of embeddings where a source is asked for; no entry point offers it."""

    kind: Literal["features"] = "features"
    train: Path
    test: Path | None = None

    def build(self, split: str) -> StoredSource | None:
        path = self.train if split == "train" else self.test
        return None if path is None else StoredSource(path)


@final
class StoredSource(Source):
    """The images of one file, of which only names, labels and features are there."""

    def __init__(self, path: Path) -> None:
        """Raises DataError where the file holds no embeddings, or more than one for an image."""
        self.path, self.embeddings = path, load_embeddings(path)
        about, labels = self.embeddings.about, self.embeddings.labels
        if len(about.shape) > 1:
            raise DataError(
                f"{path}: has {about.shape[0]} patch tokens an image, and evaluators read one vector; take them with "
                "`--tokens class` or `mean`"
            )
        self.channels, self.classes = about.view.channels, about.classes if about.labeled else ()
        self.labels = None if labels is None else torch.from_numpy(labels.copy())

    @cached_property
    def fingerprint(self) -> str:
        """That of the images."""
        return self.embeddings.about.fingerprint

    def __len__(self) -> int:
        return len(self.embeddings.values)

    def load(self, index: int) -> Tensor:
        raise DataError(f"{self.path}: holds embeddings and no images")

    def name(self, index: int) -> str:
        return self.embeddings.names[index]


@final
class StoredSubject(Subject):
    """Embeddings under evaluation."""

    def __init__(self, data: StoredFeatures, sources: Sources, view: View, seed: int) -> None:
        self._data, self._sources, self.view, self.seed = data, sources, view, seed
        self.pool = "cls"
        self._features: dict[Split, Features] = {}

    def features(self, split: Split, layer: int | None = None) -> Features:
        """As they are in the file, in float32."""
        if layer is not None:
            self._refuse(f"features of block {layer}")
        if split not in self._features:
            source = self.source(split)
            embeddings, labels = _embeddings(source), require_labels(source)
            values = torch.from_numpy(embeddings.values.astype("float32"))
            self._features[split] = Features(values, labels, source.classes)
        return self._features[split]

    def rows(self, split: Split, make: Make, only: Tensor | None = None, view: str | None = None) -> Rows:
        self._refuse("images")

    def encode(self, images: Tensor) -> Tensor:
        self._refuse("the network")

    def tokens(self, images: Tensor, layers: tuple[int, ...] = (), attention: bool = False) -> Tokens:
        self._refuse("the network")

    def source(self, split: Split) -> Source:
        return self._sources.get(self._data, split)

    def backbone(self) -> Backbone:
        self._refuse("the network")

    def system(self) -> tuple[System, Env]:
        self._refuse("the run that trained the network")

    def _refuse(self, what: str) -> NoReturn:
        raise DataError(f"needs {what}, and a file of embeddings has none; evaluate the run instead")


def _embeddings(source: Source) -> Embeddings:
    assert isinstance(source, StoredSource), "`StoredFeatures` builds no other"
    return source.embeddings
