"""What may change when a run is continued, and what must be there."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from sslkit.cli.main import OK, USER_ERROR
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.evaluate_network import evaluate_run
from sslkit.evaluate.export import export
from sslkit.evaluate.open_network import open_network
from sslkit.runs.allowed_changes import DATA, FREE
from sslkit.runs.lock import LOCK, read_lock, rewrite_lock
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from sslkit.specs.run import RunSpec
from sslkit.train import launch
from sslkit.train.launch import resume, train
from sslkit_backbones import timm_networks
from tests import tiny
from tests.cli.specs import call, write
from tests.conftest import ROOT
from tests.train.test_trainer import numbers, silent, stop_at


def stopped(spec, monkeypatch, step=4):
    """The folder of `spec`, stopped by a signal in `step`."""
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train(spec, silent)["step"] == step
    return spec.run_dir


@pytest.fixture
def cut(tmp_path, monkeypatch):
    return stopped(tiny.spec(tmp_path / "run"), monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was never stopped."""
    return train(tiny.spec(tmp_path_factory.mktemp("runs") / "whole"), silent)


VALUES = {
    "name": "other",
    "workers": 3,
    "resident": "0 GiB",
    "augment_on": "workers",
    "max_corrupt": 0.5,
    "max_duplicates": 0.5,
    "max_parts": 5,
    "log": {"every": 2, "flops": False},
    "checkpoint": {"every": "2 steps"},
    "evaluate": [{"kind": "knn", "k": 3}],
    "device": "auto",
    "compile": {"enabled": False},
    "parallel": "fsdp",
    "micro_batch_size": 8,
}
"""Another value of every field that may change."""


def test_every_free_field_is_tried_below():
    assert {*VALUES, "out"} == set(FREE)
    assert set(FREE) | {DATA} <= set(RunSpec.model_fields)


def starts(monkeypatch):
    """Specs with which runs go on, which they then do not."""
    seen = []
    monkeypatch.setattr(
        launch, "_run", lambda spec, loaded, parallel, say, lineage=None: seen.append((spec, loaded)) or {}
    )
    return seen


@pytest.mark.parametrize("field", VALUES)
def test_a_free_field_is_applied_by_run_and_by_resume(cut, monkeypatch, field):
    """`workers` and `name` were accepted and ignored."""
    seen, changed = starts(monkeypatch), tiny.spec(cut, **{field: VALUES[field]})
    train(changed, silent)
    resume(cut, silent, [f"{field}={yaml.safe_dump(VALUES[field], default_flow_style=True).splitlines()[0]}"])
    assert len(seen) == 2
    for spec, loaded in seen:
        assert getattr(spec, field) == getattr(changed, field) != getattr(tiny.spec(), field)
        assert loaded.step == 4


def test_what_changed_is_recorded_and_the_numbers_stay(cut, whole):
    said = []
    summary = resume(cut, said.append, ["workers=1", "name=second", "resident=0 GiB"])
    assert (summary["name"], summary["weights_sha256"]) == ("second", whole["weights_sha256"])
    assert "changed: workers: 0 -> 1" in said
    lock = read_lock(cut)
    assert (lock["spec"]["workers"], lock["spec"]["name"]) == (1, "second")
    (entry,) = lock["lineage"]
    assert (entry["step"], entry["data"]) == (4, {})
    assert entry["spec"] == {
        "name": {"then": "tiny", "now": "second"},
        "workers": {"then": 0, "now": 1},
        "resident": {"then": "2 GiB", "now": "0 GiB"},
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry["time"])


def test_a_run_that_goes_on_as_it_was_has_no_lineage(cut, whole):
    before = (cut / LOCK).read_bytes()
    assert resume(cut, silent)["weights_sha256"] == whole["weights_sha256"]
    assert (cut / LOCK).read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "seed=9",
        "optimizer.lr=0.5",
        "steps=9",
        "precision=bfloat16",
        "readout.pool=mean",
    ],
)
def test_any_other_field_makes_another_run(cut, capsys, change):
    before = (cut / LOCK).read_bytes()
    code, _, err = call(capsys, "resume", cut, change)
    assert code == USER_ERROR
    assert err.startswith(
        f"error: {change.split('=')[0].split('.')[0]}: cannot change when a run is continued"
    )
    assert f"May change: data, {', '.join(FREE)}" in err
    assert (cut / LOCK).read_bytes() == before
    fields = {"steps": 9} if change == "steps=9" else {"seed": 9}
    with pytest.raises(SpecError, match="holds a different run"):
        train(tiny.spec(cut, **fields), silent)


