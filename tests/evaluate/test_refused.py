"""What users get wrong about evaluations: one line that says what, where and what to do; exit code 2."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from sslkit import KNN, PEFT, Finetune, Probing, Robustness
from sslkit.analysis.compare.compare_runs import compare
from sslkit.cli.main import OK, USER_ERROR
from sslkit.core.evaluator import Rows
from sslkit.core.view import View
from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.evaluate.evaluation_sources import Sources, require_splits
from sslkit.evaluate.feature_cache import FeatureStore
from sslkit.evaluate.open_network import open_network
from sslkit.nn.wrapped_network import Wrapped
from sslkit.runs.evaluations import evaluations
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from sslkit.train.launch import train
from sslkit_sources.specs.images import Digits
from tests import tiny
from tests.cli.specs import call
from tests.evaluate.made_runs import evaluated, right, run_folder
from tests.plugins.evaluators.networks import network, run

GRAY = {"mean": [0.5], "std": [0.25]}
EVALUATORS = [
    {"kind": "knn", "k": 2},
    {"kind": "linear", "epochs": 1},
    {"kind": "probing", "epochs": 1},
    {"kind": "retrieval"},
]


def pictures(root, counts, mode="L"):
    """Class folders with so many images of noise."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = generator.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / name / f"{i}.png")
    return str(root)


@pytest.fixture
def spec(tmp_path):
    """Writes an evaluation of an untrained network on folders with the given images; returns its path."""

    def write(train, test, **changes):
        data = {"kind": "folder", "root": pictures(tmp_path / "train", train), "channels": 1}
        if test is not None:
            data["test"] = pictures(tmp_path / "test", test)
        fields = {
            "backbone": tiny.VIT, "size": 8, "normalize": GRAY, "data": data, "evaluate": EVALUATORS,
            "out": str(tmp_path / "out"), "device": "cpu", "workers": 0, **changes,
        }  # fmt: skip
        path = tmp_path / "evaluation.yaml"
        path.write_text(yaml.safe_dump(fields))
        return path

    return write


def refused(capsys, *words):
    """The lines of an error that the user can mend."""
    code, printed, err = call(capsys, *words)
    assert (code, printed) == (USER_ERROR, "")
    assert err.startswith("error: ")
    return err.removeprefix("error: ").rstrip()


@pytest.mark.parametrize(
    ("train", "test", "only", "message"),
    [
        (
            {"a": 4}, {"a": 2}, "knn",
            "evaluate.0: all images are of one class, 'a', so there is nothing to tell apart; give data of several "
            "classes, such as a folder of class folders",
        ),
        (
            {"a": 1, "b": 1}, {"a": 1}, "linear",
            "evaluate.1.holdout: choosing on held-out images needs a class with at least two training images to hold "
            "one out; there are 2 images in 2 classes",
        ),
        (
            {"a": 1, "b": 0}, {"a": 1}, "knn",
            "evaluate.0: all images are of one class, 'a', so there is nothing to tell apart; give data of several "
            "classes, such as a folder of class folders",
        ),
        (
            {"a": 2, "b": 2}, None, "retrieval",
            "evaluate.3: 'folder' has no test split; name one in the data or in the evaluator",
        ),
        (
            {".": 3}, {".": 3}, "linear",
            "evaluate.1: these images have no labels, which evaluation needs: give class sub-folders, with "
            "`label_folders: true` where the source has that field, or a label column (the first image is 0.png)",
        ),
    ],
    ids=["one class", "one image a class", "an empty class", "no test split", "no labels"],
)  # fmt: skip
def test_images_that_cannot_be_scored(spec, capsys, tmp_path, train, test, only, message):
    """The place is that in the spec, also where `--only` chose one evaluator."""
    found = refused(capsys, "evaluate", spec(train, test), "--only", only)
    assert message.format(root=tmp_path) in found.splitlines()


