"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads beside another job are many times slower than one

import pytest
from hypothesis import HealthCheck, settings

from tests.full_disk import small_disk

settings.register_profile(
    "sslkit", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("sslkit"), derandomize=False)
"""Other examples: `pytest --hypothesis-profile explore --hypothesis-seed 1`."""
settings.load_profile("sslkit")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _process(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What holds for all tests of a process. The one that only hands tests to others never imports torch."""
    import torch

    torch.set_num_threads(1)
    os.environ["SSLKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))  # not the developer's


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """No search for garbage among what is imported, neither meanwhile nor by the tests: it took a twentieth of them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, *gc.get_threshold()[1:])
        gc.enable()


def pytest_configure() -> None:
    """Signals as in a terminal: a job in the background, or under `nohup`, begins with some of them ignored."""
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


FSDP = "tests/distributed/test_fsdp.py"
EXACT = (
    "tests/functional/",
    "tests/nn/",
    "tests/train/test_cuts.py",
    f"{FSDP}::test_shards_equal_replicas",
    f"{FSDP}::test_graphs_of_blocks_change_nothing",
)
"""Where results are compared to the last digits, beside the tests that read a golden."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m exact` imports only the files that have such tests: importing all of them takes longer than to run these."""
    if config.option.markexpr != "exact" or not collection_path.name.startswith("test_"):
        return None
    path = collection_path.relative_to(ROOT).as_posix()
    exact = path.startswith(EXACT) or any(test.startswith(path) for test in EXACT)
    return None if exact or "golden" in collection_path.read_text(encoding="utf-8") else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is run once more with the arithmetic of a lesser processor."""
    for item in items:
        if item.nodeid.startswith(EXACT) or "golden" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.exact)


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def golden():
    """Load a file of reference arrays from tests/goldens as a dict of tensors and arrays."""
    import numpy as np
    import torch

    def load(name: str) -> dict[str, object]:
        with np.load(Path(__file__).parent / "goldens" / f"{name}.npz", allow_pickle=False) as arrays:
            return {
                key: torch.from_numpy(arrays[key]) if arrays[key].dtype.kind in "fiub" else arrays[key]
                for key in arrays.files
            }

    return load


@pytest.fixture
def disk(tmp_path):
    """A folder that is a disk of 4 MiB; skips where nobody may mount one."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images that developers have; outside users skip these tests."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the developers' folder of real images (CIFAR-10, Imagenette), which is not here")
    return folder
