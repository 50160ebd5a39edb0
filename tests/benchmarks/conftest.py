from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="session", autouse=True)
def scripts():
    """Benchmarks are scripts, which find each other in their folder."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture
def cifar10(scripts, tmp_path: Path) -> Path:
    """Noise in the official layout."""
    return scripts("gpu").noise_cifar10(tmp_path)
