"""Progress of reading."""

from __future__ import annotations

import io

from rich.console import Console

from sslkit.analysis.image_data.reading_bar import ReadingBar


def test_without_a_terminal_there_is_a_line_now_and_then():
    written, times = io.StringIO(), iter([0.0, 4.0, 10.0, 12.0, 25.0])
    bar = ReadingBar("reading", Console(file=written), line_every=10, clock=lambda: next(times))
    with bar:
        for done in (100, 200, 300, 400):
            bar.update(done, 1000)
    assert written.getvalue().splitlines() == [
        "200/1,000  reading  20 img/s  0:40 left",
        "400/1,000  reading  16 img/s  0:38 left",
    ]


def test_a_terminal_has_a_bar_that_ends():
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    with ReadingBar("reading", console) as bar:
        bar.update(5, 10)
        bar.update(10, 10)
    assert "10/10" in written.getvalue()
    assert "reading" in written.getvalue()
