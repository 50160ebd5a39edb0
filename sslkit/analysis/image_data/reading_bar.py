"""Progress of reading images: a bar on a terminal, else a log line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import Progress as Bar

from sslkit.train.watch.progress import LINE_EVERY, bar, duration


@final
class ReadingBar:
    """How many images of how many are read; a context manager. It writes to standard error."""

    def __init__(
        self,
        title: str,
        console: Console | None = None,
        line_every: float = LINE_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`title`: what is being done; `line_every`: seconds between log lines where there is no terminal."""
        self._title, self._every, self._clock = title, line_every, clock
        self._console = console or Console(stderr=True)
        self._bar: Bar | None = bar(self._console) if self._console.is_terminal else None
        self._task = None if self._bar is None else self._bar.add_task("", text=title)
        self._began = self._shown = clock()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """`done` of `total` images are read."""
        now = self._clock()
        rate = done / max(now - self._began, 1e-9)
        text = f"{self._title}  {rate:,.0f} img/s  {duration((total - done) / rate)} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, text=text)
        elif now - self._shown >= self._every:
            self._shown = now
            self._console.print(f"{done:,}/{total:,}  {text}", markup=False, highlight=False, soft_wrap=True)
