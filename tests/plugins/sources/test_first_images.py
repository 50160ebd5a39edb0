"""What a source says of its first images when it is built: their range, and what is not read of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sslkit import Folder, Parquet
from sslkit.data.decoding.decode import Decoder
from sslkit.data.decoding.first_images import LOOKED_AT, seen_of
from sslkit.errors import DataError, SpecError
from sslkit.files.image_endings import readable_endings
from sslkit.interfaces import Source
from tests.plugins.sources.files_of_every_kind import hwc, pil, png16, pnm, tiff, values


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def built(**fields: object) -> tuple[Source, list[str]]:
    """The training images, and the warnings on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = Folder(**fields).build("train")
    assert source is not None
    return source, [str(warning.message) for warning in caught]


def reflectance(seed: int, low: int = 100, high: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (3, 5, 7), dtype=np.uint16)


def test_12_bits_in_16_are_dark_and_a_hint_says_so(tmp_path: Path) -> None:
    files = {f"{i}.tif": tiff(hwc(reflectance(i)), photometric="rgb") for i in range(3)}
    (_, messages) = built(root=folder(tmp_path, files))
    assert len(messages) == 1
    assert "data.range" in messages[0]
    assert "`range: [0, 4095]`" in messages[0]
    source, messages = built(root=tmp_path, range=[0, 4095])
    assert messages == []
    np.testing.assert_allclose(source.load(1).numpy(), reflectance(1) / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((5, 7), 3, np.uint16), r"all pixels of the first images are 3 \(uint16\)"),
        (np.arange(35, dtype=np.int32).reshape(5, 7), r"values of 0 to 34 \(int32\).*`range: \[0, 63\]`"),
        (
            np.linspace(0, 5000, 35, dtype=np.float32).reshape(5, 7),
            r"values of 0 to 5000 \(float32\).*\[0, 5000\]",
        ),
    ],
    ids=["constant", "integers", "floats"],
)
def test_hardly_any_range_is_refused_with_what_to_write(
    tmp_path: Path, image: np.ndarray, words: str
) -> None:
    with pytest.raises(DataError, match=rf"^data\.range: .*{words}"):
        built(root=folder(tmp_path, {"1.tif": tiff(image)}))
    source, _ = built(root=tmp_path, range="type")
    assert source.load(0).dtype in (torch.uint16, torch.float32)


def test_8_bit_images_are_never_refused(tmp_path: Path) -> None:
    dark = pil(np.zeros((5, 7, 3), np.uint8), "PNG")
    source, messages = built(root=folder(tmp_path, {"1.png": dark, "2.png": dark}))
    assert messages == []
    assert source.load(0).dtype == torch.uint8


def test_files_that_say_their_range_need_no_field(tmp_path: Path) -> None:
    image = values("uint16", 1) >> 8
    source, messages = built(root=folder(tmp_path, {"1.pgm": pnm(hwc(image), 300)}), channels=1)
    assert messages == []
    np.testing.assert_allclose(source.load(0).numpy(), image / 300, atol=1e-6)


def test_percentiles_are_those_of_the_training_images(tmp_path: Path) -> None:
    folder(tmp_path / "train", {f"{i}.tif": tiff(reflectance(i)[0]) for i in range(4)})
    folder(tmp_path / "test", {"0.tif": tiff(reflectance(9, 9000, 20000)[0])})
    spec = Folder(root=tmp_path / "train", test=tmp_path / "test", channels=1, range={"percentile": [0, 100]})
    train, test = spec.build("train"), spec.build("test")
    stacked = np.stack([reflectance(i)[0] for i in range(4)]).astype(float)
    low, high = stacked.min(), stacked.max()
    np.testing.assert_allclose(train.load(2).numpy()[0], (stacked[2] - low) / (high - low), atol=1e-5)
    assert test.load(0).min() == 1, "brighter than any training image"


ALPHA = r"has an alpha channel, which is dropped; `alpha: composite` .*`channels: 4`"
NOTES = {
    "pages": ({"1.tif": tiff(values("uint16", 5))}, r"has 5 pages, of which the first is read; `bands: "),
    "8-bit pages": ({"1.tif": tiff(values("uint8", 5))}, r"has 5 pages, of which the first is read; `bands: "),
    "infrared": (
        {"1.tif": tiff(hwc(values("uint16", 4)), photometric="rgb", extrasamples=["unspecified"])},
        r"has 4 samples a pixel, of which 3 are read; `channels: 4` reads all, `bands: ",
    ),
    "8-bit infrared": (
        {"1.tif": tiff(hwc(values("uint8", 4)), photometric="rgb", extrasamples=["unspecified"])},
        r"has 4 samples a pixel, of which 3 are read; `channels: 4` reads all, `bands: ",
    ),
    "second band": (
        {"1.tif": tiff(hwc(values("uint8", 2)), planarconfig="contig")},
        r"has 2 samples a pixel, of which 1 are read; `channels: 2`",
    ),
    "alpha": ({"1.png": pil(hwc(values("uint8", 4)), "PNG")}, ALPHA),
    "16-bit alpha": ({"1.png": png16(hwc(values("uint16", 4)))}, ALPHA),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOTES)
def test_what_is_not_read_is_told_with_the_field_that_reads_it(tmp_path: Path, kind: str) -> None:
    files, words = NOTES[kind]
    _, messages = built(root=folder(tmp_path, files))
    assert len(messages) == 1
    with pytest.raises(DataError, match=rf"^{tmp_path}/1\.\w+: {words}"):
        raise DataError(messages[0])


def test_frames_of_an_animation_are_told(tmp_path: Path) -> None:
    frames = [Image.fromarray(values("uint8", 1, seed)[0]) for seed in range(3)]
    frames[0].save(tmp_path / "1.gif", save_all=True, append_images=frames[1:])
    _, messages = built(root=tmp_path)
    assert [message.split(": ", 1)[1] for message in messages] == [
        "has 3 frames, of which the first is read; write the others to files of their own"
    ]


