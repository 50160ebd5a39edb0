"""What is known of the shards of a pack: a journal while it is written, `shards.json` when it is done."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from pydantic import TypeAdapter, ValidationError

from sslkit.analysis.packing.pack_plan import Plan
from sslkit.analysis.packing.shard_writer import Written
from sslkit.errors import CheckpointError
from sslkit.files.typed_json import JsonFile
from sslkit.runtime.atomic_files import write_json, write_text
from sslkit.runtime.line_file import LineFile

MANIFEST = "shards.json"
JOURNAL = ".packed.jsonl"
CLASSES = "classes.txt"
AGAIN = "name another folder, or remove it to begin anew"
_WRITTEN = TypeAdapter(Written)
_SHARDS = JsonFile(TypeAdapter(list[Written]), CheckpointError, AGAIN)
_MANIFEST = JsonFile(TypeAdapter(dict[str, object]), CheckpointError, AGAIN)


@final
class PackRecord:
    """The journal and the manifest of a folder."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self._journal = LineFile(folder / JOURNAL, warnings.warn)

    def begin(self) -> dict[str, Written]:
        """The shards that are there already, by name; the journal is begun where there is none.

        Raises:
            CheckpointError: the folder holds another pack, or shards that no pack wrote.
        """
        before = self._before()
        if before is None:
            if stray := next(iter(sorted(self.folder.glob("*.tar"))), None):
                raise CheckpointError(f"{stray}: was written by no pack; name an empty folder")
            self._journal.add([json.dumps(self.plan.as_json())])
            return {}
        plan, written = before
        differing = [name for name, value in self.plan.as_json().items() if plan.get(name) != value]
        if differing:
            raise CheckpointError(f"{self.folder}: holds another pack (by {', '.join(differing)}); {AGAIN}")
        return {one.name: one for one in written if _size(self.folder / one.name) == one.bytes}

    def add(self, written: Written) -> None:
        """A shard is on the disk."""
        self._journal.add([json.dumps(written._asdict())])
        self._journal.sync()

    def finish(self, written: Sequence[Written], classes: Sequence[str]) -> None:
        """All are: the manifest takes the journal's place."""
        if classes:
            write_text(self.folder / CLASSES, "".join(f"{name}\n" for name in classes))
        shards = [{**one._asdict(), "left_out": [lost._asdict() for lost in one.left_out]} for one in written]
        write_json(self.folder / MANIFEST, {**self.plan.as_json(), "shards": shards})
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def _before(self) -> tuple[Mapping[str, object], list[Written]] | None:
        """Plan and shards of what is there; None for nothing."""
        if (self.folder / MANIFEST).exists():
            content = _MANIFEST.read(self.folder / MANIFEST)
            return content, _SHARDS.check(content.get("shards"), str(self.folder / MANIFEST))
        if not (self.folder / JOURNAL).exists():
            return None
        lines = (self.folder / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
        if not lines:
            return None
        entries = [entry for line in lines[1:] for entry in _parsed(line)]
        return _MANIFEST.parse(lines[0], str(self.folder / JOURNAL)), entries


def _parsed(line: str) -> list[Written]:
    """A line of the journal; nothing of one that a kill cut off."""
    try:
        return [_WRITTEN.validate_json(line)]
    except ValidationError:
        return []


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
