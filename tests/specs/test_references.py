"""References to views and nets: found in annotations, looked up for every spec, refused with what is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, final

import pytest

from sslkit.core.problem import Problem
from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.check import check
from sslkit.specs.load import parse_as
from sslkit.specs.references import AverageName, NetName, Reference, ViewName, dangling, named, references
from sslkit.specs.run import RunSpec

FIELDS = {
    "data": {"kind": "digits"},
    "views": {"global": {"size": 8}},
    "backbone": {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4},
    "objective": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}},
    "batch_size": 32,
    "steps": 8,
}
TWO = {"global": {"size": 8}, "local": {"size": 4}}
FROZEN = {"backbone": {"kind": "vit", "patch": 4, "width": 8, "depth": 1, "heads": 1}}


@final
class Reader(Spec):
    """Names something in every way."""

    view: ViewName = "global"
    local: ViewName | None = None
    more: tuple[ViewName, ...] = ()
    net: NetName = "student"
    teacher: AverageName = "teacher"
    keys: Annotated[AverageName, Reference("average", student=True, settings="{momentum: 0.99}")] = "student"
    plain: str = "nowhere"

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield Problem("plain", f"a view of {run.views[self.view].size} pixels")


def run(**fields: object) -> RunSpec:
    data = {**FIELDS, "views": TWO, "nets": {"teacher": {}, "clip": FROZEN}, **fields}
    return parse_as(RunSpec, data)


def messages(**fields: object) -> dict[str, str]:
    return {problem.path: problem.message for problem in dangling(Reader(**fields), run())}


def test_the_marks_are_read_off_the_annotations() -> None:
    marks = references(Reader)
    assert {name: mark.to for name, mark in marks.items()} == {
        "view": "view", "local": "view", "more": "view", "net": "net", "teacher": "average", "keys": "average",
    }  # fmt: skip
    assert marks["keys"].settings == "{momentum: 0.99}", "the field's own mark counts"
    assert named(Reader(local="local", more=("a", "b")), "view") == {"global", "local", "a", "b"}


def test_what_is_there_is_no_problem() -> None:
    assert messages(local="local", more=("global", "local"), net="clip", keys="teacher") == {}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"view": "globl"}, "view", "'globl' is not a view of this run. Did you mean 'global'? Known: global, local."),
        ({"view": "x"}, "view", "'x' is not a view of this run. Known: global, local."),
        ({"local": "x"}, "local", "'x' is not a view of this run. Known: global, local. Or set `local` to null."),
        ({"more": ("global", "x")}, "more.1", "'x' is not a view of this run. Known: global, local."),
        ({"net": "techer"}, "net", "'techer' is not a net of this run. Did you mean 'teacher'? "
         "Known: clip, student, teacher."),
        (
            {"net": "x"},
            "net",
            "'x' is not a net of this run. Known: clip, student, teacher. Add it: `nets: {x: {}}`, a moving average, "
            "or with `{x: {backbone: ...}}` a frozen network. Or `towers: {x: ...}`, trained beside `backbone`.",
        ),
        (
            {"teacher": "x"},
            "teacher",
            "'x' is not a moving average of this run. Known: teacher. Add it: "
            "`nets: {x: {momentum: {start: 0.996, end: 1.0}}}`.",
        ),
        ({"teacher": "student"}, "teacher", "'student' is not a moving average of this run. Known: teacher."),
        ({"keys": "clip"}, "keys", "'clip' is a frozen network, not a moving average of this run; leave out "
         "`nets.clip.backbone`."),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_what_is_known(
    fields: dict[str, object], path: str, message: str
) -> None:
    assert messages(**fields) == {path: message}


def test_a_spec_is_asked_for_problems_only_where_its_references_hold() -> None:
    """Its own checks look them up: `run.views[self.view]`."""
    objective = {"kind": "dino", "view": "gloabl", "local": None}
    with pytest.raises(SpecError, match="Did you mean 'global'") as caught:
        check(run(objective=objective))
    assert "objective.view" in str(caught.value)
    with pytest.raises(SpecError, match="needs at least 2 crops"):
        check(run(objective={**objective, "view": "global"}))


@pytest.mark.parametrize(
    ("objective", "batch", "refused"),
    [
        ({"kind": "uniformity"}, 1, True),
        ({"kind": "uniformity"}, 2, False),
        ({"kind": "mae", "regularize": {}}, 1, True),
        ({"kind": "mae"}, 1, False),
    ],
)
def test_what_compares_images_needs_several(objective: dict[str, object], batch: int, refused: bool) -> None:
    spec = parse_as(RunSpec, {**FIELDS, "objective": objective, "batch_size": batch, "evaluate": []})
    message = ""
    try:
        check(spec)
    except SpecError as error:
        message = str(error)
    assert (f"needs at least 2 in a batch, found {batch}; raise `batch_size`" in message) == refused


@pytest.mark.parametrize(
    ("batch", "micro", "ranks", "images"), [(8, None, 1, 8), (8, None, 2, 4), (8, 2, 2, 2), (1, None, 2, 1)]
)
def test_images_per_forward_know_micro_batches_and_ranks(
    batch: int, micro: int | None, ranks: int, images: int
) -> None:
    assert run(batch_size=batch, micro_batch_size=micro).images_per_forward(ranks) == images
