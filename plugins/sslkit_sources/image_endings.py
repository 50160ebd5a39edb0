"""Endings of image files that can be read here, and files beside them that are left out. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from PIL import Image

OTHERS = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "PSD", "WMF", "ICNS", "PALM"})
"""Formats of PIL that are not pictures of one raster each, or that it writes only."""
ALIASES = {"MPO": "JPEG"}
ALWAYS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
"""What every PIL reads."""
TIFF = (".ome.tif", ".btf", ".tf8")
KNOWN = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".jp2", ".avif", ".dcm", ".nii", ".gz", ".npy", ".npz", ".h5", ".hdf5", ".svs"}
    | {".ndpi", ".czi", ".nd2", ".raw", ".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr", ".psd", ".fits", ".mha", ".nrrd"}
    | {".mat", ".zarr", ".mp4", ".avi", ".mov", ".svg", ".zip", ".tar", ".parquet", ".tfrecord", ".webm", ".img"}
)
"""Endings of images, volumes and archives that cannot be read, or only with a package that is missing."""
_ADVICE = {
    (".heic", ".heif", ".hif"): "pip install pillow-heif",
    (".jxl",): "pip install pillow-jxl-plugin",
}


@cache
def readable_endings() -> tuple[str, ...]:
    """Every ending of a raster image that PIL and its installed plugins can decode, in lower case."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401 -- registers itself
    formats = Image.registered_extensions()
    readable = {
        ending
        for ending, name in formats.items()
        if ALIASES.get(name, name) not in OTHERS and (name in Image.OPEN or ALIASES.get(name) in Image.OPEN)
    }
    return (*ALWAYS, *sorted(readable - set(ALWAYS) | set(TIFF)))


def left_out(names: Iterable[str], extensions: tuple[str, ...]) -> Counter[str]:
    """How many of the files `names` have other endings than `extensions`, by their ending."""
    others = (name for name in names if not name.lower().endswith(extensions))
    return Counter(Path(name).suffix.lower() or "no ending" for name in others)


def left_out_text(counts: Counter[str]) -> str:
    """`50 files of other kinds: .jp2 (50)`, with what would read them; empty where nothing is worth telling."""
    images = {ending for ending in counts if ending in KNOWN or ending in Image.registered_extensions()}
    if not images:
        return ""
    listed = ", ".join(f"{ending} ({count:,})" for ending, count in counts.most_common(6))
    more = f" and {len(counts) - 6} more" if len(counts) > 6 else ""
    advice = "".join(f"; {text}" for endings, text in _ADVICE.items() if images & set(endings))
    total = counts.total()
    return f"{total:,} file{'s' * (total > 1)} of other kinds left out: {listed}{more}{advice}"


def empty_classes(folders: Iterable[str], files: Iterable[str]) -> Iterator[str]:
    """Those of the class `folders` that none of `files`, paths below the same root, lies in."""
    filled = {Path(path).parts[0] for path in files}
    return (name for name in folders if name not in filled)