def test_fewer_images_than_neighbors(spec, capsys):
    path = spec({"a": 2, "b": 2}, {"a": 1, "b": 1})
    assert refused(capsys, "evaluate", path, "evaluate.0.k=5", "--only", "knn") == (
        "evaluate.0.k: asks for 5 neighbors, but there are only 4 training images; give a smaller k"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sise=8", "sise: is not a field of EvaluationSpec. Did you mean 'size'?"),
        ("evaluate.0.kk=8", "evaluate.0.kk: is not a field of KNN. Did you mean 'k'?"),
        ("evaluate.9.k=8", "evaluate.9.k: '9' is not an index of a list of 4, counted from 0"),
        ("size=9", "patch 4 does not divide the image size 9; use an image size of 8 or 12"),
        ("size=0", "size: must be greater than or equal to 1, found 0"),
        ("readout.pool=max", "readout.pool: 'max' is not a choice. Known: cls, mean."),
        ("readout.layer=7", "readout.layer: 7 does not exist; the backbone has 2 blocks, from 0"),
        ("readout.pyramid=[1, 2]", "readout: `pyramid` is of means; set `pool: mean` too, or leave it out"),
        ("data.root=/nowhere", "data.root: /nowhere: no such folder"),
        ("evaluate=[{kind: reconstruction}]", "measures masked objectives, such as 'mae' or 'simmim'"),
        ("evaluate=[{kind: probing, attributes: [hue]}]", "probing needs the attribute 'hue', which the train images"),
        ("evaluate=[{kind: finetune, epochs: 3}]", "5 epochs of warm-up leave nothing of 3"),
        ("evaluate=[{kind: robustness, corruptions: [fog]}]", "corruptions.0: 'fog' is not a choice. Known: bright"),
        (
            "evaluate=[{kind: robustness, corruptions: [jpeg, contrast, jpeg]}]",
            "evaluate.0.corruptions: 'jpeg' is given twice; keep one",
        ),
        ("evaluate=[{kind: robustness, severities: [2, 2]}]", "evaluate.0.severities: 2 is given twice; keep one"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit(spec, capsys, override, message):
    path = spec({"a": 4, "b": 4}, {"a": 2, "b": 2})
    assert message in refused(capsys, "evaluate", path, override)


def test_images_with_other_channels(spec, capsys, tmp_path):
    path = spec({"a": 4, "b": 4}, {"a": 2, "b": 2})
    assert refused(capsys, "evaluate", path, "data.channels=3") == (
        "normalize: gives statistics of 1 channels but the images have 3"
    )
    color = {
        "kind": "folder",
        "root": str(tmp_path / "train"),
        "test": str(tmp_path / "test"),
        "channels": 3,
    }
    given = yaml.safe_dump([{"kind": "knn", "k": 2, "train": color}], default_flow_style=True, width=10**6)
    assert refused(capsys, "evaluate", path, f"evaluate={given.strip()}").splitlines() == [
        f"evaluate.0: the {split} images have 3 channels but the network reads 1; give images of 1, as `channels: 1` "
        "of a `folder` makes them"
        for split in ("train", "test")
    ]


def test_channels_are_asked_for_where_they_matter():
    require_splits([KNN()], Digits(), Sources())
    require_splits({4: KNN()}, Digits(), Sources(), channels=1)
    with pytest.raises(
        DataError, match=r"^evaluate\.4: the train images have 1 channels but the network reads 3;"
    ):
        require_splits({4: KNN()}, Digits(), Sources(), channels=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on gray images. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny.spec(out, steps=1, evaluate=[{"kind": "knn"}]), lambda text: None)
    return out


def test_a_run_on_images_with_other_channels(finished, tmp_path, capsys):
    root = pictures(tmp_path / "images", {"a": 3, "b": 3}, "RGB")
    data = f"data={{kind: folder, root: {root}, test: {root}}}"
    assert refused(capsys, "evaluate", finished, data, "workers=0", "max_duplicates=1").startswith(
        "evaluate.0: the train images have 3 channels but the network reads 1;"
    )
    color = "normalize={mean: [0.5, 0.5, 0.5], std: [1, 1, 1]}"
    assert refused(capsys, "evaluate", finished, color) == (
        "normalize: gives statistics of 3 channels but the network reads 1"
    )


def test_training_refuses_an_evaluators_images_with_other_channels(tmp_path):
    root = pictures(tmp_path / "images", {"a": 3, "b": 3}, "RGB")
    other = {"kind": "folder", "root": root, "test": root}
    asked = tiny.spec(
        tmp_path / "run", evaluate=[{"kind": "knn"}, {"kind": "knn", "name": "new", "train": other}]
    )
    with pytest.raises(
        DataError, match=r"^evaluate\.1: the train images have 3 channels but the network reads 1;"
    ):
        train(asked, lambda text: None)


@pytest.mark.parametrize(
    "said",
    [
        '{"x": 1}',
        "no json",
        "[]",
        '{"backbone": 3}',
        '{"backbone": {"kind": "vit"}, "view": 1, "readout": {}}',
    ],
)
def test_files_whose_metadata_is_damaged(tmp_path, said):
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.ones(1)}, path, {"sslkit": said})
    fields = {
        "file": str(path),
        "data": {"kind": "digits"},
        "evaluate": [{"kind": "knn"}],
        "out": str(tmp_path),
    }
    with pytest.raises(CheckpointError) as caught:
        open_network(parse_as(EvaluationSpec, fields))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("; export it again")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("spec", [Finetune.example(), PEFT.example()], ids=lambda spec: spec.kind)
def test_training_that_diverges_is_told(spec):
    subject = network(spec)
    with torch.no_grad():
        next(subject.backbone().parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match="the training has diverged: a loss or an answer is not finite"):
        run(spec, subject)


def test_probing_tells_that_the_network_has_diverged():
    subject = network(Probing.example())
    with torch.no_grad():
        next(subject.backbone().parameters()).fill_(torch.nan)
    with pytest.raises(
        DataError, match=r"features of 64 of 64 train images are not finite, .*: the network has diverged"
    ):
        run(Probing.example(), subject)


