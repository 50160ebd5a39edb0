"""Libraries of file formats, imported when a file is read. Library-free."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from sslkit.plugin import DataError

NAMES = ("tifffile", "pydicom", "pydicom.pixels", "nibabel", "zarr", "h5py")


def library(name: str) -> ModuleType:
    """The module `name`, one of `NAMES`.

    Raises:
        DataError: it is not installed, or cannot be imported.
    """
    assert name in NAMES, name
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        if error.name == package:
            raise DataError(
                f"{package} is not installed, and these images need it: pip install {package}"
            ) from None
        raise DataError(f"{package} cannot be imported: {error}; install it again") from None
