"""What `sslkit data pack` prints. Torch-free."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sslkit.analysis.image_data.data_fields import DataFields
    from sslkit.analysis.packing.pack_images import Packed

CHANNELS = 3
"""Of images where a spec says nothing else."""
NAMED = 3
"""Images left out that are printed; the file about the pack has all."""


def pack_lines(packed: Packed, folder: Path, fields: DataFields) -> Iterator[str]:
    """How many shards of which split there are, what was left out, and the `data` that reads them."""
    for split, count in Counter(shard.split for shard in packed.shards).items():
        shards = [shard for shard in packed.shards if shard.split == split]
        images, size = sum(one.images for one in shards), sum(one.bytes for one in shards)
        yield f"{split + ':':<7} {images:,} images in {count:,} shards, {size / 2**20:,.1f} MiB"
    if packed.resumed:
        yield f"# {packed.resumed:,} of the shards were there already"
    for lost in packed.left_out[:NAMED]:
        yield f"# left out: {lost.reason}"
    if len(packed.left_out) > NAMED:
        yield f"# and {len(packed.left_out) - NAMED:,} more; shards.json names all"
    yield f"data: {_data(packed, folder, fields)}"


def _data(packed: Packed, folder: Path, fields: DataFields) -> str:
    """As YAML on one line, with what the source says of its images."""
    splits = dict.fromkeys(shard.split for shard in packed.shards)
    names = {"train": "shards", "test": "test"}
    data: dict[str, object] = {"kind": "webdataset"}
    data |= {names[split]: str(folder / f"{split}-*.tar") for split in splits}
    if not packed.classes:
        data["label"] = None
    if packed.channels != CHANNELS:
        data["channels"] = packed.channels
    stated = fields.data.model_dump(mode="json", exclude_defaults=True)
    data |= {name: stated[name] for name in ("bands", "alpha", "range", "shrink") if name in stated}
    return json.dumps(data)


def as_json(packed: Packed) -> dict[str, object]:
    """For `--json`."""
    return {
        "images": packed.images,
        "shards": [one._asdict() for one in packed.shards],
        "left_out": [lost._asdict() for lost in packed.left_out],
        "classes": list(packed.classes),
    }
