"""Libraries of file formats, imported when a file is read. Library-free, torch-free."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from sslkit.plugin import DataError

NAMES = ("tifffile", "pydicom", "pydicom.pixels", "nibabel", "zarr", "h5py")


def missing(name: str) -> str:
    """What to do where the library `name` is not installed; empty where it is."""
    return "" if find_spec(name) else f"{name} is not installed, and these images need it: pip install {name}"


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
            raise DataError(missing(package)) from None
        raise DataError(f"{package} cannot be imported: {error}; install it again") from None