def test_a_finished_run_takes_no_further_evaluators(tmp_path):
    """They would be accepted and not run."""
    train(tiny.spec(tmp_path, steps=1), silent)
    assert train(tiny.spec(tmp_path, steps=1, workers=3, name="x"), silent)["step"] == 1
    with pytest.raises(SpecError, match="its evaluate differs"):
        train(tiny.spec(tmp_path, steps=1, evaluate=[{"kind": "knn"}]), silent)


def test_the_page_has_the_table():
    text = (ROOT / "docs" / "resume.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", text, flags=re.MULTILINE))
    assert {field: rows[field] for field in FREE} == dict(FREE)
    assert rows.keys() - FREE.keys() == {DATA}


# data that lie elsewhere


def pictures(root, count=24, level=0):
    """Two classes of gray images, each of its own level."""
    for i in range(count):
        path = root / f"class{i % 2}" / f"{i:03d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), level + i).save(path)
    return root


def on_files(out, root, **changes):
    data = {"kind": "folder", "root": str(root), "channels": 1}
    return tiny.spec(out, data=data, batch_size=8, **changes)


def test_data_that_moved_are_no_other_data(tmp_path, monkeypatch, capsys):
    uncut = train(on_files(tmp_path / "uncut", pictures(tmp_path / "old")), silent)
    run = stopped(on_files(tmp_path / "run", tmp_path / "old"), monkeypatch)
    (tmp_path / "old").rename(tmp_path / "new")
    code, _, err = call(capsys, "resume", run)
    assert code == USER_ERROR
    assert f"data.root: {tmp_path / 'old'}: no such folder" in err
    code, out, _ = call(capsys, "resume", run, f"data.root={tmp_path / 'new'}")
    assert code == OK
    assert f"changed: data.root: {tmp_path / 'old'} -> {tmp_path / 'new'}" in out
    assert yaml.safe_load((run / "summary.json").read_text())["weights_sha256"] == uncut["weights_sha256"]
    assert read_lock(run)["spec"]["data"]["root"] == str(tmp_path / "new")


def test_run_again_with_data_that_moved(tmp_path, monkeypatch):
    run = stopped(on_files(tmp_path / "run", pictures(tmp_path / "old")), monkeypatch)
    (tmp_path / "old").rename(tmp_path / "new")
    assert train(on_files(run, tmp_path / "new"), silent)["finished"]
    assert train(on_files(run, tmp_path / "new"), silent)["finished"], "and finished it stays"


def test_a_relative_root_from_another_folder(tmp_path, monkeypatch):
    pictures(tmp_path / "here" / "images")
    monkeypatch.chdir(tmp_path / "here")
    run = stopped(on_files(Path("run"), "images"), monkeypatch)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    assert resume(tmp_path / "here" / run, silent)["finished"]
    assert read_lock(tmp_path / "here" / run)["spec"]["data"]["root"] == "images", "as it was given"


def test_a_run_and_its_data_that_moved_together(tmp_path, monkeypatch):
    pictures(tmp_path / "here" / "images")
    monkeypatch.chdir(tmp_path / "here")
    stopped(on_files(Path("run"), "images"), monkeypatch)
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert resume(Path("run"), silent)["finished"]


@pytest.mark.parametrize("what", ["export", "evaluate"])
def test_a_trained_run_can_do_without_its_data(tmp_path, what):
    """Exports need none, and an evaluation may be given others."""
    out = tmp_path / "run"
    train(on_files(out, pictures(tmp_path / "old"), steps=1), silent)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    shutil.rmtree(tmp_path / "old")
    if what == "export":
        export(out, tmp_path / "net.safetensors")
        assert (tmp_path / "net.safetensors").is_file()
        return
    data = {"kind": "folder", "root": tmp_path / "new", "channels": 1, "test": tmp_path / "new"}
    fields = {
        "run": out,
        "max_duplicates": 1,
        "data": data,
        "evaluate": [{"kind": "knn", "k": 1}],
        "workers": 0,
    }
    assert open_network(parse_as(EvaluationSpec, fields)).step == 1


# weights that a run began with


