"""The images of an index that are most like others, by the network that the index is of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sslkit.core.augment import to_float
from sslkit.core.source import Source
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.evaluate.embeddings.embedding_file import About
from sslkit.evaluate.embeddings.embedding_index import OpenIndex, unit
from sslkit.evaluate.embeddings.embedding_network import encoder_of, network_of
from sslkit.evaluate.evaluate_network import reading_for
from sslkit.evaluate.features import rows
from sslkit.functional.pixel_normalization import as_rgb
from sslkit.nn.modes import evaluating
from sslkit.registry.manager import registry
from sslkit.runs.figures import DPI, save_figure
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.parallel import Single, choose_device
from sslkit.specs.embedding import EmbeddingSpec, source_of_fields
from sslkit.specs.families import SourceSpec

DECODING = ("convert", "bands", "alpha", "range", "channels")
"""Fields of a folder that say how its images are read."""
CELL = 1.1
"""Inches of a picture of the sheet."""
LETTERS = 22
"""Of a name below a picture."""


class Neighbor(NamedTuple):
    """An image of the index."""

    place: int
    """In its source."""
    name: str
    similarity: float
    """Cosine."""


class Match(NamedTuple):
    """What is nearest to one image."""

    name: str
    image: Tensor
    """`[C, H, W]`."""
    neighbors: Sequence[Neighbor]
    """Nearest first."""


def search(
    opened: OpenIndex, images: Sequence[Path], k: int = 8, what: str | None = None, checkpoint: str | None = None,
    device: str = "auto",
) -> list[Match]:  # fmt: skip
    """The `k` nearest images of each of `images`, in order of their paths.

    Args:
        opened: the index.
        images: files.
        k: neighbors; all of an index that has fewer.
        what: the network, where it is no longer where the embeddings were taken from.
        checkpoint: of it.
        device: where to compute.

    Raises:
        DataError: an image cannot be read.
        CheckpointError: the network is gone, or is another than that of the embeddings.
    """
    about, names = opened.embeddings.about, opened.embeddings.names
    missing = next((path for path in images if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing}: no such image")
    with TemporaryDirectory() as folder:
        root, data = _files(images, about, Path(folder) / "images.txt")
        source = data.build("train")
        assert source is not None, "of a folder"
        queries = _embedded(source, data, about, what or about.what, checkpoint or about.checkpoint, device)
        similarity, nearest = opened.vectors.search(unit(queries.numpy()), min(k, len(names)))
        places = opened.embeddings.indices[nearest].tolist()
        lists = zip(places, nearest.tolist(), similarity.tolist(), strict=True)

        def neighbors(places: list[int], rows: list[int], scores: list[float]) -> list[Neighbor]:
            return [Neighbor(p, names[row], s) for p, row, s in zip(places, rows, scores, strict=True)]

        written = {os.path.abspath(path): str(path) for path in images}  # noqa: PTH100, which follows no links
        return [
            Match(written[str(root / source.name(i))], source.load(i), neighbors(*one))
            for i, one in enumerate(lists)
        ]


def _files(images: Sequence[Path], about: About, listing: Path) -> tuple[Path, SourceSpec]:
    """The files `images`, read as the images of the index were, and the folder that their names are below."""
    paths = list(dict.fromkeys(os.path.abspath(path) for path in images))  # noqa: PTH100, which follows no links
    root = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    listing.write_text("\n".join(os.path.relpath(path, root) for path in paths), encoding="utf-8")
    decoding: Mapping[str, object] = {"channels": about.view.channels}
    if about.data.get("kind") == "folder":
        decoding = {name: about.data[name] for name in DECODING if name in about.data}
    fields = {"kind": "folder", "root": root, "listing": str(listing), **decoding}
    return Path(root), source_of_fields(fields, registry().failures)


@torch.no_grad()
def _embedded(
    source: Source, data: SourceSpec, about: About, what: str, checkpoint: str, device: str
) -> Tensor:
    """`[N, D]` of the images, as those of the index were taken."""
    spec = EmbeddingSpec(
        what=what, out=Path("none.npy"), tokens=about.tokens, layer=about.layer, checkpoint=checkpoint,
        size=about.view.size, batch_size=about.batch_size, device=device, workers=0,
    )  # fmt: skip
    network = network_of(spec, source, data)
    if weights_sha256(network.net) != about.weights_sha256:
        raise CheckpointError(
            f"{what}: has other weights than the embeddings were taken with; name the network by `--network` and "
            "`--checkpoint`, or take the embeddings again"
        )
    parallel = Single(choose_device(device))
    unread: list[str] = []
    reading = reading_for(network, parallel, unread.append)
    with evaluating(network.net, reading.head):
        encode = encoder_of(about.tokens, network, reading)
        queries = rows(source, lambda images, _: encode(images), reading.loading)
    if unread:
        raise DataError(unread[0])
    return queries.values.cpu()


def draw_matches(path: Path, matches: Sequence[Match], about: About, data: SourceSpec | None = None) -> None:
    """A contact sheet: each image, and the images of the index that are nearest to it.

    Args:
        path: a PNG.
        matches: what `search` gave.
        about: of the embeddings.
        data: where the images of the index are, if not where they were.

    Raises:
        SpecError: `path` does not end in `.png`.
        DataError: the images of the index are no longer there.
    """
    if path.suffix.lower() != ".png":
        raise SpecError(f"{path}: must end in .png")
    source = (data or source_of_fields(about.data, registry().failures)).build(about.split)
    columns = 1 + max(len(match.neighbors) for match in matches)
    figure = Figure(figsize=(CELL * columns, 1.35 * CELL * len(matches)), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(matches), columns, squeeze=False)
    for one in axes.flat:
        one.set_axis_off()
    for row, match in zip(axes, matches, strict=True):
        _draw(row[0], match.image, _end(match.name))
        for place, neighbor in zip(row[1:], match.neighbors, strict=False):
            _draw(place, _image(source, neighbor), f"{neighbor.similarity:.3f}\n{_end(neighbor.name)}")
    save_figure(figure, path)


def _image(source: Source | None, neighbor: Neighbor) -> Tensor:
    """The image of the index, if the one in its place has its name."""
    place = neighbor.place
    if source is None or place >= len(source) or source.name(place) != neighbor.name:
        raise DataError(
            f"{neighbor.name}: is no longer where the embeddings were taken from, or in another order; `--data` says "
            "where those images are"
        )
    return source.load(place)


def _draw(axes: Axes, image: Tensor, title: str) -> None:
    pixels = as_rgb(to_float(image)).nan_to_num(0).clamp(0, 1)
    axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_title(title, fontsize=5, pad=2, parse_math=False)


def _end(name: str) -> str:
    """The end of a name that is too long."""
    return name if len(name) <= LETTERS else f"...{name[3 - LETTERS :]}"
