"""The run folder's spec and lock."""

from __future__ import annotations

import re
import subprocess

import pytest
import torch

from sslkit import __version__
from sslkit.errors import CheckpointError, SpecError
from sslkit.runs import lock
from sslkit.runs.checkpoint import FOLDER, META
from sslkit.runs.history import require_same_run
from sslkit.specs.load import load
from tests import tiny

RESOLVED = {"channels": 1, "lr": 0.5}


@pytest.fixture
def run(tmp_path):
    """A spec whose folder holds it."""
    made = tiny.spec(tmp_path, evaluate=[{"kind": "knn"}])
    lock.write_lock(made, tmp_path, RESOLVED)
    (tmp_path / FOLDER / "step-00000003").mkdir(parents=True)
    (tmp_path / FOLDER / "step-00000003" / META).write_text("{}")
    return made


def says(message):
    """A pattern for the whole message."""
    return f"^{re.escape(message)}$"


def test_the_lock_says_what_ran_and_with_what(run, tmp_path):
    found = lock.read_lock(tmp_path)
    assert found["spec"] == run.model_dump(mode="json")
    assert found["resolved"] == RESOLVED
    assert found["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["packages"]["sslkit"] == __version__
    assert found["plugins"]["sslkit:evaluators"] == __version__
    assert "sslkit:loggers" not in found["plugins"], "none is used"
    assert found["python"].startswith("3.")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "manifest.json",
        "spec.lock.yaml",
        ".spec.lock.yaml",
        "spec.yaml",
    }


def test_the_spec_as_given_is_kept_beside_it(run, tmp_path):
    assert load(tmp_path / "spec.yaml") == run


def test_the_locked_spec_follows_its_folder(run, tmp_path):
    (tmp_path / "spec.yaml").unlink()
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert lock.locked_spec(moved).run_dir == moved
    assert lock.locked_spec(moved).model_copy(update={"out": run.out}) == run


def test_an_empty_folder_holds_no_run(tmp_path):
    require_same_run(tiny.spec(tmp_path), tmp_path)
    with pytest.raises(
        CheckpointError,
        match=says(
            f"{tmp_path}: holds no run (no spec.lock.yaml); give the folder that `sslkit run` printed"
        ),
    ):
        lock.read_lock(tmp_path)


@pytest.mark.parametrize("part", ["spec", "resolved", "packages"])
@pytest.mark.parametrize("value", [None, "text"])
def test_a_damaged_lock_is_named(run, tmp_path, part, value):
    path = tmp_path / "spec.lock.yaml"
    lock.rewrite_lock(tmp_path, {**lock.read_lock(tmp_path), part: value})
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(path))}: is damaged: `{part}` should be .*; bring it back"
    ):
        lock.read_lock(tmp_path)


def test_a_lock_that_is_not_yaml_is_named(run, tmp_path):
    (tmp_path / "spec.lock.yaml").write_text("{")
    with pytest.raises(SpecError, match=re.escape(str(tmp_path / "spec.lock.yaml"))):
        lock.read_lock(tmp_path)


def test_the_same_run_may_continue_elsewhere_with_other_workers_and_name(run, tmp_path):
    changes = {"evaluate": [{"kind": "knn"}], "workers": 3, "name": "other"}
    assert require_same_run(tiny.spec(tmp_path.parent / "x", **changes), tmp_path).trained


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 9}, "its seed differs"),
        ({"seed": 9, "batch_size": 16}, "its seed, batch_size differ"),
        ({"optimizer": {"lr": 0.02}}, "its optimizer differs"),
        ({"evaluate": [], "readout": {"pool": "mean"}}, "its readout differs"),
        ({"data": {"kind": "digits", "test_share": 0.5}}, "its data differs"),
    ],
)
def test_another_run_is_refused_by_what_differs(run, tmp_path, changes, named):
    other = tiny.spec(tmp_path, **{"evaluate": [{"kind": "knn"}], **changes})
    with pytest.raises(
        SpecError,
        match=says(
            f"{tmp_path}: holds a different run ({named}). Choose another folder with --out, "
            f"continue that run with `sslkit resume {tmp_path}`, or delete the folder"
        ),
    ):
        require_same_run(other, tmp_path)


