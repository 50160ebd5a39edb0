"""What the conformance kit found. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

from sslkit.errors import PluginError

Checks = Mapping[str, Callable[[], None]]
"""Name of a check -> the check, which raises where the contract is broken."""

State = Literal["passed", "failed", "skipped"]

DETAIL = 400
"""Characters of an error that are shown; those of compilers fill pages."""


class Check(NamedTuple):
    """One check and what came of it."""

    subject: str
    """The entry point (`distribution:name`), or `family/kind`."""
    name: str
    """What was checked."""
    state: State
    detail: str = ""
    """Why it failed or was left out."""

    def __str__(self) -> str:
        """One line."""
        label = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[self.state]
        return f"{label}  {self.subject}: {self.name}" + (f": {self.detail}" if self.detail else "")


@final
class NotOffered(Exception):  # noqa: N818 - no error: the check is left out
    """Raised by a check of something that the component may leave out, and does."""


@final
@dataclass(frozen=True)
class Report:
    """All checks of one distribution."""

    distribution: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failures

    def lines(self) -> list[str]:
        """One line for each check."""
        return [str(check) for check in self.checks]

    def require(self) -> None:
        """Pass where every check does.

        Raises:
            PluginError: some failed; the message names each.
        """
        if self.failures:
            named = "\n  ".join(map(str, self.failures))
            raise PluginError(
                f"{self.distribution} fails {len(self.failures)} of {len(self.checks)} checks:\n  {named}"
            )


def run(subject: str, checks: Checks) -> Iterator[Check]:
    """The outcome of each check, none stopping the next."""
    for name, check in checks.items():
        try:
            check()
        except NotOffered as reason:
            yield Check(subject, name, "skipped", str(reason))
        except Exception as error:  # a plugin may raise anything
            yield Check(subject, name, "failed", _one_line(error))
        else:
            yield Check(subject, name, "passed")


def require(holds: bool, otherwise: str) -> None:
    """Raise PluginError with the message `otherwise` unless `holds`."""
    if not holds:
        raise PluginError(otherwise)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    said = text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
    return said if len(said) <= DETAIL else f"{said[:DETAIL]} ..."
