"""Report of the conformance kit. Torch-free."""

from __future__ import annotations

import functools
import importlib.util
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, final

from sslkit.errors import PluginError, SslkitError

Checks = Mapping[str, Callable[[], None]]
"""Name of a check -> the check, which raises where the contract is broken."""
Needs = Mapping[str, str]
"""Name of a check -> the one that must pass before it: without that one it would tell the same cause again."""

State = Literal["passed", "failed", "skipped", "expected"]

LABELS: Mapping[State, str] = {"passed": "ok   ", "failed": "FAIL ", "skipped": "skip ", "expected": "xfail"}
DETAIL = 400
"""Characters of an error that are shown; those of compilers fill pages."""
STRICT = "its expected failures fail"
"""Name of the check of `expected_failures`."""
OUTSIDE = ("torch", "sslkit", "pydantic")
"""Packages in whose files an error of a plugin may show, but not begin."""


class Check(NamedTuple):
    """One check and what came of it."""

    subject: str
    """The entry point (`distribution:name`), or `family/kind`."""
    name: str
    """What was checked."""
    state: State
    """`expected`: it failed, as the kind's `expected_failures` say."""
    detail: str = ""
    """Why it failed or was left out."""

    def __str__(self) -> str:
        return f"{LABELS[self.state]} {self.subject}: {self.name}" + (
            f": {self.detail}" if self.detail else ""
        )


@final
class NotOffered(Exception):  # noqa: N818 - no error: the check is left out
    """Raised by a check of something that the component may leave out, and does."""


@final
@dataclass(frozen=True)
class Report:
    """All checks of one distribution, or of one spec."""

    distribution: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, without those that were expected to."""
        return self.of("failed")

    @property
    def passed(self) -> bool:
        """Whether none failed and something of a kind was tried."""
        return not self.failures

    def of(self, state: State) -> tuple[Check, ...]:
        """The checks that came out so."""
        return tuple(check for check in self.checks if check.state == state)

    def lines(self) -> list[str]:
        """One line for each check."""
        return [str(check) for check in self.checks]

    @property
    def summary(self) -> str:
        """One line of counts: what ran, what did not and why, what failed."""
        count = Counter(check.state for check in self.checks)
        ran = f"{self.distribution}: {count['passed'] + count['failed'] + count['expected']} checks ran"
        failed = f"{count['failed'] or 'none'} failed"
        expected = f" ({count['expected']} more as expected)" if count["expected"] else ""
        return f"{ran}, {failed}{expected}; {_left_out(self.of('skipped'))}"

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


def _left_out(skipped: Sequence[Check]) -> str:
    """`3 left out: why (2), why (1)`."""
    if not skipped:
        return "none left out"
    reasons = Counter(check.detail.partition(":")[0] for check in skipped)
    return f"{len(skipped)} left out: " + ", ".join(f"{why} ({n})" for why, n in reasons.most_common())


def run(
    subject: str, checks: Checks, needs: Needs | None = None, expected: Mapping[str, str] | None = None
) -> Iterator[Check]:
    """The outcome of each check, none stopping those that do not need it.

    Args:
        subject: what is checked.
        checks: by name, in order; one that others need stands before them.
        needs: what must pass before a check makes sense; under "*", before all after it.
        expected: name of a check -> why it fails. It is a failure where it does not.
    """
    needs, expected = needs or {}, expected or {}
    failed: dict[str, str] = {}
    for name, check in checks.items():
        before = next((need for need in (needs.get("*"), needs.get(name)) if need in failed), None)
        if before is not None and before != name:
            failed[name] = ""
            yield Check(subject, name, "skipped", f"needs what failed: {before!r}")
            continue
        outcome = _outcome(subject, name, check)
        if outcome.state == "failed":
            same = next((earlier for earlier, detail in failed.items() if detail == outcome.detail), None)
            failed[name] = outcome.detail
            if same is not None:  # one cause is told once
                outcome = outcome._replace(state="skipped", detail=f"has the cause of a failure: {same!r}")
        yield _as_expected(outcome, expected)
    unknown = [name for name in expected if name not in checks]
    if unknown:
        text = f"`expected_failures` names {', '.join(map(repr, unknown))}, which is no check of this kind"
        yield Check(subject, STRICT, "failed", text)


def _outcome(subject: str, name: str, check: Callable[[], None]) -> Check:
    try:
        check()
    except NotOffered as reason:
        return Check(subject, name, "skipped", str(reason))
    except Exception as error:  # a plugin may raise anything
        return Check(subject, name, "failed", _one_line(error))
    return Check(subject, name, "passed")


def _as_expected(outcome: Check, expected: Mapping[str, str]) -> Check:
    """A failure that the author foresaw is none; one that does not come is one."""
    if outcome.name not in expected:
        return outcome
    if outcome.state == "failed":
        return outcome._replace(state="expected", detail=f"{expected[outcome.name]} ({outcome.detail})")
    came = "passes" if outcome.state == "passed" else f"did not run ({outcome.detail})"
    return outcome._replace(
        state="failed", detail=f"{came}, but `expected_failures` lists it; take it off the list"
    )


def require(holds: bool, otherwise: str) -> None:
    """Raise PluginError with the message `otherwise` unless `holds`."""
    if not holds:
        raise PluginError(otherwise)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    shown = text if isinstance(error, SslkitError) else f"{type(error).__name__}: {text}{_place(error)}"
    return shown if len(shown) <= DETAIL else f"{shown[:DETAIL]} ..."


def _place(error: Exception) -> str:
    """Where the plugin raised it: an error that is not the kit's says nothing of that."""
    frames = traceback.extract_tb(error.__traceback__)
    plugins = [f for f in frames if not _is_outside(f.filename)]
    return f" (in {Path(plugins[-1].filename).name}, line {plugins[-1].lineno})" if plugins else ""


def _is_outside(file: str) -> bool:
    return file.startswith("<") or any(Path(file).is_relative_to(folder) for folder in _outside())


@functools.cache
def _outside() -> tuple[Path, ...]:
    """The folders of those packages, by where they are: a plugin may lie in a folder of the same name."""
    specs = filter(None, map(importlib.util.find_spec, OUTSIDE))
    return tuple(Path(spec.origin).parent for spec in specs if spec.origin)
