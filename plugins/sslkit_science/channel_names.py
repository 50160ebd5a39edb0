"""Names of the channels of TIFF files, as OME, ImageJ and GDAL write them."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tifffile import TiffFile

GDAL_METADATA = 42112
"""Tag of TIFF, an XML text of `Item` elements (gdal.org, driver GTiff)."""
_IMAGE = re.compile(r"<(?:\w+:)?Image\b")
_CHANNEL = re.compile(r"<(?:\w+:)?Channel\b([^>]*)>")
_NAME = re.compile(r"""\bName\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ITEM = re.compile(r"<Item\b([^>]*)>([^<]*)</Item>")
_SAMPLE = re.compile(r"""\bsample\s*=\s*["'](\d+)["']""")


def channel_names(file: TiffFile, series: int, channels: int) -> tuple[str, ...]:
    """Names of the channels of a series; empty where the file has not one for each, or one twice."""
    for names in (_of_ome(file.ome_metadata or "", series), _of_imagej(file), _of_gdal(file)):
        if len(names) == channels == len(set(names)) and all(names):
            return names
    return ()


def _of_ome(text: str, series: int) -> tuple[str, ...]:
    """`Name` of each `Channel` of the image that a series is."""
    images = _IMAGE.split(text)[1:]
    if series >= len(images):
        return ()
    names = (_NAME.search(attributes) for attributes in _CHANNEL.findall(images[series]))
    return tuple(html.unescape(match[1] or match[2] or "") if match else "" for match in names)


def _of_imagej(file: TiffFile) -> tuple[str, ...]:
    """Labels of slices, where these are the channels."""
    return tuple(map(str, (file.imagej_metadata or {}).get("Labels") or ()))


def _of_gdal(file: TiffFile) -> tuple[str, ...]:
    """Descriptions of bands, by the place of their samples."""
    descriptions = dict[int, str]()
    for attributes, text in _ITEM.findall(str(file.pages.first.tags.valueof(GDAL_METADATA, ""))):
        sample = _SAMPLE.search(attributes)
        if sample and re.search(r"""\bname\s*=\s*["']DESCRIPTION["']""", attributes, re.IGNORECASE):
            descriptions[int(sample[1])] = html.unescape(text)
    return tuple(descriptions.get(place, "") for place in range(len(descriptions)))