def test_a_run_that_saved_nothing_gives_way(run, tmp_path):
    """A first try that failed at once must not block the corrected spec."""
    (tmp_path / FOLDER / "step-00000003" / META).unlink()
    assert not require_same_run(tiny.spec(tmp_path, seed=9), tmp_path).trained


def test_changed_versions_are_told(run, tmp_path, monkeypatch):
    assert lock.version_changes(tmp_path) == []
    then = lock.package_versions()
    monkeypatch.setattr(lock, "package_versions", lambda: {**then, "timm": "99.0", "faiss-new": "1.0"})
    assert lock.version_changes(tmp_path) == [f"timm {then['timm']} -> 99.0"]


def git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_the_commit_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert lock.git_commit() is None
    (tmp_path / "a").write_text("1")
    for words in (["init"], ["add", "a"], ["commit", "-m", "a", "--no-gpg-sign"]):
        git(tmp_path, *words)
    clean = lock.git_commit()
    assert re.fullmatch(r"[0-9a-f]{40}", clean)
    (tmp_path / "untracked").write_text("1")
    assert lock.git_commit() == clean
    (tmp_path / "a").write_text("2")
    assert lock.git_commit() == clean + "+changes"
    monkeypatch.setenv("PATH", "")
    assert lock.git_commit() is None


def test_a_device_has_a_name():
    assert lock.device_name(torch.device("cpu")).startswith("cpu (")


@pytest.fixture
def started(tmp_path):
    """The folder of a run whose student and frozen nets began with a file that is no longer there."""
    run = tiny.spec(tmp_path, nets={"one": {"backbone": tiny.VIT}, "two": {"momentum": 0.5}})
    lock.write_lock(run, tmp_path, RESOLVED)
    found = lock.read_lock(tmp_path)
    for backbone in (found["spec"]["backbone"], found["spec"]["nets"]["one"]["backbone"]):
        backbone["checkpoint"] = "gone.pt"
    lock.rewrite_lock(tmp_path, found)
    return tmp_path


def test_a_run_that_trained_needs_no_weights_to_begin_with(started):
    """Its own are in its checkpoint; everything else of the spec stays."""
    with pytest.raises(SpecError) as caught:
        lock.locked_spec(started)
    assert str(caught.value).splitlines() == [
        "backbone.checkpoint: no file gone.pt; `sslkit export` writes one",
        "nets.one.backbone.checkpoint: no file gone.pt; `sslkit export` writes one",
    ]
    spec = lock.trained_spec(started)
    assert spec == tiny.spec(started, nets={"one": {"backbone": tiny.VIT}, "two": {"momentum": 0.5}})
    assert spec.nets["two"].momentum == 0.5


def test_a_backbone_that_no_plugin_offers_keeps_its_file(started, monkeypatch):
    """Nobody knows whether it could do without."""
    monkeypatch.setattr(lock.catalog, "kinds", lambda family: {})
    fields = {"backbone": {**tiny.VIT, "checkpoint": "gone.pt"}}
    assert lock.without_first_weights(fields)["backbone"] == fields["backbone"]


@pytest.mark.parametrize(
    ("name", "value"), [("momentum", 0.5), ("update", "before_forward"), ("batch_norm", "average")]
)
def test_what_a_frozen_net_cannot_use_is_refused_and_defaults_are_not(name, value):
    """A lock sets every field: what it says must be a spec again."""
    with pytest.raises(
        SpecError, match=rf"^nets\.one\.{name}: a network of its own \(`backbone`\) is frozen"
    ):
        tiny.spec(nets={"one": {"backbone": tiny.VIT, name: value}})
    net = tiny.spec(nets={"one": {"backbone": tiny.VIT}}).nets["one"]
    assert tiny.spec(nets={"one": net.model_dump()}).nets["one"] == net


def test_a_best_metric_that_older_versions_took_and_never_met_is_left_out(run):
    """They kept no checkpoint by it, so that nothing is lost; a run that can no longer be read would be."""
    data = lock.read_lock(run.out)
    for best in ("loss", "eval/knn/acuracy"):
        data["spec"]["checkpoint"]["best"] = best
        lock.rewrite_lock(run.out, data)
        assert lock.locked_spec(run.out).checkpoint.best is None
        assert lock.trained_spec(run.out).checkpoint.best is None
