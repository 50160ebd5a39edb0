"""Specs of loggers. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import AfterValidator, Field

from sslkit.plugin import LoggerSpec, PluginError, Problem

if TYPE_CHECKING:
    from sslkit.interfaces import Logger
    from sslkit.plugin import RunSpec


MISSING = "the logger `wandb` needs the package wandb, which is not installed: pip install 'sslkit[wandb]'"


def _below(folder: str) -> str:
    """Refuses what would leave the run folder."""
    path = PurePath(folder)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("is a folder below the run folder, without `..`")
    return folder


@final
class TensorBoard(LoggerSpec):
    """Scalars and figures for TensorBoard: `tensorboard --logdir RUN_DIR`."""

    kind: Literal["tensorboard"] = "tensorboard"
    folder: Annotated[str, Field(min_length=1), AfterValidator(_below)] = "tensorboard"
    """Folder of the event files, below the run folder."""

    def build(self, run_dir: Path, name: str) -> Logger:
        """The logger; its first record makes the folder."""
        from sslkit_loggers.tensorboard import TensorBoardLogger

        return TensorBoardLogger(run_dir / self.folder)


@final
class WandB(LoggerSpec):
    """Scalars and figures for Weights & Biases. Needs `pip install 'sslkit[wandb]'`."""

    unchecked: ClassVar[str] = "" if find_spec("wandb") else "wandb, an optional dependency, is not installed"
    kind: Literal["wandb"] = "wandb"
    project: str = Field("sslkit", min_length=1)
    """Project that the run is listed under."""
    entity: str | None = None
    """User or team. Default: the account's own."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """`offline` writes to the run folder for `wandb sync`; `disabled` records nothing."""

    @classmethod
    def example(cls) -> Self | None:
        """Records nothing; None where wandb, an optional dependency, is not installed."""
        return cls(mode="disabled") if find_spec("wandb") else None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if find_spec("wandb") is None:
            yield Problem("", f"{MISSING}, or remove it from `log.loggers`")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.mode == "disabled":
            for field in ("project", "entity"):
                yield Problem(field, "has no effect, as `mode` is disabled", note=True)

    def build(self, run_dir: Path, name: str) -> Logger:
        """The logger. Raises PluginError where wandb is not installed."""
        try:
            import wandb
        except ImportError:
            raise PluginError(f"{MISSING}, or remove it from `log.loggers`") from None
        from sslkit_loggers.wandb import WandBLogger

        return WandBLogger(wandb, run_dir, name, project=self.project, entity=self.entity, mode=self.mode)
