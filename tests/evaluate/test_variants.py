"""Evaluations of a run that are not its own stand beside them, under names that say of what they are."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from PIL import Image

from sslkit.analysis.compare.compare_runs import compare
from sslkit.cli.main import OK
from sslkit.evaluate.evaluate_network import evaluate_run, evaluate_spec
from sslkit.report.run_data import read_run, share_axes
from sslkit.report.sections.confusion import confusion
from sslkit.report.sections.scores import details, scores, verdict
from sslkit.runs.evaluations import evaluations
from sslkit.runs.seal import CHECKSUM, RUN
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call
from tests.train.test_trainer import silent

KNN = {"kind": "knn", "every": "4 steps", "baselines": True}


def digits(root, flip=False):
    """Ten classes of images of one level each; with `flip` the levels are the other way round."""
    train_images = root.with_name(f"{root.name}-train")
    for label in range(10):
        for folder in (train_images, root):
            (folder / str(label)).mkdir(parents=True)
        for i in range(8):
            level = 25 * (9 - label if flip else label) + i
            Image.new("L", (8, 8), level).save((train_images, root)[i % 2] / str(label) / f"{i // 2}.bmp")
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with two evaluations. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    checkpoint = {"every": "4 steps", "keep": 9}
    train(tiny.spec(out, steps=8, evaluate=[KNN], checkpoint=checkpoint, log=tiny.DRAWN), silent)
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, beside two folders of other images."""
    digits(tmp_path / "OTHER")
    digits(tmp_path / "third", flip=True)
    return shutil.copytree(finished, tmp_path / "run")


def on(tmp_path, name="OTHER"):
    """The overrides that measure on other images."""
    root = tmp_path / name
    return (f"data={{kind: folder, root: {root}-train, test: {root}, channels: 1}}", "workers=0")


def files(run, step=8):
    return sorted(path.name for path in (run / "evaluations" / f"step-{step:08d}").glob("*.json"))


def test_other_data_do_not_replace_the_runs_own(run, tmp_path, capsys):
    """`knn.json` held another data set's score, and the report showed it as the run's."""
    own, text = evaluations(run)["knn"], (run / "evaluations/step-00000008/knn.json").read_text()
    code, out, _ = call(capsys, "evaluate", run, *on(tmp_path))
    assert code == OK
    assert re.search(r"^  knn \(knn@1\) on OTHER: accuracy ", out, flags=re.MULTILINE)
    assert (run / "evaluations/step-00000008/knn.json").read_text() == text
    (stem,) = evaluations(run).keys() - {"knn"}
    assert re.fullmatch(r"knn@on-OTHER-[0-9a-f]{6}", stem)
    other = evaluations(run)[stem]
    assert (other.label, other.variant, other.title) == ("knn", "on OTHER", "knn on OTHER")
    assert other.data["test"]["images"] == 40
    assert len(other.predictions().labels) == 40
    assert evaluations(run)["knn"] == own
    assert len(own.predictions().labels) == 360


def test_each_data_set_has_its_file_and_the_same_again_replaces_it(run, tmp_path, capsys):
    for name in ("OTHER", "third", "OTHER"):
        call(capsys, "evaluate", run, *on(tmp_path, name))
    names = files(run)
    assert [name.rpartition("-")[0] for name in names] == ["", "knn@on-OTHER", "knn@on-third"]
    Image.new("L", (8, 8), 90).save(tmp_path / "OTHER" / "3" / "0.bmp")
    call(capsys, "evaluate", run, *on(tmp_path))
    assert len(files(run)) == 4, "other content, other data"


def test_the_run_measured_again_replaces_its_own(run, tmp_path):
    first = evaluations(run)["knn"]
    assert evaluate_run(run)["variants"] == {"knn": ""}
    assert files(run) == ["knn.json"]
    assert evaluations(run)["knn"]._replace(checkpoint=None) == first


@pytest.mark.filterwarnings("ignore:.*test images are training images too")
def test_a_run_whose_data_moved_is_still_measured_on_its_own(tmp_path, capsys):
    out, root = tmp_path / "run", digits(tmp_path / "old")
    data = {"kind": "folder", "root": str(root), "test": str(root), "channels": 1}
    train(
        tiny.spec(
            out, steps=1, batch_size=8, data=data, evaluate=[{"kind": "knn", "k": 1}], max_duplicates=1
        ),
        silent,
    )
    (tmp_path / "old").rename(tmp_path / "new")
    code, _, _ = call(
        capsys, "evaluate", out, f"data.root={tmp_path / 'new'}", f"data.test={tmp_path / 'new'}", "workers=0"
    )
    assert code == OK
    assert files(out, 1) == ["knn.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("readout.layer=0", "layer 0"),
        ("readout.pool=mean", "pool mean"),
        ("evaluate.0.k=3", "k 3"),
        ("size=16", "size 16"),
    ],
)
def test_readouts_settings_and_sizes_have_files_of_their_own(run, capsys, change, words):
    before = (run / "evaluations/step-00000008/knn.json").read_text()
    code, out, _ = call(capsys, "evaluate", run, change)
    assert code == OK
    assert f") {words}: accuracy" in out
    (stem,) = evaluations(run).keys() - {"knn"}
    assert stem.startswith(f"knn@{words.replace(' ', '-')}-")
    assert (run / "evaluations/step-00000008/knn.json").read_text() == before


