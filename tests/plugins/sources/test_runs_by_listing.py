"""Whole runs on drawn splits and listings: training, evaluators, the commands on data, the conformance kit."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sslkit import Folder
from sslkit.cli.main import OK, USER_ERROR
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.shared_images import require_unseen
from sslkit.specs.load import parse_as
from sslkit.testing import check_spec
from sslkit.train.launch import train
from sslkit_evaluators.specs.probes import KNN
from tests import tiny
from tests.cli.specs import call
from tests.plugins.sources.test_folder import write

PATIENTS, EACH = 12, 3
SPLIT = {"test": 0.3, "by": "group", "seed": 4}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A flat folder of the images of twelve patients, and what is known of them."""
    rows = ["file;diagnosis;patient;scanner"]
    for i in range(PATIENTS * EACH):
        write(tmp_path / "scans" / f"{i:02d}.png", i, "L")
        rows.append(f"{i:02d}.png;{'tumor' if i % 2 else 'none'};p{i % PATIENTS};{'AB'[i // 18]}")
    (tmp_path / "scans.csv").write_text("\n".join(rows))
    return tmp_path / "scans"


@pytest.fixture
def data(root: Path) -> Folder:
    columns = {"path": "file", "label": "diagnosis", "group": "patient"}
    fields = {"listing": root.parent / "scans.csv", "columns": columns, "split": SPLIT}
    return parse_as(Folder, {"root": root, "channels": 1, **fields})


@pytest.fixture
def spec(data: Folder, tmp_path: Path) -> Path:
    """The fields of images alone."""
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({"data": data.model_dump(mode="json"), "workers": 0}))
    return path


def patients(data: Folder, split: str) -> set[int]:
    source = data.build(split)
    return {int(Path(source.name(i)).stem) % PATIENTS for i in range(len(source))}


def test_no_patient_is_on_both_sides(data: Folder) -> None:
    train_side, test_side = (patients(data, split) for split in ("train", "test"))
    assert train_side | test_side == set(range(PATIENTS))
    assert not train_side & test_side


def test_a_run_trains_evaluates_and_probes(data: Folder, tmp_path: Path) -> None:
    evaluate = [{"kind": "knn", "k": 1}, {"kind": "probing", "learning_rates": [0.1], "epochs": 1}]
    fields = {"evaluate": evaluate, "batch_size": 8, "steps": 2, "checkpoint": {"every": "1 steps"}}
    run = tiny.spec(tmp_path / "run", data=data.model_dump(), **fields)
    train(run, [].append)
    table = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.json*"))
    for name in ("scanner_accuracy", "class_accuracy", "knn"):
        assert name in table
    again = yaml.safe_load(yaml.safe_dump(run.model_dump(mode="json")))
    assert tiny.parse(again) == run, "what is written is what is read"


def test_workers_read_the_same_images(data: Folder, tmp_path: Path) -> None:
    weights = []
    for workers in (0, 1):
        out = tmp_path / str(workers)
        train(tiny.spec(out, data=data.model_dump(), batch_size=8, steps=2, workers=workers), [].append)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        weights.append([yaml.safe_load(line)["loss"] for line in lines if '"loss"' in line])
    assert weights[0] == weights[1]
    assert len(weights[0]) == 2


def test_stats_counts_both_splits_and_their_classes(spec: Path, data: Folder, capsys) -> None:
    code, out, err = call(capsys, "data", "stats", spec)
    assert (code, err) == (OK, "")
    counts = [len(data.build(split)) for split in ("train", "test")]
    assert f"images      {counts[0]} train, {counts[1]} test" in out
    assert sum(counts) == PATIENTS * EACH
    for split in ("train", "test"):
        labels = data.build(split).labels.tolist()
        assert f"classes     {split}: none {labels.count(0)}, tumor {labels.count(1)}" in out


def test_check_reads_both_splits(spec: Path, data: Folder, capsys) -> None:
    code, out, _ = call(capsys, "data", "check", spec)
    assert code == OK
    for split in ("train", "test"):
        count = len(data.build(split))
        assert f"{split + ':':<12}{count} of {count} images decoded" in out


def test_a_fault_of_a_listing_is_one_line_and_no_traceback(spec: Path, root: Path, capsys) -> None:
    table = root.parent / "scans.csv"
    table.write_text(table.read_text().replace("03.png", "../03.png"))
    code, out, err = call(capsys, "data", "stats", spec)
    assert (code, out) == (USER_ERROR, "")
    assert err.startswith(f"error: {table}: line 5: names '../03.png', which does not lie below {root}; ")
    assert "Traceback" not in err


@pytest.mark.parametrize("way", ["listing", "drawn", "by folder", "text", "stated"])
def test_the_kit_passes(way: str, data: Folder, root: Path) -> None:
    for i in range(8):
        for label in ("a", "b"):
            write(root.parent / "classes" / label / f"p{i}" / f"{i}.png", 100 * i + ord(label))
    names = [f"{label}/p{i}/{i}.png" for label in ("a", "b") for i in range(8)]
    (root.parent / "some.txt").write_text("\n".join(names[::2]))
    stated = [f"{name},{name[0]},{'test' if i % 3 == 0 else 'train'}" for i, name in enumerate(names)]
    (root.parent / "stated.csv").write_text("\n".join(["path,label,split", *stated]))
    classes, split = root.parent / "classes", {"test": 0.5, "seed": 3}
    specs = {
        "listing": lambda: data,
        "drawn": lambda: Folder(root=classes, split=split),
        "by folder": lambda: Folder(root=classes, split={**split, "by": "folder"}),
        "text": lambda: Folder(root=classes, listing=root.parent / "some.txt", split=split),
        "stated": lambda: Folder(root=classes, listing=root.parent / "stated.csv"),
    }
    report = check_spec(specs[way]())
    assert report.passed, "\n".join(report.lines())


def test_equal_files_on_both_sides_are_refused(data: Folder, root: Path) -> None:
    evaluators = {0: KNN(k=1)}
    assert require_unseen(evaluators, data, Sources(), 0.0, data.build("train")) == []
    tested = data.build("test").name(0)
    for number in patients(data, "train"):
        (root / f"{number:02d}.png").write_bytes((root / tested).read_bytes())
    shared = require_unseen(evaluators, data, Sources(), 1.0, data.build("train"))
    assert [line for line in shared if "test images are training images too" in line]


@pytest.mark.parametrize(("old", "new"), [("tumor", "growth"), (";A", ";C"), (";p1", ";q1")])
def test_a_changed_table_is_other_data(data: Folder, root: Path, old: str, new: str) -> None:
    table, before = root.parent / "scans.csv", data.build("train").fingerprint
    text = table.read_text()
    table.write_text(text.replace(old, new))
    assert data.build("train").fingerprint != before
    table.write_text(text)
    assert data.build("train").fingerprint == before
