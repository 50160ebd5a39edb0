"""Endings of image files that can be read here, and the formats that installed packages add. Torch-free."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

OTHERS = frozenset(
    {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "PSD", "WMF", "ICNS", "PALM"}
)
"""Formats of PIL that are not pictures of one raster each, or that it writes only."""
ALIASES = {"MPO": "JPEG"}
ALWAYS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
"""What every PIL reads."""
TIFF = (".ome.tif", ".btf", ".tf8")


@cache
def register_plugins() -> None:
    """Have PIL read HEIC and JPEG XL where their packages are installed; a spawned worker does it again."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401 -- registers itself


@cache
def readable_endings() -> tuple[str, ...]:
    """Every ending of a raster image that PIL and its installed plugins can decode, in lower case."""
    from PIL import Image

    register_plugins()
    formats = Image.registered_extensions()
    readable = {
        ending
        for ending, name in formats.items()
        if ALIASES.get(name, name) not in OTHERS and (name in Image.OPEN or ALIASES.get(name) in Image.OPEN)
    }
    return (*ALWAYS, *sorted(readable - set(ALWAYS) | set(TIFF)))
