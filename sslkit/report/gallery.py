"""Test images and their nearest training images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sslkit.functional.neighbours import Neighbours, nearest
from sslkit.report.html import Html, note, tag
from sslkit.report.images import thumbnail
from sslkit.report.network import Looked, Sample

CHANCE, HARD, NEIGHBOURS = 8, 4, 8
"""Images at random, those whose neighbours are of their class least often, and training images beside each."""


def gallery(looked: Looked, seed: int = 0) -> Html:
    """Rows of pictures; a neighbour of another class is marked, in words too."""
    found = _nearest(looked)
    queries = looked.queries
    count = len(queries.values)
    generator = torch.Generator().manual_seed(seed)
    chance = torch.randperm(count, generator=generator)[:CHANCE].sort().values.tolist()
    blocks = [tag("h3", "At random"), _rows(looked, found, chance)]
    hard = _hardest(looked, found, chance)
    if hard:
        blocks += [tag("h3", "Fewest neighbours of their own class"), _rows(looked, found, hard)]
    return Html("".join(blocks) + note(_said(looked)))


def _said(looked: Looked) -> str:
    bank = looked.bank
    of = f"a random {len(bank.values):,} of " if len(bank.values) < len(bank.source) else ""
    own = (
        "" if looked.held_out else " There is no test split: queries are training images, without themselves."
    )
    return (
        f"Neighbours by cosine among {of}{len(bank.source):,} training images, nearest first, through the readout at "
        f"step {looked.step:,}.{own}"
    )


def _nearest(looked: Looked) -> Neighbours:
    """Of every query, without itself."""
    bank, queries = looked.bank, looked.queries
    spare = 0 if looked.held_out else 1
    found = nearest(queries.values, bank.values, min(NEIGHBOURS + spare, len(bank.values)))
    if looked.held_out:
        return found
    own = found.rows == torch.arange(len(queries.values))[:, None]
    order = own.int().argsort(dim=1, stable=True)[:, :-1]
    return Neighbours(found.similarity.gather(1, order), found.rows.gather(1, order))


def _hardest(looked: Looked, found: Neighbours, shown: list[int]) -> list[int]:
    """Queries with a neighbour of another class, the worst first."""
    if looked.queries.labels is None or looked.bank.labels is None:
        return []
    right = (looked.bank.labels[found.rows] == looked.queries.labels[:, None]).sum(1)
    worst = [row for row in right.argsort(stable=True).tolist() if row not in shown]
    return [row for row in worst if right[row] < found.rows.shape[1]][:HARD]


def _rows(looked: Looked, found: Neighbours, chosen: list[int]) -> Html:
    return tag(
        "div", (_row(looked, row, found.rows[row], found.similarity[row]) for row in chosen), class_="gallery"
    )


def _row(looked: Looked, row: int, rows: Tensor, similarity: Tensor) -> Html:
    own = looked.queries.label(row)
    query = _picture(looked, looked.queries, row, f"Query{f', {own}' if own else ''}", own, "query")
    others = zip(rows.tolist(), similarity.tolist(), strict=True)
    return tag("div", query, tag("div", _neighbours(looked, own, others), class_="near"), class_="row")


def _neighbours(looked: Looked, own: str | None, others: Iterator[tuple[int, float]]) -> Iterator[Html]:
    for place, (row, near) in enumerate(others, start=1):
        label = looked.bank.label(row)
        wrong = own is not None and label is not None and label != own
        alt = f"Neighbour {place}{f', {label}' if label else ''}{', another class' if wrong else ''}"
        yield _picture(
            looked, looked.bank, row, f"{alt}, cosine {near:.3f}", label, "wrong" if wrong else None
        )


def _picture(looked: Looked, sample: Sample, row: int, alt: str, label: str | None, kind: str | None) -> Html:
    image = thumbnail(sample.source, int(sample.indices[row]), looked.crop, looked.size, alt)
    said = f"✗ {label}" if kind == "wrong" else label
    return tag("figure", image, tag("figcaption", said) if said else None, class_=kind, title=alt)
