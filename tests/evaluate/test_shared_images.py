"""Images that a network or a protocol learned from are no test images: refused past a share, else counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import Folder
from sslkit.errors import DataError
from sslkit.evaluate.evaluate_network import evaluate_spec
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.shared_images import Shared, require_unseen, shared_images
from sslkit.specs.evaluation import EvaluationSpec
from sslkit.specs.load import parse_as
from sslkit.train.launch import train
from sslkit_evaluators.specs.probes import KNN
from tests import tiny
from tests.plugins.sources.test_fingerprints import Minimal


def pictures(root: Path, seeds: range) -> Path:
    """Two classes of gray noise, of which each seed makes one."""
    for seed in seeds:
        path = root / "ab"[seed % 2] / f"{seed:03d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return root


def copied(root: Path, test: Path, count: int) -> None:
    """Copies of training images under other names."""
    for path in sorted(root.rglob("*.bmp"))[:count]:
        (test / path.parent.name / f"copy{path.name}").write_bytes(path.read_bytes())


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    train_images, test = pictures(tmp_path / "train", range(40)), pictures(tmp_path / "test", range(100, 140))
    return Folder(root=train_images, test=test, channels=1)


def test_equal_content_under_other_names(data: Folder) -> None:
    assert shared_images(data.build("train"), data.build("test")) is None
    copied(data.root, data.test, 2)
    expected = ("a/copy000.bmp = a/000.bmp", "a/copy002.bmp = a/002.bmp")
    shared = shared_images(data.build("train"), data.build("test"))
    assert shared == Shared(2, 42, expected)
    assert shared.words.startswith("2 of 42 test images are training images too (a/copy000.bmp = a/000.bmp; ")


def test_unreadable_images_and_sources_without_digests_are_not_equal(data: Folder) -> None:
    for root in (data.root, data.test):
        (root / "a" / "gone.bmp").symlink_to(root / "nowhere")
    assert shared_images(data.build("train"), data.build("test")) is None
    other = Minimal(digests=lambda: None, fingerprint="x")
    assert shared_images(other, data.build("test")) is None


def run(out: Path, data: Folder, **changes: object) -> object:
    fields = {"evaluate": [{"kind": "knn", "k": 1}], "batch_size": 8, "steps": 1, **changes}
    lines: list[str] = []
    train(tiny.spec(out, data=data.model_dump(), **fields), lines.append)
    return lines


def test_a_run_whose_test_images_it_learns_from_is_refused(data: Folder, tmp_path: Path) -> None:
    copied(data.root, data.test, 1)
    with pytest.raises(
        DataError, match=r"evaluate\.0: 1 of 41 test images .*\n.*more than max_duplicates=0\.01"
    ):
        run(tmp_path / "run", data)
    assert not (tmp_path / "run" / "metrics.jsonl").exists(), "before the first step"
    (note,) = [line for line in run(tmp_path / "run", data, max_duplicates=0.05) if "test images are" in line]
    assert note == "note: evaluate.0: 1 of 41 test images are training images too (a/copy000.bmp = a/000.bmp)"
    assert not any("test images are" in line for line in run(tmp_path / "other", data, evaluate=[]))


def test_where_a_split_parted_equal_images_it_says_what_keeps_them_together(data: Folder) -> None:
    for path in sorted(data.root.rglob("*.bmp")):
        path.with_name(f"again{path.name}").write_bytes(path.read_bytes())
    evaluators = {0: KNN(k=1)}
    drawn = Folder(root=data.root, channels=1, split={"test": 0.5})
    with pytest.raises(DataError, match=r"training images too .*\n.*in one split by `split: {by: folder}`"):
        require_unseen(evaluators, drawn, Sources(), 0.01, drawn.build("train"))
    copied(data.root, data.test, 20)
    with pytest.raises(DataError, match="name test images of their own, remove the equal ones"):
        require_unseen(evaluators, data, Sources(), 0.01, data.build("train"))


def test_test_images_of_an_evaluator_are_held_against_the_training_images(
    data: Folder, tmp_path: Path
) -> None:
    other = Folder(root=pictures(tmp_path / "more", range(200, 220)), test=data.root, channels=1)
    evaluate = [{"kind": "knn", "k": 1, "train": other.model_dump()}]
    with pytest.raises(DataError, match=r"evaluate\.0: 40 of 40 test images are training images too"):
        run(tmp_path / "run", data, evaluate=evaluate)


def test_the_test_split_alone_may_name_its_own_folder(data: Folder) -> None:
    alone = Folder(root=data.test, test=data.test, channels=1)
    evaluators, sources = {0: KNN(k=1, test=alone)}, Sources()
    assert require_unseen(evaluators, data, sources, 0.0, data.build("train")) == []
    with pytest.raises(DataError, match="40 of 40"):
        require_unseen({0: KNN(k=1)}, alone, sources, 0.5)
    assert len(require_unseen({0: KNN(k=1), 1: KNN(k=2, name="two")}, alone, sources, 1.0)) == 1, "told once"


def test_test_images_of_one_class_give_no_score(data: Folder, tmp_path: Path) -> None:
    for path in (data.test / "b").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"evaluate\.0: all 20 test images are of one class, 'a', of 2"):
        run(tmp_path / "run", data)


def test_an_evaluation_refuses_them_too(data: Folder, tmp_path: Path) -> None:
    copied(data.root, data.test, 1)
    fields = {
        "backbone": tiny.VIT, "size": 8, "normalize": {"mean": [0.3], "std": [0.4]}, "data": data.model_dump(),
        "evaluate": [{"kind": "knn", "k": 1}], "workers": 0, "device": "cpu", "out": tmp_path / "out",
    }  # fmt: skip
    with pytest.raises(DataError, match="1 of 41 test images"):
        evaluate_spec(parse_as(EvaluationSpec, fields))
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="1 of 41 test images"):
        outcome = evaluate_spec(parse_as(EvaluationSpec, {**fields, "max_duplicates": 0.1}))
    assert outcome["metrics"]["knn"].keys() >= {"accuracy"}
