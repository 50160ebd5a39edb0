from __future__ import annotations

import re
import sys
from io import StringIO
from types import ModuleType

import pytest
from rich.console import Console

from sslkit.train.watch.progress import Progress, duration


class Clock:
    """Seconds that the test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def made(terminal: bool, width: int = 120, **options):
    file, clock = StringIO(), Clock()
    console = Console(file=file, force_terminal=terminal, width=width, _environ={})
    return Progress(console, clock=clock, **options), file, clock


def lines(file) -> list[str]:
    return file.getvalue().splitlines()


def run(progress, clock, steps: int, seconds: float, total: int | None = None):
    """`steps` steps of `seconds` each."""
    for step in range(1, steps + 1):
        clock.now += seconds
        progress.update(step, step / 4, {"loss": 1 / step, "lr": 0.00015, "images_per_s": 1234.6})


def test_log_lines_are_few_and_hold_everything():
    progress, file, clock = made(terminal=False, line_every=10)
    with progress:
        progress.start(20, 0)
        run(progress, clock, 20, 2.0)
    steps = [int(re.match(r"step (\d+)/20", line)[1]) for line in lines(file)]
    assert steps == [1, 6, 11, 16, 20]
    assert (
        lines(file)[1] == "step 6/20  epoch 1.50  smoothed loss 0.2831  lr 1.50e-04  1,235 img/s  0:28 left"
    )
    assert lines(file)[-1].endswith("0:00 left")
    assert "\x1b" not in file.getvalue()


def test_last_line_is_printed_when_a_run_is_stopped():
    progress, file, clock = made(terminal=False)
    with pytest.raises(KeyboardInterrupt), progress:  # noqa: PT012
        progress.start(1000, 0)
        run(progress, clock, 3, 0.5)
        raise KeyboardInterrupt
    assert [line.split()[1] for line in lines(file)] == ["1/1,000", "3/1,000"]


def test_nothing_is_said_twice():
    progress, file, clock = made(terminal=False)
    with progress:
        progress.start(2, 0)
        run(progress, clock, 2, 0.5)
    assert len(lines(file)) == 2


def test_the_last_line_is_not_repeated_before_the_last_evaluation():
    progress, file, clock = made(terminal=False)
    with progress:
        progress.start(2, 0)
        run(progress, clock, 2, 0.5)
        progress.update(2, 0.5, {"loss": 0.5, "lr": 0.00015, "images_per_s": 1234.6})
        progress.evaluated("knn", {"accuracy": 0.5})
    assert [line.split("  ")[0] for line in lines(file)] == ["step 1/2", "step 2/2", "step 2"]


def test_evaluations_are_printed_and_remembered():
    progress, file, clock = made(terminal=False, line_every=0)
    with progress:
        progress.start(2, 0)
        run(progress, clock, 1, 1.0)
        progress.evaluated("knn", {"accuracy": 0.89352, "top5": 0.99})
        progress.evaluated("knn", {"accuracy": 0.9, "top5": 0.99})
        progress.evaluated("empty", {})
        progress.update(2, 0.5, {})
    assert lines(file)[1] == "step 1  knn: accuracy 0.8935  top5 0.99"
    assert lines(file)[-1].endswith("0:00 left  knn 0.900")


def test_time_left_counts_from_where_a_run_resumed():
    progress, file, clock = made(terminal=False)
    with progress:
        progress.start(1000, 900)
        clock.now += 5
        progress.update(910, 1.0, {})
    assert lines(file) == ["step 910/1,000  epoch 1.00  0:45 left"]


def test_an_evaluation_that_is_owed_is_of_a_run_of_that_many_steps():
    """It comes before the first step of a run that goes on, and was said to be of step 900 of 0, with no time left."""
    progress, file, clock = made(terminal=False)
    with progress:
        progress.expect(1000, 900)
        clock.now += 60
        progress.update(900, 9.0, {})
        progress.evaluated("knn", {"accuracy": 0.5})
        progress.start(1000, 900)
        clock.now += 5
        progress.update(910, 9.1, {})
    assert lines(file)[0] == "step 900/1,000  epoch 9.00"
    assert lines(file)[-1] == "step 910/1,000  epoch 9.10  0:45 left  knn 0.500"


def test_only_new_losses_are_smoothed():
    progress, file, clock = made(terminal=False, line_every=0)
    with progress:
        progress.start(4, 0)
        for step, loss in enumerate((2.0, 1.0, 1.0, 1.0), start=1):
            clock.now += 1
            progress.update(step, 0, {"loss": loss})
    assert [re.search(r"loss ([\d.]+)", line)[1] for line in lines(file)] == ["2.0000"] + ["1.6000"] * 3


def test_notes_are_printed_as_they_are():
    progress, file, _ = made(terminal=False, width=20)
    progress.note("saved [bold]runs/a[/bold]/checkpoints/step-00000010 in 0.25 s")
    assert lines(file) == ["saved [bold]runs/a[/bold]/checkpoints/step-00000010 in 0.25 s"]


@pytest.mark.parametrize("terminal", [True, False])
def test_other_ranks_are_silent(terminal):
    progress, file, clock = made(terminal=terminal, enabled=False)
    with progress:
        progress.start(5, 0)
        run(progress, clock, 5, 20.0)
        progress.note("text")
        progress.evaluated("knn", {"accuracy": 0.5})
    assert file.getvalue() == ""


def plain(file) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


@pytest.mark.parametrize("width", [80, 160])
def test_bar_shows_everything_in_one_line(width):
    progress, file, clock = made(terminal=True, width=width)
    with progress:
        progress.start(1500, 0)
        run(progress, clock, 3, 1.0)
        progress.evaluated("knn", {"accuracy": 0.893})
    last = plain(file).rstrip("\n").split("\n")[-1].split("\r")[-1].strip()
    assert re.match(
        r"\s*3/1500 .*━.* smoothed loss 0\.6133  lr 1\.5e-04  1,235 img/s  24:57 left  knn 0\.893$", last
    )
    assert "step 3  knn: accuracy 0.893" in plain(file)


class Displayed:
    """What IPython's `display` was asked for: the outputs of a cell, as they are now."""

    def __init__(self):
        self.outputs: list[str] = []

    def display(self, *contents, raw=False, display_id=False, **options):
        text = contents[0]["text/plain"] if raw else ""
        self.outputs.append(text)
        return Handle(self.outputs, len(self.outputs) - 1) if display_id else None


