"""The model card of an export: `README.md` with the front matter that Hugging Face's hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import yaml

from sslkit.evaluate.exports.card_of_run import RunFacts, facts_of
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.written import Reading, images_read, nearness

LIBRARIES = {"timm": "timm", "hf": "transformers", "onnx": "onnx", "torch-export": "pytorch"}
"""Format -> the hub's name of the library that loads it."""
IDENTIFIER = r"[a-z0-9][a-z0-9.+-]*"
"""What licenses are called on the hub; any other goes by its own name, as `other`."""


class Card(NamedTuple):
    """What a card says beside the run."""

    to: str
    out: Path
    """Where the export goes; the card holds its name alone."""
    license: str | None
    normalize: bool


def card_of(model: OpenedModel, card: Card, reading: Reading) -> str:
    """The card: what the network is, how it is loaded, and what its run knows; what is not known is left out."""
    facts = None if model.run_dir is None else facts_of(model)
    parts = [_front_matter(model, card, facts), *_text(model, card, reading, facts)]
    return "\n\n".join(parts) + "\n"


def _front_matter(model: OpenedModel, card: Card, facts: RunFacts | None) -> str:
    kinds = [] if facts is None else list(facts.objectives)
    fields: dict[str, object] = {
        **_license(card.license),
        "library_name": LIBRARIES[card.to],
        "pipeline_tag": "image-feature-extraction",
        "tags": list(dict.fromkeys(["sslkit", *(["self-supervised-learning"] if facts else []), *kinds])),
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _license(license_name: str | None) -> dict[str, object]:
    if license_name is None:
        return {}
    if re.fullmatch(IDENTIFIER, license_name):
        return {"license": license_name}
    return {"license": "other", "license_name": license_name}


def _text(model: OpenedModel, card: Card, reading: Reading, facts: RunFacts | None) -> Iterator[str]:
    yield f"# {Path(model.what).name if facts is None else facts.name}"
    trained = f", trained by {' and '.join(f'`{kind}`' for kind in facts.objectives)}" if facts else ""
    yield f"Image features of {model.net.dim} numbers{trained}. Written by sslkit {metadata.version('sslkit')}."
    yield "## Use"
    yield f"```python\n{reading.usage.replace(str(card.out), card.out.name)}\n```"
    images = images_read(model, normalize=card.normalize)
    notes = "".join(f"\n- It {note}." for note in reading.notes)
    yield (
        f"- Images: {images}.\n- Read back when it was written: its answers were those of the network, "
        f"{nearness(reading.deviation)}.{notes}"
    )
    if facts is None:
        return
    yield "## Training"
    yield table(("", ""), facts.training.items())
    yield f"```yaml\n{facts.spec.rstrip()}\n```"
    if facts.scores:
        yield "## Scores"
        yield table(facts.score_headings, facts.scores)
        yield "Each of these networks, read alike. Intervals are of 95 %, over the choice of test images."


def table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of cells as a table of Markdown."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """In one line, without what ends a cell."""
    return " ".join(text.split()).replace("|", r"\|")
