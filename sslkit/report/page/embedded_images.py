"""Embedded images of the page: figures and thumbnails as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from sslkit.core.augment import to_float, to_uint8
from sslkit.core.source import Source
from sslkit.files.regular import require_regular
from sslkit.functional.pixel_normalization import as_rgb
from sslkit.functional.resize import resize_center
from sslkit.report.page.html import Html, tag

THUMB = 96
"""Pixels of a small picture's edge at most."""
WIDEST = 1600
"""Pixels of a figure's width at most."""
MOST_PIXELS = 50_000_000
"""Pixels of a figure's file at most."""
LARGE = 400_000
"""Bytes of a PNG from which on a figure is kept as JPEG."""


def figure_image(path: Path, alt: str) -> Html | None:
    """The picture in the file at `path`, or a line that says why it is left out; None where there is no file."""
    if not path.exists():
        return None
    try:
        require_regular(path)
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                return _unread(path, f"has more than {MOST_PIXELS:,} pixels")
            picture = opened.convert("RGB")
    except Exception:  # decoders raise whatever their format's parser meets
        return _unread(path, "is damaged" if path.is_file() else "is no file")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)))
    return _element(picture, alt, LARGE, "paper")


def picture_of_run(run_dir: Path, file: str | Path, alt: str) -> Html | None:
    """The picture `file` of the run in `run_dir`; None where it lies elsewhere, by its path or behind a link.

    What an evaluation's file names may be a stranger's words, and a page is passed on.
    """
    path = run_dir / file
    inside = path.resolve().is_relative_to(run_dir.resolve())
    return figure_image(path, alt) if inside else None


def _unread(path: Path, reason: str) -> Html:
    return tag("p", f"The picture {path.name} {reason}, and is left out.", class_="note")


def thumbnail(
    source: Source, index: int, crop: float, size: int, alt: str, show: Sequence[int] | None = None
) -> Html:
    """Image `index` of `source` cut as the network sees it, small; DataError where it cannot be read.

    `show`: channels that become red, green and blue. Default: the first three, or the first as gray.
    """
    pixels = resize_center(to_float(source.load(index)[None]), min(size, THUMB), crop)
    values = to_uint8(pixels)[0]
    return _element(
        Image.fromarray(as_rgb(values, show).permute(1, 2, 0).contiguous().numpy()), alt, 8000, "thumb"
    )


def _element(picture: Image.Image, alt: str, large: int, kind: str) -> Html:
    """As PNG, or as JPEG where that is large."""
    media, content = "png", _encoded(picture, "PNG")
    if len(content) > large:
        media, content = "jpeg", _encoded(picture, "JPEG")
    uri = f"data:image/{media};base64,{base64.b64encode(content).decode()}"
    return tag("img", src=uri, alt=alt, width=picture.width, height=picture.height, class_=kind)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"optimize": True} if kind == "PNG" else {"quality": 85}))
    return buffer.getvalue()
