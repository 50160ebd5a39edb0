"""Writes the small files that come with the package: `python -m tests.plugins.science.sample_files FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def phantoms() -> NDArray[np.uint16]:
    """Four slices of a ball that grows and shrinks, `[4, 16, 16]`, of almost the whole range."""
    z, y, x = np.mgrid[:4, :16, :16]
    distance = np.sqrt((y - 7.5) ** 2 + (x - 7.5) ** 2 + (4 * (z - 1.5)) ** 2)
    return (65535 * np.clip(1.1 - distance / 9, 0, 1)).astype(np.uint16)


def write_samples(folder: Path) -> None:
    """The phantoms in every format, in `folder`."""
    import h5py
    import nibabel
    import tifffile
    import zarr

    images = phantoms()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "phantoms.npy", images)
    tifffile.imwrite(folder / "phantoms.tif", images, photometric="minisblack", metadata={"axes": "ZYX"})
    with h5py.File(folder / "phantoms.h5", "w", libver="latest") as file:
        file["image"], file["label"] = images, np.array([0, 1, 1, 0])
    store = zarr.create_array(
        folder / "phantoms.zarr", shape=images.shape, chunks=(4, 16, 16), dtype="uint16"
    )
    store[:] = images
    nibabel.save(
        nibabel.Nifti1Image(images.transpose(2, 1, 0), np.diag([-1, -1, 4, 1])), folder / "phantoms.nii"
    )
    dicom(images, BitsStored=16, HighBit=15).save_as(folder / "phantoms.dcm", enforce_file_format=True)


def dicom(pixels: NDArray[np.generic], **elements: object):
    """A DICOM data set of gray pixels `[H, W]` or frames `[N, H, W]`, of 16 bits or 8, or RGB `[H, W, 3]` of 8."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    color = pixels.ndim == 3 and pixels.shape[-1] == 3
    file = pydicom.Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    file.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    file.Rows, file.Columns = pixels.shape[:2] if color else pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        file.PlanarConfiguration = 0
    if not color and pixels.ndim == 3:
        file.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    file.BitsAllocated, file.BitsStored, file.HighBit = bits, bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(file, name, value)
    return file


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]))
