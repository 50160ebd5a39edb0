"""Specs and images for the tests of commands."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from sslkit.cli.main import main
from tests import tiny
from tests.fakes_train import pictures


def write(path: Path, **changes: Any) -> str:
    """The tiny run with some fields changed, as a file; its name. A change to None drops the field."""
    fields = {key: value for key, value in tiny.fields(**changes).items() if value is not None}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return str(path)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command: its exit code, what it printed, and what it printed as errors."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def images(root: Path, count: int, side: int = 8, channels: int = 1) -> Path:
    """A folder of small PNGs. Those of other folders are others: test images may not be training images."""
    seed = zlib.crc32("/".join(root.parts[-2:]).encode())
    root.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(pictures(count, channels, side, seed)):
        array = image[0].numpy() if channels == 1 else image.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(root / f"{i:04d}.png")
    return root


def folder(root: Path, **changes: Any) -> dict[str, Any]:
    """The source of one-channel images in `root`."""
    return {"kind": "folder", "root": str(root), "channels": 1, **changes}
