"""What is known of the shards of a pack."""

from __future__ import annotations

import json

import pytest

from sslkit.analysis.packing.pack_plan import Plan
from sslkit.analysis.packing.pack_record import CLASSES, JOURNAL, MANIFEST, PackRecord
from sslkit.analysis.packing.shard_writer import LeftOut, Written
from sslkit.errors import CheckpointError

PLAN = Plan({"train": "a"}, {"train": 5}, True, 0, 2)
FIRST = Written("train-000000.tar", "train", 2, 10, "ab", ())
SECOND = Written("train-000001.tar", "train", 1, 12, "cd", (LeftOut("x.jpg", "x.jpg: cannot be read"),))


@pytest.fixture
def record(tmp_path):
    return PackRecord(tmp_path, PLAN)


def on_disk(folder, *shards):
    """Files of the sizes that are written down."""
    for one in shards:
        (folder / one.name).write_bytes(bytes(one.bytes))


def test_a_new_folder_has_no_shards_and_a_journal_of_the_plan(record, tmp_path):
    assert record.begin() == {}
    (line,) = (tmp_path / JOURNAL).read_text().splitlines()
    assert json.loads(line) == PLAN.as_json()


def test_shards_that_were_added_are_there_the_next_time(record, tmp_path):
    record.begin()
    for one in (FIRST, SECOND):
        on_disk(tmp_path, one)
        record.add(one)
    assert PackRecord(tmp_path, PLAN).begin() == {FIRST.name: FIRST, SECOND.name: SECOND}


@pytest.mark.parametrize("content", [None, b"", bytes(9), bytes(11)])
def test_a_shard_of_another_size_is_missing(content, record, tmp_path):
    record.begin()
    record.add(FIRST)
    if content is not None:
        (tmp_path / FIRST.name).write_bytes(content)
    assert PackRecord(tmp_path, PLAN).begin() == {}


def test_the_manifest_takes_the_place_of_the_journal(record, tmp_path):
    record.begin()
    on_disk(tmp_path, FIRST, SECOND)
    record.finish([FIRST, SECOND], ["ant", "bee"])
    assert not (tmp_path / JOURNAL).exists()
    assert (tmp_path / CLASSES).read_text() == "ant\nbee\n"
    content = json.loads((tmp_path / MANIFEST).read_text())
    assert {name: content[name] for name in PLAN.as_json()} == PLAN.as_json()
    assert content["shards"][1]["left_out"] == [{"name": "x.jpg", "reason": "x.jpg: cannot be read"}]
    assert PackRecord(tmp_path, PLAN).begin() == {FIRST.name: FIRST, SECOND.name: SECOND}


def test_without_classes_no_file_names_them(record, tmp_path):
    record.begin()
    record.finish([], [])
    assert not (tmp_path / CLASSES).exists()
    assert json.loads((tmp_path / MANIFEST).read_text())["shards"] == []


@pytest.mark.parametrize(
    ("plan", "differs"),
    [
        (PLAN._replace(seed=1), "seed"),
        (PLAN._replace(shuffled=False), "order"),
        (PLAN._replace(images={"train": 6}, fingerprints={"train": "b"}), "fingerprints, images"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_plan_is_refused_by_what_differs(plan, differs, finished, record, tmp_path):
    record.begin()
    if finished:
        record.finish([], [])
    with pytest.raises(CheckpointError, match=rf"holds another pack \(by {differs}\); name another folder"):
        PackRecord(tmp_path, plan).begin()


@pytest.mark.parametrize("line", ['{"name": "train-0', "{}", "[1, 2]", '{"name": 3}', ""])
def test_a_damaged_line_of_the_journal_costs_its_shard_alone(line, record, tmp_path):
    record.begin()
    on_disk(tmp_path, FIRST, SECOND)
    record.add(FIRST)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(f"{line}\n")
    record.add(SECOND)
    assert list(PackRecord(tmp_path, PLAN).begin()) == [FIRST.name, SECOND.name]


def test_an_empty_journal_is_begun_again(record, tmp_path):
    (tmp_path / JOURNAL).touch()
    assert record.begin() == {}
    assert json.loads((tmp_path / JOURNAL).read_text()) == PLAN.as_json()


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_damaged_manifest_is_told(text, record, tmp_path):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=r"shards\.json: is damaged.*remove it to begin anew"):
        record.begin()


@pytest.mark.parametrize("shards", ["3", '[{"name": 3}]', '{"a": 1}'])
def test_a_manifest_of_other_shards_is_told(shards, record, tmp_path):
    plan = json.dumps(PLAN.as_json())[:-1]
    (tmp_path / MANIFEST).write_text(f'{plan}, "shards": {shards}}}')
    with pytest.raises(CheckpointError, match=r"shards\.json: is damaged.*remove it to begin anew"):
        record.begin()
