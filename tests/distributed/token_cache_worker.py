"""Trains a run whose teacher is cached in a folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

from sslkit.data.content_hash import VARIABLE
from sslkit.specs.load import load
from sslkit.train.launch import train


def main(spec: str, folder: str, out: str, *assignments: str) -> None:
    """The run of the file `spec`, in `out`, with its caches in `folder`."""
    os.environ[VARIABLE] = folder
    train(load(Path(spec), [f"out={out}", *assignments]))