class Handle:
    """Of one output."""

    def __init__(self, outputs, place):
        self.outputs, self.place = outputs, place

    def update(self, content, raw=False):
        self.outputs[self.place] = content["text/plain"]


def test_in_a_notebook_one_line_is_updated(monkeypatch):
    """Each printed line would be an output of its own, and a long run would fill the page."""
    shown = Displayed()
    fake = ModuleType("IPython.display")
    fake.display = shown.display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    clock = Clock()
    progress = Progress(Console(file=StringIO(), force_jupyter=True, width=120), clock=clock)
    with progress:
        progress.start(20, 0)
        run(progress, clock, 20, 2.0)
    assert len(shown.outputs) == 1
    assert shown.outputs[0].startswith("step 20/20  epoch 5.00  smoothed loss 0.")
    assert "0:00 left" in shown.outputs[0]


def test_bar_starts_where_a_run_resumed_and_stops_with_it():
    progress, file, clock = made(terminal=True)
    with pytest.raises(RuntimeError), progress:  # noqa: PT012
        progress.start(10, 7)
        clock.now += 1
        progress.update(8, 1.0, {"loss": 1.0})
        raise RuntimeError
    assert " 7/10" in plain(file)
    assert " 8/10" in plain(file)
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_bar_is_redrawn_no_more_often_than_it_is_seen():
    progress, file, clock = made(terminal=True)
    with progress:
        progress.start(1000, 0)
        for step in range(1, 500):
            clock.now += 0.001
            progress.update(step, 0, {"loss": float(step)})
        shown = progress._bar.tasks[0].completed
    assert 400 <= shown < 499
    assert "499/1000" in plain(file)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (123, "2:03"),
        (3723, "1:02:03"),
        (172_799, "47:59:59"),
        (266_400, "3 d 2 h"),
        (-1, "0:00"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