def test_fine_tuning_of_one_class(monkeypatch):
    subject = network(Finetune.example())
    for split in ("train", "test"):
        subject.source(split).classes = ("class 0",)
    with pytest.raises(DataError, match="all images are of one class, 'class 0'"):
        run(Finetune.example(), subject)


def test_images_that_fit_into_no_memory():
    """Trying a network on its view is the first that needs it."""
    with pytest.raises(SpecError, match=r"a Identity cannot read images \[1, 3, 100000000, 100000000\]"):
        Wrapped(torch.nn.Identity(), View(100_000_000, 1, 3, (0.5,) * 3, (0.5,) * 3))


DAMAGE = {
    "empty": b"",
    "cut off": None,
    "no archive": b"PK\x03\x04 garbage",
    "text": b"garbage",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damaged_predictions(tmp_path, content):
    one = evaluated(run_folder(tmp_path / "one"), "knn", right(0.7))
    path = evaluations(one)["knn"].path.with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(
        CheckpointError, match=f"^{re.escape(str(path))}: is damaged .*; run `sslkit evaluate` again$"
    ):
        evaluations(one)["knn"].predictions()


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("suffix", [".npz", ".values.npy"])
def test_damaged_features_are_made_again(tmp_path, content, suffix):
    source, made = Digits().build("test"), []
    store = FeatureStore(tmp_path, {"weights": "a"})

    def make():
        made.append(1)
        count = len(source)
        return Rows(torch.ones(count, 2), torch.arange(count), source.labels, source.classes)

    store.get(source, -1, make)
    assert store.find(source, -1) is not None
    (path,) = tmp_path.glob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    assert store.find(source, -1) is None
    again = store.get(source, -1, make)
    assert len(made) == 2
    assert torch.equal(again.labels, source.labels)
    assert torch.equal(store.find(source, -1).values, again.values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": {}}, "`metrics` should have at least one entry, found {}"),
        ({"metrics": []}, "`metrics` should be a mapping, found []"),
        ({"metrics": {"accuracy": "high"}}, "`metrics.accuracy` should be a number, found 'high'"),
        ({"data": []}, "`data` should be a mapping, found []"),
        ({"readout": None}, "`readout` should be a mapping, found None"),
        ({"intervals": {"accuracy": None}}, "`intervals.accuracy` should be a list, found None"),
        ({"other": 1}, "`other` is not known"),
    ],
)
def test_damaged_records(tmp_path, changes, said):
    one = evaluated(run_folder(tmp_path / "one"), "knn", right(0.7), **changes)
    with pytest.raises(
        CheckpointError, match=rf"knn\.json: is damaged: {re.escape(said)}; run `sslkit evaluate` again$"
    ):
        evaluations(one)


def test_seeds_that_were_read_differently_are_no_setting(tmp_path):
    """An evaluation at another size replaced one seed's own: their mean would mix the two."""
    shared = {"name": "a", "out": "x"}
    one = evaluated(run_folder(tmp_path / "one", 0, **shared), "knn", right(0.7))
    wide = {"size": 16, "mean": [0.5], "std": [0.5]}
    two = evaluated(run_folder(tmp_path / "two", 1, **shared), "knn", right(0.8), view=wide)
    with pytest.raises(
        SpecError, match=r"^knn: seeds of one setting were read differently: .* differ in their view"
    ):
        compare([one, two])
    deep = {"net": "student", "crop": 1.0, "layer": 3}
    evaluated(two, "knn", right(0.8), readout=deep)
    with pytest.raises(SpecError, match=r"differ in their readout\. Evaluate both alike$"):
        compare([one, two])


def test_what_the_comparison_cannot_use(tmp_path, capsys):
    one = evaluated(run_folder(tmp_path / "one"), "knn", right(0.7))
    assert refused(capsys, "compare", one, "--seed", "-1") == "seed: must be 0 or more, got -1"
    assert refused(capsys, "compare", one, "--level", "2").startswith("level: must lie between 0 and 1")
    assert refused(capsys, "compare", one, "--json", tmp_path) == (
        f"--json: {tmp_path} is a folder; give the name of a file"
    )
    code, _, err = call(capsys, "compare", one, "--json", tmp_path / "deep" / "found.json")
    assert (code, err) == (OK, "")
    assert json.loads((tmp_path / "deep" / "found.json").read_text())["measures"][0]["label"] == "knn"


def test_changed_settings_are_told_below_the_table(tmp_path, capsys):
    """Protocols may have many; they would make the columns of scores unreadable."""
    long = "linear@1(learning_rates=(0.1, 1.0), epochs=3)"
    one = evaluated(run_folder(tmp_path / "one"), "knn", right(0.7))
    evaluated(one, "linear", right(0.8), protocol=long)
    code, printed, _ = call(capsys, "compare", one)
    assert code == OK
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "setting runs knn (knn@1) linear (linear@1*)" in lines
    assert f"* linear: {long}" in lines


def test_robustness_without_doubles_has_no_problem():
    assert list(Robustness(corruptions=("jpeg", "contrast"), severities=(1, 5)).problems(tiny.spec())) == []
