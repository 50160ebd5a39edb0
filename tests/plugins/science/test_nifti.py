"""NIfTI: scaled values, slices that stand the same way whatever way the array runs, volumes as images or channels."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch

nibabel = pytest.importorskip("nibabel", reason="needs nibabel: pip install nibabel")

from sslkit.errors import DataError  # noqa: E402
from sslkit_science.specs.medical import NIfTI  # noqa: E402

RNG = np.random.default_rng(0)
ENDS = {"R": "L", "A": "P", "S": "I", "L": "R", "P": "A", "I": "S"}


def volume(shape=(5, 6, 7), dtype="uint16") -> np.ndarray:
    """Rows of L to R, P to A, I to S."""
    return RNG.integers(0, 65535 if dtype == "uint16" else 3000, shape).astype(dtype)


def save(path, values, codes="RAS", slope=None, intercept=None) -> None:
    """`values` in RAS order, written with axes that run as `codes` say."""
    path.parent.mkdir(exist_ok=True, parents=True)
    axes = [next(i for i, pair in enumerate(("LR", "PA", "IS")) if code in pair) for code in codes]
    stored = values.transpose(*axes, *range(3, values.ndim))
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for at, (axis, code) in enumerate(zip(axes, codes, strict=True)):
        positive = code in "RAS"
        affine[axis, at] = 1 if positive else -1
        stored = stored if positive else np.flip(stored, at)
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored), affine)
    assert nibabel.aff2axcodes(affine) == tuple(codes)
    if slope is not None:
        image.header.set_slope_inter(slope, intercept)
        image.header.set_data_dtype(values.dtype)
    nibabel.save(image, path)


def load(root, **fields):
    source = NIfTI(root=root, **fields).build("train")
    return source, [source.load(i) for i in range(len(source))]


def expected(values: np.ndarray, axis: str) -> np.ndarray:
    """Slices of a volume in RAS order, `[N, rows, columns]`."""
    if axis == "axial":  # rows run to posterior, columns to the left
        return values[::-1, ::-1, :].transpose(2, 1, 0)
    if axis == "coronal":  # rows to inferior, columns to the left
        return values[::-1, :, ::-1].transpose(1, 2, 0)
    return values[:, ::-1, ::-1].transpose(0, 2, 1)  # sagittal: rows to inferior, columns to posterior


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_slices_stand_the_same_way_in_every_orientation(tmp_path, axis):
    values = volume()
    codes = ["".join(ends) for order in itertools.permutations("RAS")
             for ends in itertools.product(*[(c, ENDS[c]) for c in order])]  # fmt: skip
    assert len(codes) == 48
    for code in codes:
        save(tmp_path / code / "a.nii", values, code)
    for code in codes[:: 1 if axis == "axial" else 5]:
        source, images = load(tmp_path / code, axis=axis)
        np.testing.assert_array_equal(torch.cat(images).numpy(), expected(values, axis), err_msg=code)
        assert source.name(2) == f"a.nii {axis} 2"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes_of_the_array_as_it_is_stored(tmp_path, axis):
    values = volume()
    save(tmp_path / "a.nii", values)
    source, images = load(tmp_path, axis=axis)
    np.testing.assert_array_equal(torch.cat(images).numpy(), np.moveaxis(values, axis, 0))
    assert source.name(1) == f"a.nii axis {axis} slice 1"


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_slope_and_intercept(tmp_path, end):
    values = volume(dtype="int16")
    save(tmp_path / f"a{end}", values, slope=0.5, intercept=-100)
    truth = np.asarray(nibabel.load(tmp_path / f"a{end}").dataobj)
    np.testing.assert_array_equal(truth, values * 0.5 - 100)
    _, images = load(tmp_path, range=(-100, 1400))
    np.testing.assert_allclose(
        torch.cat(images).numpy(), np.clip((expected(truth, "axial") + 100) / 1500, 0, 1), atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_types(tmp_path, dtype):
    values = volume(dtype="int16").astype(dtype) if dtype != "uint8" else volume().astype("uint8")
    save(tmp_path / "a.nii", values)
    _, images = load(tmp_path, range=(0, 200))
    np.testing.assert_allclose(
        torch.cat(images).numpy(), np.clip(expected(values, "axial") / 200, 0, 1), atol=1e-6
    )


def test_a_fourth_axis_is_images_or_channels(tmp_path):
    values = volume((5, 6, 7, 2))
    save(tmp_path / "a.nii.gz", values)
    source, images = load(tmp_path)
    assert len(images) == 14
    np.testing.assert_array_equal(images[3].numpy()[0], expected(values[..., 1], "axial")[1])
    assert source.name(3) == "a.nii.gz axial 1 volume 1"
    source, images = load(tmp_path, volumes="channels")
    assert source.channels == 2
    for channel in range(2):
        np.testing.assert_array_equal(
            torch.stack([image[channel] for image in images]).numpy(), expected(values[..., channel], "axial")
        )
    _, images = load(tmp_path, volumes="channels", bands=(1,))
    np.testing.assert_array_equal(images[2][0].numpy(), expected(values[..., 1], "axial")[2])


def test_percentiles_of_each_volume(tmp_path):
    for name, scale in (("a", 1), ("b", 10)):
        save(tmp_path / f"{name}.nii", volume(dtype="int16") // 10 * np.int16(scale))
    source, images = load(tmp_path, volume_percentile=(0, 100))
    for first in (0, 7):
        own = torch.cat(images[first : first + 7])
        assert (own.min(), own.max()) == (0, 1)
    other = NIfTI(root=tmp_path, volume_percentile=(0, 50)).build("train")
    assert other.fingerprint != source.fingerprint
    (tmp_path / "a.nii").unlink()
    save(tmp_path / "b.nii", np.zeros((5, 6, 7), np.int16))
    with pytest.raises(DataError, match=r"b\.nii: its percentiles \(0.0, 100.0\) are both 0"):
        load(tmp_path, volume_percentile=(0, 100))


def test_auto_refuses_floats_in_other_units(tmp_path):
    save(tmp_path / "a.nii", volume(dtype="int16").astype(np.float32))
    with pytest.raises(DataError, match=r"range: the first images have values of .* `range: \["):
        load(tmp_path)


def test_a_large_compressed_volume_is_refused(tmp_path):
    save(tmp_path / "a.nii.gz", volume())
    source = NIfTI(root=tmp_path, max_bytes=100, range="type").build("train")
    with pytest.raises(
        DataError, match=r"a\.nii\.gz: has 420 bytes once decompressed, more than max_bytes=100"
    ):
        source.load(0)
    save(tmp_path / "b.nii", volume())
    (tmp_path / "a.nii.gz").unlink()
    assert len(load(tmp_path, max_bytes=100)[1]) == 7, "a plain file is mapped"


def test_what_is_no_volume_names_its_file(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"words")
    with pytest.raises(DataError, match=r"a\.nii: cannot be read: "):
        load(tmp_path)
    (tmp_path / "a.nii").unlink()
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7, 1, 3), np.float32), np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(DataError, match=r"b\.nii: has the shape .* expected a volume"):
        load(tmp_path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.complex64), np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(DataError, match=r"b\.nii: holds complex64"):
        load(tmp_path)


def test_a_source_pickles_and_reads_on(tmp_path):
    save(tmp_path / "a.nii.gz", volume())
    source = NIfTI(root=tmp_path).build("train")
    first = source.load(3)
    assert torch.equal(pickle.loads(pickle.dumps(source)).load(3), first)