def test_what_changes_no_number_makes_no_variant(run, capsys):
    call(capsys, "evaluate", run, "readout.batch_size=7", "workers=0", "evaluate.0.every=end")
    assert files(run) == ["knn.json"]


def test_other_checkpoints_have_their_own_folders_and_figures(run, tmp_path, capsys):
    evaluator = "evaluate=[{kind: lowshot, shots: [1], shares: [0.1], draws: 2}]"
    for step in ("step-00000008", "step-00000004"):
        assert call(capsys, "evaluate", run, evaluator, "--checkpoint", step)[0] == OK
    newest, older = (evaluations(run, step)["lowshot"].figures for step in (8, 4))
    assert newest, "the protocol draws"
    for name, path in newest.items():
        assert path.startswith("figures/")
        assert older[name].startswith("evaluations/step-00000004/")
        assert (run / path).is_file()
        assert (run / older[name]).is_file()


def test_a_name_of_ones_own_that_is_used_twice(run, capsys):
    names = ("evaluate.0.name=mine",)
    call(capsys, "evaluate", run, *names, "evaluate.0.k=3")
    call(capsys, "evaluate", run, *names, "evaluate.0.k=3")
    assert files(run) == ["knn.json", "mine.json"]
    call(capsys, "evaluate", run, *names, "evaluate.0.k=5")
    stems = evaluations(run).keys() - {"knn", "mine"}
    assert len(stems) == 1
    assert evaluations(run)[stems.pop()].title == "mine other settings"
    assert evaluations(run)["mine"].settings["k"] == 3


def test_two_networks_in_one_folder(tmp_path):
    fields = {
        "backbone": tiny.VIT, "size": 8, "normalize": {"mean": [0.3], "std": [0.4]}, "data": {"kind": "digits"},
        "evaluate": [{"kind": "knn"}], "out": tmp_path / "out", "workers": 0,
    }  # fmt: skip
    for seed in (0, 1, 0):
        evaluate_spec(parse_as(EvaluationSpec, {**fields, "seed": seed}))
    assert [e.title for e in evaluations(tmp_path / "out").values()] == ["knn", "knn other weights"]


def test_another_network_in_the_folder_of_a_run(run, tmp_path):
    fields = {
        "backbone": tiny.VIT, "size": 8, "normalize": {"mean": [0.3], "std": [0.4]}, "data": {"kind": "digits"},
        "evaluate": [{"kind": "knn", "name": "strange"}], "out": run, "workers": 0,
    }  # fmt: skip
    evaluate_spec(parse_as(EvaluationSpec, fields))
    (other,) = (e for e in evaluations(run).values() if e.label == "strange")
    assert other.variant == "of another network"


def test_the_report_shows_others_as_what_they_are(run, tmp_path, capsys):
    before = read_run(run)
    call(capsys, "evaluate", run, *on(tmp_path))
    after = read_run(run)
    assert verdict(after) == verdict(before)
    assert list(share_axes([after])) == list(share_axes([before]))
    assert [e.title for e in after.evaluations.values()] == ["knn", "knn on OTHER"]
    table = str(scores(after))
    assert "<td>knn on OTHER</td>" in table or "knn on OTHER" in table
    row = table[table.index("knn on OTHER") :]
    untrained = before.baseline("untrained", "knn", "accuracy")
    assert f"{100 * untrained:.2f}" not in row.split("</tr>")[0], "baselines are of the run's own images"
    assert "Metrics of knn on OTHER" in str(details(after))
    assert "knn on OTHER" in str(confusion(after))


def test_runs_are_compared_on_other_data_by_its_name(run, tmp_path, capsys):
    second = tmp_path / "second"
    train(tiny.spec(second, steps=8, evaluate=[KNN], optimizer={"lr": 0.001}), silent)
    for path in (run, second):
        call(capsys, "evaluate", path, *on(tmp_path))
    labels = [measure.label for measure in compare([run, second]).measures]
    assert labels[0] == "knn"
    assert re.fullmatch(r"knn@on-OTHER-[0-9a-f]{6}", labels[1])
    assert [m.images for m in compare([run, second]).measures] == [360, 40]


def test_files_of_earlier_versions_are_the_runs_own(run):
    path = run / "evaluations/step-00000008/knn.json"
    fields = json.loads(path.read_text())
    for name in ("variant", RUN, CHECKSUM):
        del fields[name]
    path.write_text(json.dumps(fields))
    assert evaluations(run)["knn"].variant == ""
