"""Feature maps in two dimensions: PCA, t-SNE and UMAP, colored by class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from sslkit.report.page.charts import COLORS, figure, names, svg
from sslkit.report.page.html import Html, grid, note, tag
from sslkit.report.sections.features_shown import Looked, Sample

SIDE, MARGIN = 340, 12
AXES = 50
"""Principal axes that t-SNE reads (van der Maaten and Hinton 2008: 30)."""
FEWEST = 5
"""Images of a map."""
SHAPES = ("round", "square")
"""Marks of the first ten classes, and of the next ten."""

Floats = NDArray[np.float32]


def maps(looked: Looked, seed: int = 0) -> Html | None:
    """A map for each method that is here; None for a handful of images, or where all features are one."""
    sample = looked.queries
    if len(sample.values) < FEWEST:
        return None
    axes, shares = _principal(sample)
    if not axes.any():
        return None
    title = f"PCA: {shares[:2].sum():.0%} of the variance"
    shown = [(title, axes[:, :2]), ("t-SNE", tsne(axes, seed))]
    if find_spec("umap") is not None:
        shown.append(("UMAP", umap(axes, seed)))
    drawn = grid(_map(title, places, sample) for title, places in shown)
    return Html(_legend(sample) + drawn + note(_caption(looked)))


def _caption(looked: Looked) -> str:
    sample, which = looked.queries, "test" if looked.held_out else "training"
    more = "" if find_spec("umap") is not None else " For UMAP, install umap-learn."
    return (
        f"{len(sample.values):,} {which} images at step {looked.step:,}. PCA keeps distances as far as two axes can; "
        f"t-SNE and UMAP keep neighborhoods, so sizes of clusters and distances between them mean nothing.{more}"
    )


def _principal(sample: Sample) -> tuple[Floats, Floats]:
    """Places on the first principal axes, and each axis's share of the variance."""
    values = sample.values.double()
    centered = values - values.mean(0)
    u, s, _ = torch.linalg.svd(centered, full_matrices=False)
    places = (u * s)[:, :AXES]
    flipped = (
        places * places.gather(0, places.abs().argmax(0, keepdim=True)).sign()
    )  # signs of axes are chance
    share = s.square() / s.square().sum().clamp(min=1e-30)
    padded = torch.nn.functional.pad(flipped, (0, max(0, 2 - flipped.shape[1])))
    return padded.float().numpy(), share.float().numpy()


def tsne(axes: Floats, seed: int) -> Floats:
    """t-SNE by scikit-learn from the first two axes, one thread so that two runs are equal."""
    perplexity = min(30.0, (len(axes) - 1) / 3)
    engine = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        places: Floats = engine.fit_transform(axes)
    return places


def umap(axes: Floats, seed: int) -> Floats:
    """UMAP by umap-learn, with its defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        engine = UMAP(n_neighbors=min(15, len(axes) - 1), random_state=seed, n_jobs=1, init="pca")
        places: Floats = engine.fit_transform(axes)
    return places


def _map(title: str, places: Floats, sample: Sample) -> Html:
    """One path for each class."""
    low, high = places.min(0), places.max(0)
    scale = float((high - low).max()) or 1.0
    at = (places - (low + high) / 2) / scale * (SIDE - 2 * MARGIN) + SIDE / 2
    at[:, 1] = SIDE - at[:, 1]
    marks = [
        tag("path", d="".join(f"M{x:.1f} {y:.1f}h0" for x, y in at[rows]), class_=_class(place))
        for place, rows in _classes(sample)
    ]
    frame = tag("rect", x=0.5, y=0.5, width=SIDE - 1, height=SIDE - 1, rx=6, class_="rule hollow")
    description = f"{title} of {len(places)} images" + (
        ", colored by class" if sample.labels is not None else ""
    )
    return figure(title, svg(description, [frame, *marks], SIDE, SIDE))


def _class(place: int) -> str:
    return f"point {SHAPES[place // COLORS % 2]} c{place % COLORS}"


def _classes(sample: Sample) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    labels = torch.zeros(len(sample.values)) if sample.labels is None else sample.labels
    for place in labels.unique().tolist():
        yield int(place), (labels == place).numpy()


def _legend(sample: Sample) -> Html:
    """Names of up to twenty classes; more cannot be told apart."""
    if sample.labels is None:
        return Html("")
    if len(sample.classes) > COLORS * len(SHAPES):
        return note(f"{len(sample.classes)} classes share {COLORS * len(SHAPES)} marks.")
    return names((name, place, "") for place, name in enumerate(sample.classes))
