"""JSON of a shape: what fits is read as it is, and everything else is refused in words."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, NotRequired, final

import pytest
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from sslkit.errors import CheckpointError, DataError
from sslkit.files.typed_json import DEEPEST, JsonFile, NotEmpty, Number, Whole, require_shallow
from tests.damage import damaged_json, read_or_refused


@final
class Shape(TypedDict):
    step: Whole
    best: Annotated[dict[str, Number | None], NotEmpty]
    note: NotRequired[str]
    more: NotRequired[list[dict[str, Any]]]


FILE = JsonFile(TypeAdapter(Shape), CheckpointError, "make it again")
GOOD = {"step": 3, "best": {"a": 0.5, "b": 7, "c": None}, "note": "x", "more": [{"y": [1, {"z": True}]}]}


def test_what_fits_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    value = FILE.read(tmp_path / "a.json")
    assert value == GOOD
    assert list(map(type, value["best"].values())) == [float, int, type(None)], "whole numbers stay whole"
    large = FILE.parse('{"step": 9007199254740993, "best": {"a": 10000000000000000000000, "b": NaN}}', "x")
    assert (large["step"], large["best"]["a"]) == (2**53 + 1, 10**22)
    assert math.isnan(large["best"]["b"]), "what Python wrote, it reads"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON: Expecting value at line 1, column 1"),
        ('{"step": 1', "is not JSON: Expecting ',' delimiter at line 1, column 11"),
        ("[]", "should be a mapping, found []"),
        ("{}", "`step` is missing"),
        ('{"step": 1}', "`best` is missing"),
        ('{"step": 1, "best": {}}', "`best` should have at least one entry, found {}"),
        ('{"step": "1", "best": {"a": 1}}', "`step` should be a whole number, found '1'"),
        ('{"step": true, "best": {"a": 1}}', "`step` should be a whole number, found True"),
        ('{"step": -1, "best": {"a": 1}}', "`step` should be greater than or equal to 0, found -1"),
        ('{"step": 1, "best": {"a": "2"}}', "`best.a` should be a number, found '2'"),
        ('{"step": 1, "best": {"a": false}}', "`best.a` should be a number, found False"),
        ('{"step": 1, "best": {"a": 1%s}}' % ("0" * 400), "`best.a` should be a number, found 1000"),
        ('{"step": 1, "best": {"a": %s}}' % ("9" * 5000), "is not JSON that can be read: Exceeds the limit"),
        ('{"step": 1, "step": 2, "best": {"a": 1}}', "is not JSON that can be read: key 'step' is there twice"),
        ('{"step": 1, "best": {"a": 1}, "note": 5}', "`note` should be text, found 5"),
        ('{"step": 1, "best": {"a": 1}, "more": [{}, 2]}', "`more.1` should be a mapping, found 2"),
        ("[" * 20_000, f"is nested deeper than {DEEPEST} levels"),
        ("[" * 200 + "]" * 200, f"is nested deeper than {DEEPEST} levels"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(
        CheckpointError, match=rf"^x\.json: is damaged: {re.escape(message)}.*; make it again$"
    ):
        FILE.parse(text, "x.json")


def test_files_that_people_write_are_not_called_damaged() -> None:
    with pytest.raises(DataError, match=r"^t: should be a mapping, found 1; write it anew$"):
        JsonFile(TypeAdapter(Shape), DataError, "write it anew", verdict="").parse("1", "t")


def test_long_names_and_values_are_cut() -> None:
    with pytest.raises(CheckpointError) as caught:
        FILE.parse(json.dumps({"step": 1, "best": {"k" * 10_000: "v" * 10_000}}), "x")
    assert len(str(caught.value)) < 300


def test_depth_is_that_of_lists_and_mappings_together() -> None:
    value: object = 0
    for i in range(DEEPEST):
        value = [value] if i % 2 else {"a": value}
    require_shallow(value)
    with pytest.raises(RecursionError):
        require_shallow([value])


def test_damage_of_every_kind_is_read_right_or_refused(tmp_path: Path) -> None:
    path, refused = tmp_path / "a.json", 0
    for damage in damaged_json(GOOD, seed=5, tries=300):
        path.write_bytes(damage.data)
        outcome = read_or_refused(lambda: FILE.read(path))
        if isinstance(outcome, str):
            refused += 1
            assert outcome.startswith(f"{path}: is damaged"), damage.name
        else:
            assert type(outcome["step"]) is int, damage.name
            assert outcome["best"], damage.name
    assert 150 < refused < 300
