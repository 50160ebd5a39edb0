"""Files of folders that are not read: other endings, and whole classes of them. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from sslkit_sources.kept_walk import ImageFiles

_OTHER_PICTURES = (
    ".heic .heif .hif .jxl .jp2 .avif .dcm .nii .gz .npy .npz .h5 .hdf5 .svs .ndpi .czi .nd2 .raw .dng .cr2 .nef .arw "
    ".exr .hdr .psd .fits .mha .nrrd .mat .mp4 .avi .mov .svg .zip .tar .parquet .tfrecord .webm .img"
)
PICTURES = frozenset(_OTHER_PICTURES.split())
"""Endings of images, volumes and archives that cannot be read, or only with a package that is missing."""
_ADVICE = {
    (".heic", ".heif", ".hif"): "pip install pillow-heif",
    (".jxl",): "pip install pillow-jxl-plugin",
}


def left_out(root: Path, below: ImageFiles, classes: set[str], test: Sequence[Path]) -> Iterator[str]:
    """What of `root` is not read: other endings, and folders that would be classes beside `classes`, but for `test`."""
    if text := left_out_text(below.others):
        yield f"{root}: {text}"
    tests = [folder.resolve() for folder in test]
    empty = [
        name
        for name in sorted(below.tops - classes)
        if not any((root / name).resolve().is_relative_to(folder) for folder in tests)
    ]
    if empty and classes:
        listed = ", ".join(map(repr, empty[:6])) + (" .." if len(empty) > 6 else "")
        yield f"{root}: holds no image that can be read in {listed}, so that is no class"


def left_out_text(counts: Counter[str]) -> str:
    """`50 files of other kinds: .jp2 (50)`, with what would read them; empty where there is no image among them."""
    images = {ending for ending in counts if ending in PICTURES or ending in Image.registered_extensions()}
    if not images:
        return ""
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:6]
    listed = ", ".join(f"{ending} ({count:,})" for ending, count in most)
    more = f" and {len(counts) - 6} more" if len(counts) > 6 else ""
    advice = "".join(f"; {text}" for endings, text in _ADVICE.items() if images & set(endings))
    total = counts.total()
    return f"{total:,} file{'s' * (total > 1)} of other kinds: {listed}{more}{advice}"
