"""Model cards: front matter for the hub, and nothing that the run does not know."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import timm
import torch
import yaml

import sslkit
from sslkit.errors import SpecError
from sslkit.evaluate.export import export as export_weights
from sslkit.evaluate.exports.model_card import Card, card_of, table
from sslkit.evaluate.exports.written import Reading, nearness
from sslkit.train.launch import train
from tests import tiny
from tests.evaluate.exports.networks import model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was evaluated twice, beside baselines. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    knn = {"kind": "knn", "k": 5, "every": "2 steps", "baselines": True}
    run = tiny.spec(
        out, steps=4, evaluate=[knn, {"kind": "geometry", "max_images": 60}], checkpoint={"every": "2 steps"}
    )
    train(run, lambda text: None)
    return out


@pytest.fixture(scope="module")
def card(finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "net"
    return sslkit.export(finished, to="timm", out=out, license="apache-2.0").card.read_text(encoding="utf-8")


def front_matter(text):
    _, matter, rest = text.split("---\n", 2)
    return yaml.safe_load(matter), rest


def rows(text, section):
    """The cells of the first table of a section."""
    part = text.split(f"## {section}\n", 1)[1]
    lines = [line for line in part.split("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_hub_reads_its_front_matter(card):
    matter, rest = front_matter(card)
    assert matter == {
        "license": "apache-2.0",
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["sslkit", "self-supervised-learning", "mae"],
    }
    assert rest.lstrip().startswith("# tiny\n")


def test_hugging_faces_own_reader_takes_it(card, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(card)
    loaded = hub.ModelCard.load(tmp_path / "README.md")
    assert (loaded.data.license, loaded.data.library_name) == ("apache-2.0", "timm")
    assert loaded.data.pipeline_tag == "image-feature-extraction"


def test_it_says_what_the_network_was_trained_with(card, finished):
    training = {row[0]: row[1] for row in rows(card, "Training")}
    lock = yaml.safe_load((finished / "spec.lock.yaml").read_text())
    fingerprint = lock["data"]["data.train"]["fingerprint"]
    assert training["Data"] == f"`digits`, 1,437 images, fingerprint {fingerprint[:16]}"
    assert (training["Steps"], training["Images"]) == ("4", "128")
    assert training["Device"].startswith("cpu")
    assert re.fullmatch(r"step 4, sha256 [0-9a-f]{16}", training["Weights"])
    spec = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert spec["objective"]["kind"] == "mae"
    assert spec["backbone"]["width"] == 16
    assert spec["batch_size"] == 32


def test_scores_are_those_of_the_records(card, finished):
    heading, _, knn, geometry = rows(card, "Scores")
    stored = json.loads((finished / "evaluations" / "step-00000004" / "knn.json").read_text())
    low, high = stored["intervals"]["accuracy"]
    baselines = json.loads((finished / "summary.json").read_text())["baselines"]
    assert heading == [
        "Evaluation", "Protocol", "Metric", "Value", "95 % interval", "raw pixels", "untrained", "Images",
    ]  # fmt: skip
    assert knn[:5] == [
        "knn",
        f"`{stored['protocol']}`",
        "accuracy",
        f"{stored['metrics']['accuracy']:.4f}",
        f"{low:.4f} to {high:.4f}",
    ]
    assert knn[5] == f"{baselines['baseline/raw_pixels/knn/accuracy']:.4f}"
    assert knn[6] == f"{baselines['baseline/untrained/knn/accuracy']:.4f}"
    assert knn[7] == "360"
    assert (geometry[0], geometry[4], geometry[5]) == ("geometry", "", "")


def test_scores_of_other_weights_are_left_out(finished, tmp_path):
    """Geometry was measured at the end only, and results whose weights are others are of another network."""
    earlier = sslkit.export(
        finished, to="timm", out=tmp_path / "earlier", checkpoint="step-00000002"
    ).card.read_text()
    assert [row[0] for row in rows(earlier, "Scores")[2:]] == ["knn"]
    assert "| Time |" not in earlier
    assert "| Peak memory |" not in earlier
    shutil.copytree(finished, tmp_path / "run")
    for path in (tmp_path / "run" / "evaluations").rglob("*.json"):
        path.unlink()
    without = sslkit.export(tmp_path / "run", to="timm", out=tmp_path / "without").card.read_text()
    assert "## Scores" not in without
    assert "## Training" in without


def test_nothing_is_said_of_a_license_that_was_not_given(finished, tmp_path):
    matter, _ = front_matter(sslkit.export(finished, to="timm", out=tmp_path / "net").card.read_text())
    assert "license" not in matter


def test_a_license_of_another_name(finished, tmp_path):
    card = sslkit.export(
        finished, to="timm", out=tmp_path / "net", license="Our License, 2026: see LICENSE"
    ).card
    matter, _ = front_matter(card.read_text())
    assert matter["license"] == "other"
    assert matter["license_name"] == "Our License, 2026: see LICENSE"


def test_the_lines_in_it_load_the_folder_wherever_it_is(finished, tmp_path, monkeypatch):
    exported = sslkit.export(finished, to="timm", out=tmp_path / "deep" / "net")
    text = exported.card.read_text()
    assert str(tmp_path) not in text
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(exported.path.parent)
    names = {"image": __import__("PIL.Image").Image.new("L", (20, 30))}
    exec(code, names)
    assert names["features"].shape == (1, 16)


def test_beside_a_file(finished, tmp_path):
    exported = sslkit.export(finished, to="torch-export", out=tmp_path / "net.pt2", normalize=True)
    assert exported.card == tmp_path / "net.pt2.md"
    text = exported.card.read_text()
    assert front_matter(text)[0]["library_name"] == "pytorch"
    assert "- Images: float32 [B, 1, 8, 8], pixels in [0, 1].\n" in text
    assert "torch.export.load('net.pt2')" in text


def test_a_card_that_is_there_stays(finished, tmp_path):
    (tmp_path / "net.pt2.md").write_text("mine")
    with pytest.raises(SpecError, match=r"net\.pt2\.md: is there already"):
        sslkit.export(finished, to="torch-export", out=tmp_path / "net.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2.md"]


def test_of_no_run_only_what_is_known(finished, tmp_path):
    export_weights(finished, tmp_path / "weights.safetensors")
    text = sslkit.export(tmp_path / "weights.safetensors", to="timm", out=tmp_path / "net").card.read_text()
    matter, rest = front_matter(text)
    assert matter["tags"] == ["sslkit"]
    assert rest.lstrip().startswith("# weights.safetensors\n")
    assert "## Training" not in text
    assert "## Scores" not in text


def test_weights_that_it_began_with_are_told(tmp_path):
    net = timm.create_model(
        "vit_tiny_patch16_224", patch_size=4, embed_dim=16, depth=2, num_heads=2, img_size=8, in_chans=1
    )
    torch.save(net.state_dict(), tmp_path / "public.pt")
    backbone = {**tiny.VIT, "checkpoint": str(tmp_path / "public.pt"), "positions": "learned"}
    train(tiny.spec(tmp_path / "run", steps=1, backbone=backbone), lambda text: None)
    text = sslkit.export(tmp_path / "run", to="timm", out=tmp_path / "net").card.read_text()
    training = {row[0]: row[1] for row in rows(text, "Training")}
    assert training["Started from"].startswith("public.pt, under timm's names: ")
    assert "checkpoint" not in text.split("```yaml\n")[1]
    assert str(tmp_path) not in text


def test_the_run_that_it_began_with_is_told(finished, tmp_path):
    start = {"run": str(finished), "checkpoint": "step-00000002"}
    train(tiny.spec(tmp_path / "next", steps=1, start_from=start), lambda text: None)
    text = sslkit.export(tmp_path / "next", to="timm", out=tmp_path / "net").card.read_text()
    assert ["Started from", "run `run`, checkpoint step-00000002"] in rows(text, "Training")
    assert str(finished) not in text


def test_fields_that_changed_on_the_way_are_told(tmp_path):
    train(tiny.spec(tmp_path / "run", steps=4, workers=0), lambda text: None)
    lock_path = tmp_path / "run" / "spec.lock.yaml"
    from sslkit.runs.lock import read_lock, rewrite_lock

    lock = read_lock(tmp_path / "run")
    entry = {
        "step": 2,
        "time": "",
        "spec": {"optimizer.lr": {"then": 1, "now": 2}},
        "data": {},
        "command": [],
    }
    rewrite_lock(tmp_path / "run", {**lock, "lineage": [entry]})
    assert lock_path.is_file()
    text = sslkit.export(tmp_path / "run", to="timm", out=tmp_path / "net").card.read_text()
    assert ["Changed at step 2", "optimizer.lr"] in rows(text, "Training")


def test_notes_and_nearness_stand_under_use(tmp_path):
    opened = model("vit")
    reading = Reading(4e-7, "net = 1", ("lacks the run's head `a.b`",))
    text = card_of(opened, Card("hf", tmp_path / "net", None, normalize=False), reading)
    assert "- It lacks the run's head `a.b`." in text
    assert "its answers were those of the network, to 4e-07 of the largest value." in text
    assert front_matter(text)[0]["library_name"] == "transformers"


@pytest.mark.parametrize(
    ("deviation", "words"), [(0.0, "exactly"), (3.21e-7, "to 3e-07 of the largest value")]
)
def test_nearness_in_words(deviation, words):
    assert nearness(deviation) == words


def test_cells_stay_cells():
    assert table(("a", "b"), [("x | y", "two\nlines")]) == "| a | b |\n| --- | --- |\n| x \\| y | two lines |"
