"""`sslkit run`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from sslkit.cli.main import OK, USER_ERROR
from sslkit.runs import metrics_log
from sslkit.runs.evaluations import evaluations
from tests import tiny
from tests.cli.specs import call, folder, images, write


def test_a_run_is_made_and_summed_up(tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml", evaluate=[{"kind": "knn", "baselines": True}], log=tiny.DRAWN)
    code, out, err = call(capsys, "run", spec, "--out", tmp_path / "run", "seed=5", "optimizer.lr=2e-2")
    assert code == OK
    assert "Traceback" not in err
    begin, *rest = out.splitlines()
    assert begin == (
        f"tiny: 8 steps of 32 images (44 an epoch) from the start, lr 0.0025 (0.02 /256), float32 on cpu, "
        f"in {tmp_path / 'run'}"
    )
    assert any(line.startswith("tiny: 8 steps in ") for line in rest)
    assert "untrained  raw pixels" in out
    assert rest[-2:] == ["next:", f"  sslkit report {tmp_path / 'run'}"]
    written = [line.strip() for line in rest[rest.index("written:") + 1 : -2]]
    assert written == [
        str(tmp_path / "run" / name)
        for name in (
            "metrics.jsonl", "spec.lock.yaml", "checkpoints/step-00000008", "figures/curves.png",
            "figures/reconstruction.png", "summary.json",
        )
    ]  # fmt: skip
    assert yaml.safe_load((tmp_path / "run" / "spec.yaml").read_text())["seed"] == 5


def test_the_steps_are_reported_as_they_go_by(tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml", evaluate=[{"kind": "knn", "every": "4 steps"}])
    _, _, err = call(capsys, "run", spec, "--out", tmp_path / "run")
    assert "step 8/8" in err
    assert "step 4  knn: accuracy 0." in err


@pytest.mark.parametrize("name", ["2024", "null", "a # b", "a: b", 'it\'s "quoted"', "é"])
def test_any_folder_name_is_taken_as_it_is(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    spec = write(tmp_path / "spec.yaml", steps=1)
    assert call(capsys, "run", spec, "--out", name)[0] == OK
    assert (tmp_path / name / "summary.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "spec.yaml"])


def test_without_out_the_folder_is_named_after_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write(tmp_path / "spec.yaml", steps=1, name="mine")
    assert call(capsys, "run", spec)[0] == OK
    assert (tmp_path / "runs" / "mine" / "summary.json").is_file()


def test_the_same_command_again_does_nothing_and_says_so(tmp_path, capsys):
    spec = write(tmp_path / "spec.yaml", steps=2)
    call(capsys, "run", spec, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    code, out, _ = call(capsys, "run", spec, "--out", tmp_path / "run")
    assert code == OK
    assert out.splitlines()[:2] == [
        f"{tmp_path / 'run'} holds this run already: continuing it",
        f"{tmp_path / 'run'} is finished: 2 steps",
    ]
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def many(tmp_path, capsys, corrupt, **changes):
    """Train one epoch on 300 files of which some are corrupt: exit code, run folder, output, errors."""
    root = images(tmp_path / "images", 300)
    for index in corrupt:
        (root / f"{index:04d}.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    spec = write(tmp_path / "spec.yaml", data=folder(root), steps=None, epochs=1, batch_size=20, **changes)
    code, out, err = call(capsys, "run", spec, "--out", tmp_path / "run")
    return code, tmp_path / "run", out, err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_among_many_is_skipped_counted_and_listed(tmp_path, capsys, workers):
    code, run, out, _ = many(tmp_path, capsys, [123], workers=workers)
    assert code == OK
    summary = json.loads((run / "summary.json").read_text())
    assert summary["skipped_images"] == 1
    assert summary["paths"]["skipped"] == str(run / "skipped.txt")
    (line,) = (run / "skipped.txt").read_text().splitlines()
    index, name, reason = line.split("\t")
    assert (index, name) == ("123", "0123.png")
    assert "0123.png: cannot be decoded" in reason
    assert f"1 images could not be read; they are listed in {run / 'skipped.txt'}" in out
    assert len([e for e in metrics_log.read(run) if "loss" in e]) == 15


@pytest.mark.parametrize("workers", [0, 1])
def test_past_max_corrupt_the_run_fails(tmp_path, capsys, workers):
    code, run, _, err = many(tmp_path, capsys, [7, 77, 177, 277], workers=workers)
    assert code == USER_ERROR
    error = next(line for line in err.splitlines() if line.startswith("error: "))
    assert error.startswith(
        f"error: 4 of 300 images cannot be read, more than max_corrupt=0.01; they are listed in {run}"
    )
    assert "Traceback" not in err
    assert len((run / "skipped.txt").read_text().splitlines()) == 4


def test_max_corrupt_can_be_set(tmp_path, capsys):
    code, run, _, _ = many(tmp_path, capsys, [7, 77, 177, 277], max_corrupt=0.1)
    assert code == OK
    assert json.loads((run / "summary.json").read_text())["skipped_images"] == 4


def test_images_that_only_evaluation_meets_are_counted_or_told(tmp_path, capsys):
    """Two steps see few of the images; features are made of all of them, and of the test split."""
    roots = [tmp_path / "train", tmp_path / "test"]
    for root in roots:
        for name in ("a", "b"):
            images(root / name, 40)
        (root / "b" / "0007.png").write_text(f"no image for {root.name}")
    data = {**folder(roots[0]), "test": str(roots[1])}
    spec = write(
        tmp_path / "spec.yaml", data=data, steps=1, batch_size=4, max_corrupt=0.1, evaluate=[{"kind": "knn"}]
    )
    code, out, err = call(capsys, "run", spec, "--out", tmp_path / "run")
    assert code == OK, err
    assert [line.split("\t")[1] for line in (tmp_path / "run/skipped.txt").read_text().splitlines()] == [
        "b/0007.png"
    ]
    assert "1 images could not be read" in out
    assert f"warning: left out of evaluation: {roots[1] / 'b' / '0007.png'}" in err
    _, out, _ = call(capsys, "evaluate", tmp_path / "run")
    assert "2 images could not be read and are left out; the files list them" in out
    listed = evaluations(tmp_path / "run")["knn"].unreadable
    assert sorted(reason.split(":")[0] for reason in listed) == sorted(
        str(r / "b" / "0007.png") for r in roots
    )


def test_exit_codes_of_the_program(tmp_path):
    """What a shell sees; `tests/analysis/sweep/test_run_cells.py` holds that of a run that is fine."""
    spec = write(tmp_path / "spec.yaml", steps=1)
    words = ["-m", "sslkit", "run", str(spec), "--out", str(tmp_path / "run"), "batch_size=many"]
    broken = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert broken.returncode == USER_ERROR
    assert broken.stderr == "error: batch_size: must be a whole number, found 'many' (str)\n"
