"""Hints for options that a command does not know. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence


def as_override(words: Sequence[str]) -> str | None:
    """How `--epochs 3` or `--lr=1e-3` is written; None where none of `words` looks like a field of a run."""
    for place, word in enumerate(words):
        key, equals, value = word.removeprefix("--").partition("=")
        path = _field(key.replace("-", "_")) if word.startswith("--") else None
        if path is not None:
            following = words[place + 1] if place + 1 < len(words) else ""
            value = value if equals or following.startswith("-") else following
            return f"{path}={value or 'VALUE'}"
    return None


def _field(key: str) -> str | None:
    """The dotted path of a field of a run, or of one of its parts, that is called `key`."""
    from sslkit.specs.error_location import annotation_of, spec_class
    from sslkit.specs.run import RunSpec

    head = key.partition(".")[0]
    if head in RunSpec.model_fields:
        return key
    for name, info in RunSpec.model_fields.items():
        cls = spec_class(annotation_of(info))
        if cls is not None and key in cls.model_fields:
            return f"{name}.{key}"
    return None
