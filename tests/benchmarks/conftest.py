from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture(scope="session", autouse=True)
def scripts():
    """Benchmarks are scripts, which find each other in their folder."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """Scripts set threads and what SIGTERM does for a process that is theirs alone; here it is that of other tests."""
    threads, ending = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, ending)


@pytest.fixture
def cifar10(scripts, tmp_path: Path) -> Path:
    """Noise in the official layout."""
    return scripts("gpu").noise_cifar10(tmp_path)
