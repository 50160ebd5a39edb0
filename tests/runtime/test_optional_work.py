"""Work that a run can do without."""

from __future__ import annotations

import pytest

from sslkit.errors import PluginError
from sslkit.runs.run_loggers import Loggers, open_loggers
from sslkit.runtime.optional_work import LONGEST, component, optional
from sslkit.specs.load import parse
from sslkit_loggers.specs import TensorBoard
from tests import tiny


def test_what_works_says_nothing():
    lines = []
    with optional("drawing", lines.append):
        lines.append("drawn")
    assert lines == ["drawn"]


def test_an_error_becomes_one_line():
    lines = []
    with optional("figure a.png", lines.append):
        raise ValueError("two\nlines   of text")
    assert lines == ["figure a.png failed: ValueError: two lines of text"]
    with optional("it", lines.append):
        raise ValueError("x" * 1000)
    assert len(lines[1]) == LONGEST + len("it failed: ValueError: ")
    assert lines[1].endswith("x...")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_wants_to_leave_leaves(error):
    with pytest.raises(error), optional("drawing", pytest.fail):
        raise error


def test_a_component_is_named_with_its_plugin_and_its_parts():
    run = parse(tiny.fields())
    assert component(run.backbone) == "backbone 'vit' (plugin sslkit:backbones)"
    assert component(run.terms["mae"]) == (
        "objective 'mae' (plugin sslkit:objectives) with masker 'random' (plugin sslkit:maskers), "
        "target 'normalized_pixel' (plugin sslkit:targets)"
    )


class Deaf:
    """Fails at everything."""

    def __getattr__(self, name):
        def fail(*args):
            raise OSError(name)

        return fail


def test_one_logger_that_fails_does_not_keep_the_others_from_hearing(tmp_path):
    heard, told = [], []

    class Hearing:
        def __getattr__(self, name):
            return lambda *args: heard.append((name, args))

    loggers = Loggers({"deaf": Deaf(), "hearing": Hearing()}, told.append)
    for step in (1, 2):
        loggers.metrics(step, {"loss": 1.0})
    loggers.figures(2, [tmp_path / "a.png", tmp_path / "b.png"])
    loggers.saved(2, tmp_path)
    loggers.close()
    assert [name for name, _ in heard] == ["metrics", "metrics", "figure", "figure", "saved", "close"]
    assert heard[3] == ("figure", (2, "b", tmp_path / "b.png"))
    assert [line.partition(" failed")[0] for line in told] == [
        "deaf: metrics",
        "deaf: figure",
        "deaf: saved",
        "deaf: close",
    ]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PluginError("is not installed"), r"^log\.loggers\.1: is not installed$"),
        (
            ConnectionError("no answer"),
            r"^log\.loggers\.1: logger 'tensorboard' \(plugin sslkit:loggers\) cannot be started: "
            r"ConnectionError: no answer\. Mend that, or leave the logger out$",
        ),
    ],
)
def test_a_logger_that_cannot_be_started_is_named_before_anything_is_trained(
    tmp_path, monkeypatch, error, message
):
    original, calls = TensorBoard.build, []

    def build(self, run_dir, name):
        calls.append(name)
        if len(calls) == 2:
            raise error
        return original(self, run_dir, name)

    monkeypatch.setattr(TensorBoard, "build", build)
    with pytest.raises(PluginError, match=message):
        open_loggers([TensorBoard(), TensorBoard(folder="other")], tmp_path, "run", pytest.fail)
