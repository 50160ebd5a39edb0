"""Exceptions, whose messages say what was wrong, where, what was expected and what to do.

Every `SslkitError` is a user error: the command line prints its message without a traceback and exits with 2.
"""

from __future__ import annotations


class SslkitError(Exception):
    """Base of every error that a user can mend."""


class SpecError(SslkitError):
    """A spec says something that cannot be run; the message names the path in the spec."""


class PluginError(SslkitError):
    """A plugin could not be loaded or breaks its contract."""


class PluginConflictError(PluginError):
    """A name that several plugins offer was asked for."""


class SslkitWarning(UserWarning):
    """Something that may not be meant, and stops nothing. The command line shows it without the place in the code."""


class PluginConflictWarning(SslkitWarning):
    """Several plugins offer the same kind of the same family, which can be used once all but one are blocked."""


class DataError(SslkitError):
    """Images or labels are missing, empty or unreadable."""


class CheckpointError(SslkitError):
    """A checkpoint is missing, damaged or belongs to another run."""


class TrainingError(SslkitError):
    """A run cannot go on; the message names the step and the last good checkpoint."""


class StorageError(SslkitError, OSError):
    """A file could not be written, as on a full disk, or not be read; the message names it. It is an OSError too."""


class InUseError(SslkitError):
    """Another process works in the folder; the message says which."""


class WorkerError(SslkitError):
    """Worker processes died or stand still; the message names the cause and the field to change."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped a run, which is saved; the message has the command that continues it.

    Like Ctrl-C it passes through `except Exception`: a loop over runs does not go on to the next one.
    """

    def __init__(self, message: str, signal: str) -> None:
        """`signal`: its name, such as `SIGTERM`."""
        super().__init__(message)
        self.signal = signal


def reason_of(error: BaseException) -> str:
    """What `error` says or, where that is nothing, its type, its place and the line of code that raised it."""
    if message := str(error).strip():
        return f"KeyError: {message}" if isinstance(error, KeyError) else message
    import traceback  # both take longer to import than all that `--help` does
    from pathlib import Path

    name, frames = type(error).__name__, traceback.extract_tb(error.__traceback__)
    if not frames:
        return name
    return f"{name} in {Path(frames[-1].filename).name}, line {frames[-1].lineno}: `{frames[-1].line}`"
