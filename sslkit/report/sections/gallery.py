"""Nearest-neighbor gallery: test images and their nearest training images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sslkit.functional.nearest_neighbors import Neighbors, nearest
from sslkit.report.page.embedded_images import thumbnail
from sslkit.report.page.html import Html, note, tag
from sslkit.report.sections.features_shown import Looked, Sample

CHANCE, HARD, NEIGHBORS = 8, 4, 8
"""Images at random, those whose neighbors are of their class least often, and training images beside each."""


def gallery(looked: Looked, seed: int = 0) -> Html:
    """Rows of pictures; a neighbor of another class is marked, in words too."""
    neighbors = _nearest(looked)
    queries = looked.queries
    count = len(queries.values)
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randperm(count, generator=generator)[:CHANCE].sort().values.tolist()
    blocks = [tag("h3", "At random"), _rows(looked, neighbors, chance)]
    hard = _hardest(looked, neighbors, chance)
    if hard:
        blocks += [tag("h3", "Fewest neighbors of their own class"), _rows(looked, neighbors, hard)]
    return Html("".join(blocks) + note(_caption(looked)))


def _caption(looked: Looked) -> str:
    bank = looked.bank
    of = f"a random {len(bank.values):,} of " if len(bank.values) < len(bank.source) else ""
    remark = (
        "" if looked.held_out else " There is no test split: queries are training images, without themselves."
    )
    return (
        f"Neighbors by cosine among {of}{len(bank.source):,} training images, nearest first, through the readout at "
        f"step {looked.step:,}.{remark}"
    )


def _nearest(looked: Looked) -> Neighbors:
    """Of every query, without itself."""
    bank, queries = looked.bank, looked.queries
    spare = 0 if looked.held_out else 1
    neighbors = nearest(queries.values, bank.values, min(NEIGHBORS + spare, len(bank.values)))
    if looked.held_out:
        return neighbors
    itself = neighbors.rows == torch.arange(len(queries.values))[:, None]
    order = itself.int().argsort(dim=1, stable=True)[:, :-1]
    return Neighbors(neighbors.similarity.gather(1, order), neighbors.rows.gather(1, order))


def _hardest(looked: Looked, neighbors: Neighbors, shown: list[int]) -> list[int]:
    """Queries with a neighbor of another class, the worst first."""
    if looked.queries.labels is None or looked.bank.labels is None:
        return []
    right = (looked.bank.labels[neighbors.rows] == looked.queries.labels[:, None]).sum(1)
    worst = [row for row in right.argsort(stable=True).tolist() if row not in shown]
    return [row for row in worst if right[row] < neighbors.rows.shape[1]][:HARD]


def _rows(looked: Looked, neighbors: Neighbors, rows: list[int]) -> Html:
    return tag(
        "div",
        (_row(looked, row, neighbors.rows[row], neighbors.similarity[row]) for row in rows),
        class_="gallery",
    )


def _row(looked: Looked, row: int, rows: Tensor, similarity: Tensor) -> Html:
    label = looked.queries.label(row)
    query = _picture(looked, looked.queries, row, f"Query{f', {label}' if label else ''}", label, "query")
    others = zip(rows.tolist(), similarity.tolist(), strict=True)
    return tag("div", query, tag("div", _neighbors(looked, label, others), class_="near"), class_="row")


def _neighbors(
    looked: Looked, query_label: str | None, others: Iterator[tuple[int, float]]
) -> Iterator[Html]:
    for place, (row, near) in enumerate(others, start=1):
        label = looked.bank.label(row)
        wrong = query_label is not None and label is not None and label != query_label
        alt = f"Neighbor {place}{f', {label}' if label else ''}{', another class' if wrong else ''}"
        yield _picture(
            looked, looked.bank, row, f"{alt}, cosine {near:.3f}", label, "wrong" if wrong else None
        )


def _picture(looked: Looked, sample: Sample, row: int, alt: str, label: str | None, kind: str | None) -> Html:
    image = thumbnail(sample.source, int(sample.indices[row]), looked.crop, looked.size, alt, looked.show)
    caption = f"✗ {label}" if kind == "wrong" else label
    return tag("figure", image, tag("figcaption", caption) if caption else None, class_=kind, title=alt)
