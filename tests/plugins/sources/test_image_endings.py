"""Which files of a folder are images, and what is told of the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from sslkit import Folder
from sslkit.files.image_endings import ALWAYS, readable_endings
from sslkit_sources.left_out_files import left_out_text
from tests.plugins.sources.files_of_every_kind import hwc, pil, values
from tests.plugins.sources.test_first_images import built, folder

IMAGE = hwc(np.tile(values("uint8", 3), (1, 4, 4)))
KINDS = {".jfif": "JPEG", ".jpe": "JPEG", ".tga": "TGA", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".pnm": "PPM",
         ".avif": "AVIF", ".apng": "PNG", ".dib": "DIB", ".pcx": "PCX", ".sgi": "SGI", ".qoi": "QOI"}  # fmt: skip
NEEDED = {".jp2": "jpg_2000", ".j2k": "jpg_2000", ".avif": "avif"}


@pytest.mark.parametrize("ending", KINDS)
def test_what_can_be_decoded_here_is_read(tmp_path: Path, ending: str) -> None:
    if ending in NEEDED and not features.check(NEEDED[ending]):
        pytest.skip(f"this PIL has no {NEEDED[ending]}")
    folder(
        tmp_path,
        {f"a/1{ending}": pil(IMAGE, KINDS[ending]), f"b/2{ending.upper()}": pil(IMAGE, KINDS[ending])},
    )
    source, messages = built(root=tmp_path)
    assert messages == []
    assert source.classes == ("a", "b")
    assert source.load(1).shape == (3, 20, 28)


def test_nothing_that_is_no_raster_image_is_read() -> None:
    endings = set(readable_endings())
    assert set(ALWAYS) <= endings
    assert endings.isdisjoint(
        {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".hdf", ".wmf", ".emf", ".grib", ".psd"}
    )
    assert ".txt" not in endings
    assert all(ending.startswith(".") and ending == ending.lower() for ending in endings)


def test_files_of_other_kinds_are_counted_and_told_once(tmp_path: Path) -> None:
    folder(tmp_path, {f"cat/{i}.png": pil(IMAGE, "PNG") for i in range(2)})
    folder(
        tmp_path, {f"dog/{i}.heic.dng": b"x" for i in range(5)} | {"cat/9.DCM": b"x", "cat/notes.txt": b"x"}
    )
    source, messages = built(root=tmp_path)
    assert source.classes == ("cat",)
    assert messages == [
        f"{tmp_path}: 7 files of other kinds: .dng (5), .dcm (1), .txt (1)",
        f"{tmp_path}: holds no image that can be read in 'dog', so that is no class",
    ]


def test_notes_beside_images_are_no_matter(tmp_path: Path) -> None:
    folder(tmp_path, {"a/1.png": pil(IMAGE, "PNG"), "a/readme.txt": b"x", "labels.csv": b"x"})
    assert built(root=tmp_path)[1] == []


def test_endings_that_were_named_are_all_that_was_meant(tmp_path: Path) -> None:
    folder(tmp_path, {"1.png": pil(IMAGE, "PNG"), "2.jpg": pil(IMAGE, "JPEG")})
    source, messages = built(root=tmp_path, extensions=("png",))
    assert len(source) == 1
    assert messages == []
    assert Folder(root=tmp_path).extensions is None


def test_a_test_split_inside_is_no_empty_class(tmp_path: Path) -> None:
    folder(
        tmp_path,
        {"cat/1.png": pil(IMAGE, "PNG"), "held/cat/2.png": pil(IMAGE, "PNG"), "held/cat/3.dcm": b"x"},
    )
    _, messages = built(root=tmp_path, test=tmp_path / "held")
    assert messages == [f"{tmp_path}: 1 file of other kinds: .dcm (1)"]


def test_what_a_package_would_read_is_named() -> None:
    text = left_out_text(Counter({".heic": 3, ".jxl": 1}))
    assert "pip install pillow-heif" in text
    assert "pip install pillow-jxl-plugin" in text
    many = Counter({f".x{i}": 1 for i in range(9)} | {".dcm": 2})
    assert left_out_text(many).endswith("and 4 more")
