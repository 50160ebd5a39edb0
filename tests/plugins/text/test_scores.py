"""Evaluators of images and texts, on arithmetic that is known and on a run that trained for a moment."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from sslkit import Folder, Run
from sslkit.evaluate.embeddings.embed_images import embed
from sslkit.evaluate.evaluate_network import evaluate_spec
from sslkit.plugin import SpecError
from sslkit.specs.evaluation import EvaluationSpec
from sslkit_text.image_text_retrieval import first_ranks
from sslkit_text.modality_gap import gap, gap_interval
from sslkit_text.specs.scores import ImageTextRetrieval, ZeroShot
from tests.conftest import ROOT
from tests.plugins.text.test_hybrid import data_of


def test_ranks_count_what_is_as_similar():
    similarity = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.1, 0.8, 0.3]])
    belongs = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    assert first_ranks(similarity, belongs).tolist() == [0, 2, 1]


def test_the_gap_is_the_distance_of_centers():
    first, second = torch.eye(3)[[0, 0]], torch.eye(3)[[1, 1]]
    assert gap(first, second).item() == pytest.approx(2**0.5)
    assert gap(first, first).item() == 0


def test_the_interval_of_a_gap_holds_it():
    generator = torch.Generator().manual_seed(0)
    images, texts = F.normalize(torch.randn(2, 200, 8, generator=generator) + 0.3, dim=-1).double()
    texts = F.normalize(texts + torch.eye(8)[0], dim=-1)
    low, high = gap_interval(images, texts, 0, 200)
    assert low < gap(images, texts) < high
    assert high - low < 0.3
    assert gap_interval(images, texts, 0, 200) == (low, high)
    fewer = gap_interval(images[:50], texts[:50], 0, 200)
    assert fewer[1] - fewer[0] > high - low


def test_metrics_are_declared():
    assert set(ImageTextRetrieval(ks=(1, 3)).reported_metrics()) == {
        "image_to_text_1",
        "image_to_text_3",
        "text_to_image_1",
        "text_to_image_3",
    }
    assert set(ZeroShot().reported_metrics()) == {"accuracy"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three epochs of the example."""
    out = tmp_path_factory.mktemp("clip") / "run"
    changes = [
        "epochs=3",
        "batch_size=128",
        "evaluate.0.every=end",
        "optimizer.lr=3.0e-3",
        "schedule.warmup_epochs=0",
    ]
    Run.from_yaml(ROOT / "examples" / "digits_clip.yaml", *changes, f"out={out}").fit()
    return out


def test_a_run_is_scored_by_texts(run):
    """Far above chance, with intervals; the tables say how many there were."""
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert metrics["eval/zero_shot/accuracy"] > 0.2
    assert (
        metrics["eval/image_text_retrieval/image_to_text_10"]
        >= metrics["eval/image_text_retrieval/image_to_text_1"]
    )
    assert 0 < metrics["eval/modality_gap/gap"] < 2


def test_the_run_keeps_its_vocabulary(run):
    lock = yaml.safe_load((run / "spec.lock.yaml").read_text())
    assert [*lock["resolved"]["inputs"]["learned"]] == ["text"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Pictures that have classes and no captions."""
    root = tmp_path_factory.mktemp("plain")
    for i in range(6):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (40 * i, 0, 0)).convert("L").save(path)
    return root


def test_images_without_captions_have_embeddings(run, plain, tmp_path):
    """The view of texts is not read, so other images need none."""
    embedded = embed(run, out=tmp_path / "e.npy", data=plain, workers=0)
    assert np.load(embedded.path).shape[0] == 6
    assert not embedded.about.unreadable


def test_other_images_are_named_by_texts(run, plain, tmp_path):
    """Zero-shot needs names of classes alone; what compares captions is refused before it begins."""
    data = Folder(root=plain, test=plain, channels=1)
    fields = {"run": run, "data": data, "workers": 0, "max_duplicates": 1.0}
    spec = EvaluationSpec(out=tmp_path / "scores", evaluate=(ZeroShot(),), **fields)
    metrics = evaluate_spec(spec)["metrics"]
    assert 0 <= metrics["zero_shot"]["accuracy"] <= 1
    with pytest.raises(SpecError, match="'folder' gives images only"):
        evaluate_spec(EvaluationSpec(out=tmp_path / "more", evaluate=(ImageTextRetrieval(),), **fields))


def test_texts_of_color_images_are_evaluated(plain, tmp_path):
    """A row of tokens has one channel, whatever the images have."""
    data = {"kind": "class_captions", "images": {"kind": "folder", "root": str(plain), "test": str(plain)}}
    views = {"global": {"size": 16}, "text": data_of(tmp_path)["views"]["text"]}
    fields = {
        "data": data,
        "views": views,
        "objectives": {"pairs": {"kind": "clip", "dim": 8}},
        "balance": {"kind": "fixed"},
        "batch_size": 6,
        "steps": 1,
        "workers": 0,
        "max_duplicates": 1.0,
        "readout": {"net": "text"},
        "evaluate": [{"kind": "knn", "k": 1}],
    }
    Run(**data_of(tmp_path / "run", **fields)).fit()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]["eval/knn/accuracy"] == 1
