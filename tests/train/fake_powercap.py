"""Energy counters as Linux shows them, in files of a test."""

from __future__ import annotations

from pathlib import Path


def domain(folder: Path, name: str, microjoules: int, wraps: int = 262_143_328_850) -> Path:
    """One counter, such as `intel-rapl:0` of the name `package-0`."""
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps}\n")
    return folder


def use(folder: Path, microjoules: int) -> None:
    """Let it run on."""
    counter = folder / "energy_uj"
    counter.write_text(f"{int(counter.read_text()) + microjoules}\n")