def test_a_warm_start_file_that_is_gone(tmp_path, monkeypatch):
    first = tmp_path / "first"
    train(tiny.spec(first, steps=1, seed=8), silent)
    weights = tmp_path / "warm.safetensors"
    export(first, weights)
    warm = {
        "backbone": {**tiny.VIT, "checkpoint": str(weights)},
        "nets": {"teacher": {"backbone": {**tiny.VIT, "checkpoint": str(weights)}}},
    }
    uncut = train(tiny.spec(tmp_path / "uncut", **warm), silent)
    run = stopped(tiny.spec(tmp_path / "run", **warm), monkeypatch)
    weights.unlink()
    assert resume(run, silent)["weights_sha256"] == uncut["weights_sha256"]
    assert numbers(run) == numbers(tmp_path / "uncut")
    assert read_lock(run)["spec"]["backbone"]["checkpoint"] == str(weights), "what it began with stays known"


def test_a_pretrained_network_without_the_network(tmp_path, monkeypatch):
    """timm asks the hub where `pretrained` is set; all weights are in the checkpoint."""
    real, reachable = timm_networks.timm.create_model, [True]

    def create_model(name, pretrained=False, **arguments):
        if pretrained and not reachable[0]:
            raise ConnectionError("the hub cannot be reached")
        return real(name, **arguments)

    monkeypatch.setattr(timm_networks.timm, "create_model", create_model)
    timm = {"kind": "timm", "name": "test_resnet", "pretrained": True}
    fields = {
        "backbone": timm, "nets": {"teacher": {"backbone": timm}}, "steps": 3, "evaluate": [{"kind": "knn"}],
        "objective": {"kind": "simclr", "projector": {"layers": 2, "hidden": 12, "out": 6}},
        "views": {"global": {**tiny.VIEW, "size": 32, "crops": 2}},
    }  # fmt: skip
    uncut = train(tiny.spec(tmp_path / "uncut", **fields), silent)
    run = stopped(tiny.spec(tmp_path / "run", **fields), monkeypatch, step=2)
    reachable[0] = False
    assert resume(run, silent)["weights_sha256"] == uncut["weights_sha256"]
    scores = evaluate_run(run)["metrics"]["knn"]
    assert scores["accuracy"] == uncut["metrics"]["eval/knn/accuracy"]
    export(run, tmp_path / "net.safetensors")
    data = {"kind": "digits"}
    spec = {
        "file": tmp_path / "net.safetensors",
        "data": data,
        "evaluate": [{"kind": "knn"}],
        "out": tmp_path / "out",
    }
    net = open_network(parse_as(EvaluationSpec, spec)).net
    trained = torch.load(run / "checkpoints" / "step-00000003" / "state.pt", weights_only=True)["system"]
    student = [value for name, value in trained.items() if name.startswith("nets.student.")]
    for value in net.state_dict().values():
        assert any(value.shape == other.shape and torch.equal(value, other) for other in student)


# data that changed


def edit(root):
    Image.new("L", (8, 8), 255).save(root / "class0" / "004.bmp")


def invert(root):
    for path in (root / "class1").glob("*.bmp"):
        Image.new("L", (8, 8), 255 - int(path.stem)).save(path)


def add(root):
    for i in range(5):
        Image.new("L", (8, 8), 100 + i).save(root / "class0" / f"x{i}.bmp")


def remove(root):
    for path in (root / "class1").glob("0*.bmp"):
        if int(path.stem) > 1:
            path.unlink()


def relabel(root):
    (root / "class0" / "006.bmp").rename(root / "class1" / "006.bmp")


def add_class(root):
    (root / "class2").mkdir()
    Image.new("L", (8, 8), 99).save(root / "class2" / "000.bmp")


def rename(root):
    (root / "class0" / "006.bmp").rename(root / "class0" / "0060.bmp")


CASES = {
    edit: ["1 image edited (class0/004.bmp)"],
    invert: ["12 images edited (class1/001.bmp, class1/003.bmp, class1/005.bmp, ...)"],
    add: ["5 images added (class0/x0.bmp, class0/x1.bmp, class0/x2.bmp, ...)", "24 images then, 29 now"],
    remove: [
        "11 images removed (class1/003.bmp, class1/005.bmp, class1/007.bmp, ...)",
        "24 images then, 13 now",
    ],
    relabel: ["1 image relabeled (class1/006.bmp)"],
    add_class: ["1 image added (class2/000.bmp)", "1 class added (class2)", "24 images then, 25 now"],
    rename: ["the images have other names"],
}


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
def test_data_that_changed_are_told_and_refused(tmp_path, monkeypatch, capsys, change):
    root = pictures(tmp_path / "data")
    run = stopped(on_files(tmp_path / "run", root), monkeypatch)
    lock, lines = (run / LOCK).read_bytes(), len((run / "metrics.jsonl").read_bytes())
    change(root)
    spec = write(
        tmp_path / "spec.yaml", data={"kind": "folder", "root": str(root), "channels": 1}, batch_size=8
    )
    for words in (("resume", run), ("run", spec, "--out", run)):
        code, _, err = call(capsys, *words)
        assert code == USER_ERROR
        assert err.splitlines() == [
            f"error: {run}: its data have changed since it began:",
            f"  data.train: {', '.join(CASES[change])}",
            f"Bring back the data, or go on with them as they are: `sslkit resume {run} --data-changed`",
        ]
    assert (run / LOCK).read_bytes() == lock
    assert len((run / "metrics.jsonl").read_bytes()) == lines


