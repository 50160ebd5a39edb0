"""DICOM: values in the units that files say, slices in their order, polarity, windows, frames, colors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install pydicom")

from sslkit.errors import DataError  # noqa: E402
from sslkit_science.specs.medical import DICOM  # noqa: E402
from tests.plugins.science.sample_files import dicom  # noqa: E402

RNG = np.random.default_rng(0)


def write(path, pixels, **elements) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom(pixels, **elements).save_as(path, enforce_file_format=True)


def load(root, **fields):
    source = DICOM(root=root, **fields).build("train")
    return source, [source.load(i) for i in range(len(source))]


def hounsfield(shape=(9, 8)) -> np.ndarray:
    return RNG.integers(-1000, 1500, shape).astype(np.int16)


@pytest.mark.parametrize("signed", [False, True])
def test_rescaled_values_arrive_in_a_window_of_units(tmp_path, signed):
    units = hounsfield()
    stored = units if signed else (units + 1024).astype(np.uint16)
    intercept = 0 if signed else -1024
    write(tmp_path / "a.dcm", stored, RescaleSlope=1, RescaleIntercept=intercept, BitsStored=16)
    _, (image,) = load(tmp_path, range=(-160, 240))
    np.testing.assert_allclose(image[0].numpy(), np.clip((units + 160) / 400, 0, 1), atol=1e-6)


def test_slopes_are_of_each_file(tmp_path):
    stored = RNG.integers(0, 1000, (9, 8)).astype(np.uint16)
    for number, slope in enumerate((0.5, 2.25)):
        write(
            tmp_path / f"{number}.dcm", stored, RescaleSlope=slope, RescaleIntercept=3, InstanceNumber=number
        )
    _, images = load(tmp_path, range=(0, 3000))
    for slope, image in zip((0.5, 2.25), images, strict=True):
        np.testing.assert_allclose(image[0].numpy(), (stored * slope + 3) / 3000, atol=1e-6)


def test_by_default_the_stored_bits_are_the_range(tmp_path):
    stored = RNG.integers(0, 4096, (9, 8)).astype(np.uint16)
    write(tmp_path / "a.dcm", stored, BitsStored=12, HighBit=11)
    source, (image,) = load(tmp_path)
    assert source.mapping.low == (0,)
    assert source.mapping.high == (4095,)
    np.testing.assert_allclose(image[0].numpy(), stored / 4095, atol=1e-6)


def test_the_range_follows_the_rescaling(tmp_path):
    stored = RNG.integers(0, 4096, (9, 8)).astype(np.uint16)
    write(tmp_path / "a.dcm", stored, BitsStored=12, HighBit=11, RescaleIntercept=-1024, RescaleSlope=1)
    source, (image,) = load(tmp_path)
    assert (source.mapping.low, source.mapping.high) == ((-1024,), (3071,))
    np.testing.assert_allclose(image[0].numpy(), stored / 4095, atol=1e-6)


def test_auto_refuses_what_would_be_black(tmp_path):
    write(tmp_path / "a.dcm", RNG.integers(0, 60, (9, 8)).astype(np.uint16), BitsStored=12, HighBit=11)
    with pytest.raises(
        DataError, match=r"range: the first images .* under 2 % of the 0 to 4095 .* range: \[0, 59\]"
    ):
        load(tmp_path)
    assert len(load(tmp_path, range="type")[1]) == 1


def test_eight_bits_stay_what_they_are(tmp_path):
    pixels = RNG.integers(0, 256, (9, 8)).astype(np.uint8)
    write(tmp_path / "a.dcm", pixels)
    _, (image,) = load(tmp_path)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image[0].numpy(), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_monochrome1_is_inverted(tmp_path, dtype):
    pixels = RNG.integers(0, np.iinfo(dtype).max, (9, 8)).astype(dtype)
    write(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    _, (image,) = load(tmp_path)
    most = np.iinfo(dtype).max
    shown = image[0].numpy().astype(np.float64) / (most if image.dtype == torch.uint8 else 1)
    np.testing.assert_allclose(shown, 1 - pixels / most, atol=1e-6)
    _, (image,) = load(tmp_path, range=(10, 200))
    np.testing.assert_allclose(image[0].numpy(), 1 - np.clip((pixels - 10.0) / 190, 0, 1), atol=1e-6)


def test_windows_of_the_files(tmp_path):
    units = hounsfield()
    common = {"RescaleSlope": 1, "RescaleIntercept": 0}
    write(
        tmp_path / "a.dcm", units, WindowCenter=[40, 500], WindowWidth=[401, 2000], InstanceNumber=1, **common
    )
    write(
        tmp_path / "b.dcm",
        units,
        WindowCenter=-600,
        WindowWidth=1500,
        VOILUTFunction="LINEAR_EXACT",
        InstanceNumber=2,
        **common,
    )
    _, images = load(tmp_path, window=True)
    lut = pydicom.pixels.apply_windowing(units, pydicom.dcmread(tmp_path / "a.dcm"))
    span = (lut - lut.min()) / (lut.max() - lut.min())
    np.testing.assert_allclose(images[0][0].numpy(), span, atol=1e-6)
    np.testing.assert_allclose(images[1][0].numpy(), np.clip((units + 1350) / 1500, 0, 1), atol=1e-6)
    write(tmp_path / "b.dcm", units, InstanceNumber=2, **common)
    source = DICOM(root=tmp_path, window=True).build("train")
    names = [source.name(i) for i in range(2)]
    with pytest.raises(DataError, match=r"b\.dcm: has no window; set `range`, and `window: false`"):
        source.load(names.index("b.dcm"))


def test_slices_of_a_series_are_in_order(tmp_path):
    for name, place, series in (("c", 5.0, 1), ("a", 7.5, 1), ("b", 2.5, 1), ("d", 0.0, 2)):
        write(
            tmp_path / f"{name}.dcm",
            np.full((9, 8), int(1000 * place), np.uint16),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, place],
            SeriesInstanceUID=f"1.2.{series}",
            InstanceNumber=9,
        )
    source = DICOM(root=tmp_path, range="type").build("train")
    assert [source.name(i) for i in range(4)] == ["b.dcm", "c.dcm", "a.dcm", "d.dcm"]


def test_frames_are_images(tmp_path):
    pixels = RNG.integers(0, 65536, (3, 9, 8)).astype(np.uint16)
    write(tmp_path / "a.dcm", pixels)
    source, images = load(tmp_path)
    np.testing.assert_allclose(torch.cat(images).numpy(), pixels / 65535, atol=1e-6)
    assert source.name(2) == "a.dcm frame 2"
    assert len({row.tobytes() for row in source.digests()}) == 3


def test_groups_of_frames_have_their_own_rescaling(tmp_path):
    pixels = RNG.integers(0, 1000, (2, 9, 8)).astype(np.uint16)
    groups = []
    for slope in (1, 2):
        rescaling = pydicom.Dataset()
        rescaling.RescaleSlope, rescaling.RescaleIntercept = slope, -10
        group = pydicom.Dataset()
        group.PixelValueTransformationSequence = [rescaling]
        groups.append(group)
    write(tmp_path / "a.dcm", pixels, PerFrameFunctionalGroupsSequence=groups)
    _, images = load(tmp_path, range=(0, 2000))
    for slope, frame, image in zip((1, 2), pixels, images, strict=True):
        expected = np.clip((frame.astype(np.float64) * slope - 10) / 2000, 0, 1)
        np.testing.assert_allclose(image[0].numpy(), expected, atol=1e-6)


def test_colors(tmp_path):
    pixels = RNG.integers(0, 256, (9, 8, 3)).astype(np.uint8)
    write(tmp_path / "a.dcm", pixels)
    source, (image,) = load(tmp_path)
    assert source.channels == 3
    np.testing.assert_array_equal(image.numpy(), pixels.transpose(2, 0, 1))


def test_compressed_frames(tmp_path):
    pixels = RNG.integers(0, 65536, (9, 8)).astype(np.uint16)
    file = dicom(pixels)
    file.compress(pydicom.uid.RLELossless)
    file.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    _, (image,) = load(tmp_path)
    np.testing.assert_allclose(image[0].numpy(), pixels / 65535, atol=1e-6)


def test_names_without_an_end_count_and_others_are_counted(tmp_path, capsys):
    pixels = RNG.integers(0, 256, (9, 8)).astype(np.uint8)
    for name in ("IM0001", "b.DCM", "series/c"):
        write(tmp_path / name, pixels)
    (tmp_path / "notes.txt").write_text("words")
    source, _ = load(tmp_path)
    assert sorted(source.name(i) for i in range(3)) == ["IM0001", "b.DCM", "series/c"]
    assert "1 files are no DICOM file by their names" in capsys.readouterr().err


def test_files_without_pixels_give_no_image(tmp_path):
    pixels = RNG.integers(0, 256, (9, 8)).astype(np.uint8)
    write(tmp_path / "a.dcm", pixels)
    report = dicom(pixels)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(report, name)
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    assert len(load(tmp_path)[1]) == 1
    (tmp_path / "a.dcm").unlink()
    with pytest.raises(DataError, match="holds no image"):
        load(tmp_path)


def test_damaged_files_are_unreadable_images(tmp_path):
    pixels = RNG.integers(0, 65536, (90, 80)).astype(np.uint16)
    write(tmp_path / "a.dcm", pixels)
    write(tmp_path / "b.dcm", pixels)
    (tmp_path / "b.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:3000])
    (tmp_path / "c.dcm").write_bytes(b"words")
    source = DICOM(root=tmp_path).build("train")
    names = [source.name(i) for i in range(len(source))]
    assert sorted(names) == ["a.dcm", "b.dcm", "c.dcm"]
    for name in ("b.dcm", "c.dcm"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read: "):
            source.load(names.index(name))


def test_patients_are_no_classes_unless_they_should_be(tmp_path):
    for name in ("p1/a.dcm", "p2/b.dcm"):
        write(tmp_path / name, RNG.integers(0, 256, (9, 8)).astype(np.uint8))
    assert load(tmp_path)[0].labels is None
    source, _ = load(tmp_path, label_folders=True)
    assert (source.classes, source.labels.tolist()) == (("p1", "p2"), [0, 1])
