from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path

import numpy as np
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
def cifar10(tmp_path: Path) -> Path:
    """Noise in the official layout: 200 training images and 40 of test, of ten classes."""
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        content = {
            "data": random.integers(0, 256, (40, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(40)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder.parent