def test_files_of_one_kind_are_told_once(tmp_path: Path) -> None:
    _, messages = built(root=folder(tmp_path, {f"{i}.tif": tiff(values("uint16", 2, i)) for i in range(9)}))
    assert len(messages) == 1
    assert "(so do 9 of the 9 images that were looked at)" in messages[0]


@pytest.mark.parametrize(
    ("files", "fields"),
    [
        ({"1.tif": tiff(values("uint16", 5))}, {"channels": 5}),
        ({"1.tif": tiff(values("uint16", 5))}, {"channels": 2, "bands": (0, 4)}),
        ({"1.png": pil(hwc(values("uint8", 4)), "PNG")}, {"alpha": "composite"}),
        ({"1.png": pil(hwc(values("uint8", 4)), "PNG")}, {"channels": 4}),
        ({"1.jpg": pil(hwc(values("uint8", 3)), "JPEG")}, {}),
    ],
    ids=["pages", "bands", "composite", "four channels", "an ordinary image"],
)
def test_what_is_read_needs_no_word(
    tmp_path: Path, files: dict[str, bytes], fields: dict[str, object]
) -> None:
    assert built(root=folder(tmp_path, files), **fields)[1] == []


def test_files_that_all_have_other_channels_stop_before_the_run(tmp_path: Path) -> None:
    five = tiff(hwc(values("uint16", 5)), planarconfig="contig")
    with pytest.raises(DataError, match=r"1\.tif: is an image of 5 bands .*`channels: 5`"):
        built(root=folder(tmp_path, {"1.tif": five}))
    folder(tmp_path, {"2.png": pil(hwc(values("uint8", 3)), "PNG")})
    assert len(built(root=tmp_path)[0]) == 2, "one odd file among others is told when it is its turn"


def test_only_a_few_are_looked_at_and_the_same_in_every_run() -> None:
    class Images:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def __len__(self) -> int:
            return 1000

        def encoded(self, index: int) -> tuple[bytes, str]:
            self.asked.append(index)
            return pil(np.zeros((2, 2), np.uint8), "PNG"), str(index)

    first, second = Images(), Images()
    assert seen_of(Decoder(3), first, False).looked_at == LOOKED_AT == len(first.asked)
    seen_of(Decoder(3), second, False)
    assert first.asked == second.asked
    assert max(first.asked) > 500


def test_rows_of_parquet_have_ranges_and_bands(tmp_path: Path) -> None:
    table = {"image": [tiff(values("uint16", 5, i)) for i in range(3)], "label": [0, 1, 0]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    ranges = [[0, 65535], [0, 1000]]
    source = Parquet(files=tmp_path / "x.parquet", channels=2, bands=(4, 1), range=ranges).build("train")
    raw = values("uint16", 5, 2)[[4, 1]].astype(float)
    expected = np.clip(raw / np.array([65535, 1000])[:, None, None], 0, 1)
    np.testing.assert_allclose(source.load(2).numpy(), expected, atol=1e-6)
    other = Parquet(files=tmp_path / "x.parquet", channels=2, bands=(1, 4), range=ranges)
    assert other.build("train").fingerprint != source.fingerprint


def test_settings_count_in_the_fingerprint_and_defaults_of_8_bits_do_not(tmp_path: Path) -> None:
    eight = folder(tmp_path / "8", {"1.png": pil(hwc(values("uint8", 3)), "PNG")})
    source, _ = built(root=eight)
    assert source.decoder.settings() == ()
    prints = {
        built(root=eight, **change)[0].fingerprint for change in ({}, {"range": [0, 100]}, {"shrink": 2})
    }
    assert len(prints) == 3
    deep = folder(tmp_path / "16", {"1.png": png16(hwc(values("uint16", 3)))})
    assert built(root=deep)[0].decoder.settings() == (("deep", True),)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bands": [0, 1]}, r"`bands` names 2 but channels is 3; set `channels: 2`"),
        ({"bands": [0, 1, 1]}, r"names band 1 twice"),
        (
            {"alpha": "channel"},
            r"`alpha: channel` makes 2 channels of gray and 4 of color, but channels is 3",
        ),
        ({"bands": [0, 1, 2], "alpha": "composite"}, r"`alpha: composite` has no effect"),
        ({"channels": 0}, r"greater than or equal to 1"),
    ],
)
@pytest.mark.parametrize("kind", [Folder, Parquet])
def test_fields_that_do_not_fit_are_refused(kind: type, fields: dict[str, object], words: str) -> None:
    where = {"root": "x"} if kind is Folder else {"files": "x"}
    with pytest.raises(SpecError, match=words):
        kind(**where, **fields)


@pytest.mark.parametrize("fields", [{}, {"channels": 4}], ids=["color", "with alpha"])
@pytest.mark.parametrize(("bits", "messages"), [(8, 0), (10, 1), (12, 1)])
def test_bits_of_avif_beyond_8_are_told_once(tmp_path: Path, bits, messages, fields) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    if ".avif" not in readable_endings():
        pytest.skip("this PIL reads no AVIF")
    channels = fields.get("channels", 3)
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 1 << bits, (24, 32, channels))
        data = imagecodecs.avif_encode(pixels.astype("uint8" if bits == 8 else "uint16"), bitspersample=bits)
        (tmp_path / f"{i}.avif").write_bytes(data)
    source, warned = built(root=tmp_path, **fields)
    assert source.load(0).dtype == torch.uint8
    assert len(warned) == messages
    assert all(
        f"has {bits} bits a sample, of which 8 are read" in text and ".avif" in text for text in warned
    )
