"""Record of a run's data (digests, labels, names), and what has changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit.core.fingerprint import SIZE
from sslkit.core.source import Source
from sslkit.errors import CheckpointError
from sslkit.evaluate.evaluation_sources import Sources, source_of
from sslkit.runtime.array_file import read_arrays
from sslkit.runtime.atomic_files import write_whole
from sslkit.specs.run import RunSpec

FOLDER = "data"
"""Folder inside a run's, with a list of images for each source."""
NAMED = 3
"""Images and classes that are named as examples."""

Image = tuple[bytes, str]
"""Digest and class of an image; the class is empty without labels."""


class Listed(NamedTuple):
    """The images of a source."""

    names: Sequence[str]
    images: Sequence[Image]
    classes: Sequence[str]


def sources_read(spec: RunSpec, sources: Sources) -> dict[str, Source]:
    """All that a run reads: `data.train`, `data.test`, and `evaluate.LABEL.SPLIT` of evaluators with their own."""
    by_place = {"data.train": sources.get(spec.data, "train")}
    for evaluator in spec.evaluate:
        for split in evaluator.build().needs:
            data = source_of(evaluator, spec.data, split)
            place = f"data.{split}" if data == spec.data else f"evaluate.{evaluator.label}.{split}"
            by_place[place] = sources.get(data, split)
    return by_place


def recorded(source: Source) -> dict[str, object]:
    """What the lock holds of a source."""
    return {"fingerprint": source.fingerprint, "images": len(source)}


def write_list(run_dir: Path, place: str, source: Source) -> None:
    """Keep the images of `source`, so that a later run can say which of them changed; nothing without digests."""
    digests = source.digests()
    path = _path(run_dir, place)
    if digests is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    labels = np.empty(0, np.int64) if source.labels is None else source.labels.cpu().numpy()
    names = _packed([source.name(i) for i in range(len(source))])
    classes = _packed(source.classes)
    write_whole(
        path,
        lambda file: np.savez(file, digests=digests, labels=labels, names=names, classes=classes),
    )


def differences(run_dir: Path, place: str, source: Source, then: Mapping[str, object]) -> list[str]:
    """What has changed in `source` since `then`, in words; empty where nothing has."""
    if then.get("fingerprint") == source.fingerprint:
        return []
    digests, before = source.digests(), _read_list(_path(run_dir, place))
    changes = [] if digests is None or before is None else list(_between(before, _listed(source, digests)))
    if then.get("images") != len(source):
        changes.append(f"{then.get('images'):,} images then, {len(source):,} now")
    return changes or ["its images, labels or settings are others"]


def _path(run_dir: Path, place: str) -> Path:
    return run_dir / FOLDER / f"{place}.npz"


def _packed(words: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(words).encode(errors="surrogateescape"), dtype=np.uint8)


def _unpacked(packed: NDArray[np.uint8]) -> list[str]:
    text = packed.tobytes().decode(errors="surrogateescape")
    return text.split("\0") if text else []


def _listed(source: Source, digests: NDArray[np.uint8]) -> Listed:
    labels = None if source.labels is None else source.labels.tolist()
    return _of_arrays([source.name(i) for i in range(len(source))], digests, labels, source.classes)


def _of_arrays(
    names: Sequence[str], digests: NDArray[np.uint8], labels: Sequence[int] | None, classes: Sequence[str]
) -> Listed:
    words = [""] * len(names) if not labels else [classes[label] for label in labels]
    return Listed(names, list(zip(map(bytes, digests), words, strict=True)), classes)


def _read_list(path: Path) -> Listed | None:
    """None where it is missing or damaged."""
    kinds = {"digests": "u2", "labels": "i1", "names": "u1", "classes": "u1"}
    try:
        digests, labels, names, classes = read_arrays(path, kinds, "")
        return _of_arrays(_unpacked(names), digests.reshape(-1, SIZE), labels.tolist(), _unpacked(classes))
    except (CheckpointError, ValueError, IndexError):
        return None


def _between(then: Listed, now: Listed) -> Iterator[str]:
    """In words, how two lists of images differ. Images are the same where their digests are, whatever their names."""
    gone = _without_partner(then, now)
    new = _without_partner(now, then)
    edited = [name for name in new if name in gone]
    yield from _phrase(edited, "edited")
    yield from _phrase([name for name in new if name not in gone], "added")
    yield from _phrase([name for name in gone if name not in new], "removed")
    yield from _phrase(_relabeled(then, now), "relabeled")
    if list(then.classes) != list(now.classes):
        yield from _phrase([name for name in now.classes if name not in then.classes], "added", "class")
        yield from _phrase([name for name in then.classes if name not in now.classes], "removed", "class")
        if sorted(then.classes) == sorted(now.classes):
            yield "the classes are in another order"
    if then.images != now.images and Counter(then.images) == Counter(now.images):
        yield "the images are in another order"
    elif then.images == now.images and then.names != now.names:
        yield "the images have other names"


def _without_partner(one: Listed, other: Listed) -> dict[str, None]:
    """Names of the images of `one` that `other` does not have, in order; of equal images as many as are too many."""
    spare = Counter(digest for digest, _ in one.images)
    spare.subtract(Counter(digest for digest, _ in other.images))
    same = set(zip(other.names, (digest for digest, _ in other.images), strict=True)) if +spare else set()
    names: dict[str, None] = {}
    for name, (digest, _) in zip(one.names, one.images, strict=True):
        if spare[digest] > 0 and (name, digest) not in same:
            spare[digest] -= 1
            names[name] = None
    return names


def _relabeled(then: Listed, now: Listed) -> list[str]:
    """Names of images that are in both, with another class."""
    spare = Counter(now.images)
    spare.subtract(Counter(then.images))
    digests, names = {digest for digest, _ in then.images}, []
    for name, image in zip(now.names, now.images, strict=True):
        if spare[image] > 0 and image[0] in digests:
            spare[image] -= 1
            names.append(name)
    return names


def _phrase(names: Sequence[str], what: str, noun: str = "image") -> Iterator[str]:
    if names:
        plural = {"image": "images", "class": "classes"}[noun]
        shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        yield f"{len(names):,} {noun if len(names) == 1 else plural} {what} ({shown})"
