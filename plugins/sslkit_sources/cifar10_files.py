"""Files of CIFAR-10, in both layouts. Torch-free."""

from __future__ import annotations

from pathlib import Path

from sslkit_sources.listing import from_here

CIFAR10_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def cifar10_problem(root: Path, split: str) -> str | None:
    """What is missing of CIFAR-10's `split` below `root`; None where there is nothing."""
    if not root.is_dir():
        return f"{root}: no such folder{from_here(root)}; expected the folder that holds CIFAR-10"
    batches = root / "cifar-10-batches-py"
    if batches.is_dir():
        missing = [name for name in CIFAR10_BATCHES[split] if not (batches / name).is_file()]
        return f"{batches}: lacks {', '.join(missing)}; unpack the archive again" if missing else None
    if cifar10_parquet(root, split):
        return None
    return (
        f"{root}: no CIFAR-10 {split} images; looked for cifar-10-batches-py/{CIFAR10_BATCHES[split][0]} "
        f"(the official archive's python version, unpacked) and for *{split}*.parquet there or a folder down"
    )


def cifar10_parquet(root: Path, split: str) -> list[Path]:
    """The parquet files of CIFAR-10's `split` in `root`, or else one folder down, in order."""
    return sorted(root.glob(f"*{split}*.parquet")) or sorted(root.glob(f"*/*{split}*.parquet"))
