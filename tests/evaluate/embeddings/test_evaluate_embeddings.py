"""Files of embeddings are scored as the network and images that they came from."""

from __future__ import annotations

import pytest

from sslkit import embed
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.evaluate_network import evaluate_spec
from sslkit.runs.evaluations import evaluations
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call
from tests.evaluate import every
from tests.train.test_trainer import silent

ON_FEATURES = {"knn", "linear", "logistic", "lowshot", "retrieval", "geometry"}
PROTOCOLS = [
    {"kind": kind, **every.KINDS[kind], **({"positives": "classes"} if kind == "geometry" else {})}
    for kind in sorted(ON_FEATURES)
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A run, its data, and the embeddings of both splits. Tests must not change them."""
    root = tmp_path_factory.mktemp("embeddings")
    data = every.folders(root / "images")
    train(tiny.spec(root / "run", data=data, views={"global": every.VIEW}, steps=1), silent)
    for split, ending in (("train", "parquet"), ("test", "safetensors")):
        embed(root / "run", out=root / f"{split}.{ending}", split=split, workers=0, device="cpu")
    return root


def spec(files, folder, **changes):
    fields = {
        "features": str(files / "train.parquet"),
        "test_features": str(files / "test.safetensors"),
        "evaluate": PROTOCOLS,
        "out": str(folder),
        "seed": 3,
    }
    return parse_as(EvaluationSpec, {**fields, **changes})


def test_scores_are_those_of_the_run(files, tmp_path):
    from_files = evaluate_spec(spec(files, tmp_path / "files"))
    run = {"run": str(files / "run"), "evaluate": PROTOCOLS, "out": str(tmp_path / "run"), "workers": 0}
    from_run = evaluate_spec(parse_as(EvaluationSpec, {**run, "device": "cpu"}))
    assert from_files["metrics"] == from_run["metrics"]
    assert set(from_files["metrics"]) == ON_FEATURES
    mine, theirs = evaluations(tmp_path / "files"), evaluations(tmp_path / "run")
    for label in ON_FEATURES:
        assert mine[label].data == theirs[label].data
        assert mine[label].weights_sha256 == theirs[label].weights_sha256
        assert mine[label].view == theirs[label].view
        assert mine[label].readout == theirs[label].readout


@pytest.mark.parametrize("kind", sorted({*every.KINDS, "dense"} - ON_FEATURES))
def test_protocols_that_read_images_are_refused_by_name(files, tmp_path, kind):
    """Before anything is computed: the first one could run."""
    fields = [PROTOCOLS[1], {"kind": kind, **every.KINDS.get(kind, {})}]
    with pytest.raises(
        DataError, match=f"^evaluate.1: '{kind}' reads images or the network, and a file of embeddings"
    ):
        evaluate_spec(spec(files, tmp_path / "out", evaluate=fields))
    assert not (tmp_path / "out").exists()


def test_geometry_reads_images_only_for_views(files, tmp_path):
    with pytest.raises(DataError, match="'geometry' reads images"):
        evaluate_spec(spec(files, tmp_path / "out", evaluate=[{"kind": "geometry"}]))


def test_both_files_are_of_one_network(files, tmp_path):
    other = embed(files / "run", out=tmp_path / "t.npy", split="test", tokens="mean", workers=0, device="cpu")
    with pytest.raises(
        DataError, match=r'is of another network or reading than .* \(tokens "class" there, "mean" here\)'
    ):
        evaluate_spec(spec(files, tmp_path / "out", test_features=str(other.path)))


def test_images_that_were_learned_from_are_not_scored(files, tmp_path):
    with pytest.raises(
        DataError, match=r"is of the same images as .*, so that what was learned from would be scored"
    ):
        evaluate_spec(spec(files, tmp_path / "out", test_features=str(files / "train.parquet")))


def test_patch_tokens_are_no_vector(files, tmp_path):
    paths = [
        embed(files / "run", out=tmp_path / f"{s}.npy", split=s, tokens="patch", workers=0, device="cpu").path
        for s in ("train", "test")
    ]
    with pytest.raises(DataError, match="has 4 patch tokens an image, and evaluators read one vector"):
        evaluate_spec(spec(files, tmp_path / "out", features=str(paths[0]), test_features=str(paths[1])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_features": None}, "'features' has no test split"),
        ({"evaluate": [{"kind": "knn", "test": {"kind": "digits"}}]}, "evaluate.0.test: names images"),
        ({"features": "nowhere.npy"}, "nowhere.npy: cannot be read: No such file"),
    ],
)
def test_what_is_missing_is_told(files, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        evaluate_spec(spec(files, tmp_path / "out", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": None}, "an evaluation of a `features` needs `out` too"),
        (
            {"data": {"kind": "digits"}, "size": 8},
            "`data` and `size` has no effect on an evaluation of `features`",
        ),
        ({"run": "x"}, "exactly one of `run`, `file`, `backbone` and `features`; found run and features"),
    ],
)
def test_fields_that_do_not_fit_are_refused(files, tmp_path, changes, message):
    with pytest.raises(SpecError, match=message):
        spec(files, tmp_path, **changes)
    with pytest.raises(SpecError, match="`test_features` has no effect on an evaluation of `run`"):
        spec(files, tmp_path, features=None, run="x", seed=0)


def test_the_command_takes_a_file(files, tmp_path, capsys):
    words = [f"test_features={files / 'test.safetensors'}", f"out={tmp_path}", "evaluate=[{kind: knn, k: 3}]"]
    code, printed, err = call(capsys, "evaluate", files / "train.parquet", *words)
    assert (code, err) == (0, "")
    assert "  knn (knn@1(k=3)): accuracy " in printed
    assert (tmp_path / "evaluations").is_dir()
