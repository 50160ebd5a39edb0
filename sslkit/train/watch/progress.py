"""Progress display: a live bar on a terminal, one updating line in a notebook, else log lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from sslkit.train.watch.notebook import UpdatingLine

SMOOTHING = 0.6
"""Share of the shown loss that a new record leaves; the records themselves are not smoothed."""
REDRAW_EVERY = 0.1
"""Seconds between changes of the bar, which is as often as rich draws it."""
NOTEBOOK_EVERY = 1.0
"""Seconds between changes of the line in a notebook, each of which is a message to the browser."""
LINE_EVERY = 10.0
"""Seconds between log lines where there is no terminal."""


@final
class Progress:
    """Progress of one run; a context manager. Ranks other than the first are silent: `enabled=False`."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        enabled: bool = True,
        line_every: float = LINE_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is shown before `start`.

        Args:
            console: where to write. Default: standard error.
            enabled: whether to write at all.
            line_every: seconds between log lines where the console is no terminal.
            clock: time in seconds.
        """
        self._console = console or Console(stderr=True)
        self._enabled, self._clock = enabled, clock
        self._live = enabled and self._console.is_terminal and not self._console.is_jupyter
        self._line = UpdatingLine() if enabled and self._console.is_jupyter else None
        self._every = REDRAW_EVERY if self._live else NOTEBOOK_EVERY if self._line else line_every
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._total = self._first = self._step = 0
        self._epoch = 0.0
        self._began = self._shown = clock()
        self._current = True
        self._loss: float | None = None
        self._printed = ""
        self._values: dict[str, float] = {}
        self._headlines: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._current:
            self._show()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def expect(self, total: int, done: int) -> None:
        """A run of `total` steps will begin at step `done`, of which an evaluation may still be owed."""
        self._total, self._first, self._step = total, done, done

    def start(self, total: int, done: int) -> None:
        """A run of `total` steps begins at step `done`, which is above 0 where it resumes."""
        self.expect(total, done)
        self._began = self._clock()
        self._shown = self._began - self._every  # the first step shows at once
        if self._live:
            self._bar = bar(self._console)
            self._task = self._bar.add_task("", total=total, completed=done, text="")
            self._bar.start()

    def update(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """`step` steps are done, in `epoch`. `values` may hold `loss`, `lr`, `images_per_s`, old or new."""
        self._step, self._epoch, self._current = step, epoch, False
        if "loss" in values and values["loss"] != self._values.get("loss"):
            old = values["loss"] if self._loss is None else self._loss
            self._loss = SMOOTHING * old + (1 - SMOOTHING) * values["loss"]
        self._values.update(values)
        if step >= self._total or self._clock() - self._shown >= self._every:
            self._show()

    def note(self, text: str) -> None:
        """Print `text` as it is, above the bar."""
        if self._enabled:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print `text` as a warning."""
        self.note(f"warning: {text}")

    def evaluated(self, label: str, metrics: Mapping[str, float]) -> None:
        """An evaluation ended: print its metrics, and keep the first in view from now on."""
        every = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.note(f"step {self._step:,}  {label}: {every}")
        headline = next(iter(metrics.values()), None)
        if headline is not None:
            self._headlines[label] = f"{label} {headline:.3f}"
            self._current = self._current and not self._live

    def _show(self) -> None:
        self._shown, self._current = self._clock(), True
        if self._bar is not None:
            self._bar.update(self._task, completed=self._step, text=self._text())
            return
        text = f"step {self._step:,}/{self._total:,}  epoch {self._epoch:.2f}  {self._text()}".rstrip()
        if self._line is not None:
            self._line.show(text)
        elif text != self._printed:
            self.note(text)
        self._printed = text

    def _text(self) -> str:
        """Everything but the step."""
        parts = [] if self._loss is None else [f"smoothed loss {self._loss:.4f}"]
        if "lr" in self._values:
            parts.append(f"lr {self._values['lr']:{'.1e' if self._live else '.2e'}}")  # a bar has little room
        if "images_per_s" in self._values:
            parts.append(f"{self._values['images_per_s']:,.0f} img/s")
        if self._step > self._first:
            pace = (self._clock() - self._began) / (self._step - self._first)  # evaluations included
            parts.append(f"{duration(pace * (self._total - self._step))} left")
        return "  ".join([*parts, *self._headlines.values()])


def duration(seconds: float) -> str:
    """`seconds` for people: `3 d 2 h`, `1:02:03` or `2:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def bar(console: Console) -> Bar:
    """The numbers keep their line: on a narrow terminal the bar gives way."""
    return Bar(
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
    )
