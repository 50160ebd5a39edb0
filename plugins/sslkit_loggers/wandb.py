"""Weights & Biases logger."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Literal, final

from sslkit.interfaces import Logger, write_text
from sslkit.plugin import read_text

ID_FILE = "wandb-id.txt"


@final
class WandBLogger(Logger):
    """One W&B run for each run folder; a resumed run continues it."""

    def __init__(
        self,
        wandb: ModuleType,
        run_dir: Path,
        name: str,
        *,
        project: str,
        entity: str | None,
        mode: Literal["online", "offline", "disabled"],
    ) -> None:
        self._wandb = wandb
        self._run = wandb.init(
            project=project,
            entity=entity,
            mode=mode,
            name=name,
            dir=str(run_dir),
            id=_run_id(run_dir),
            resume="allow",
        )
        # W&B's own step only grows, but a resumed run goes back to its checkpoint: `step` is a value too.
        self._run.define_metric("*", step_metric="step")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """All values in one record."""
        self._run.log({**values, "step": step})

    def figure(self, step: int, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path)), "step": step})

    def close(self) -> None:
        """Upload what is left."""
        self._run.finish()


def _run_id(run_dir: Path) -> str:
    """The id kept in the run folder, created at the first call."""
    file = run_dir / ID_FILE
    if not file.exists():
        write_text(file, uuid.uuid4().hex[:12] + "\n")
    return read_text(file).strip()