def test_it_goes_on_when_asked_and_the_lock_says_so(tmp_path, monkeypatch, capsys):
    root = pictures(tmp_path / "data")
    fields = {
        "epochs": 4,
        "max_duplicates": 1,
        "evaluate": [
            {
                "kind": "knn",
                "k": 1,
                "test": {"kind": "folder", "root": str(root), "channels": 1, "test": str(root)},
            }
        ],
    }
    run = stopped(on_files(tmp_path / "run", root, **fields), monkeypatch)
    before = read_lock(run)
    assert set(before["data"]) == {"data.train", "evaluate.knn.test"}
    add(root)
    pictures(root, count=36)
    code, out, _ = call(capsys, "resume", run, "--data-changed")
    assert code == OK
    assert "16 steps of 8 images (5 an epoch)" not in out
    assert "changed: data.train: 17 images added" in out
    after = read_lock(run)
    assert (before["resolved"]["steps_per_epoch"], after["resolved"]["steps_per_epoch"]) == (3, 5)
    assert after["resolved"]["steps"] == 20
    (entry,) = after["lineage"]
    assert set(entry["data"]) == {"data.train", "evaluate.knn.test"}
    changed = entry["data"]["data.train"]
    assert (changed["then"], changed["now"]) == (before["data"]["data.train"], after["data"]["data.train"])
    assert changed["what"][-1] == "24 images then, 41 now"
    assert after["data"]["data.train"]["fingerprint"] != before["data"]["data.train"]["fingerprint"]
    assert resume(run, silent)["step"] == 20, "and from then on these are its data"


def test_fewer_images_do_not_end_a_run_as_finished(tmp_path, monkeypatch):
    root = pictures(tmp_path / "data", count=48)
    run = stopped(on_files(tmp_path / "run", root, epochs=1), monkeypatch)
    for path in list(root.rglob("*.bmp"))[:28]:
        path.unlink()
    with pytest.raises(DataError, match=r"28 images removed \(.*48 images then, 20 now"):
        resume(run, silent)
    with pytest.raises(
        SpecError, match=r"has made 4 steps, but with the data as they are now its `epochs` are 2 steps"
    ):
        resume(run, silent, data_changed=True)


def test_test_data_count_as_well(tmp_path, monkeypatch):
    root, test = pictures(tmp_path / "data"), pictures(tmp_path / "test", level=30)
    data = {"kind": "folder", "root": str(root), "test": str(test), "channels": 1}
    run = stopped(
        tiny.spec(tmp_path / "run", data=data, batch_size=8, evaluate=[{"kind": "knn", "k": 1}]), monkeypatch
    )
    edit(test)
    with pytest.raises(DataError, match=r"data\.test: 1 image edited \(class0/004\.bmp\)"):
        resume(run, silent)


def test_a_finished_run_on_data_that_changed_since(tmp_path):
    root = pictures(tmp_path / "data")
    spec = on_files(tmp_path / "run", root, steps=1)
    train(spec, silent)
    edit(root)
    with pytest.raises(
        DataError, match=r"is finished, and its data have changed since it began: 1 image edited"
    ):
        train(spec, silent)
    assert train(spec, silent, data_changed=True)["finished"]
    assert resume(tmp_path / "run", silent)["finished"], "nothing is read"


def test_a_run_of_an_earlier_version_goes_on(cut, whole):
    lock = read_lock(cut)
    for part in ("data", "lineage", "folder"):
        del lock[part]
    rewrite_lock(cut, lock)
    shutil.rmtree(cut / "data")
    said = []
    assert resume(cut, said.append)["weights_sha256"] == whole["weights_sha256"]
    assert sum("does not say what its data were" in line for line in said) == 1
    assert set(read_lock(cut)["data"]) == {"data.train"}
    assert "lineage" not in read_lock(cut)
