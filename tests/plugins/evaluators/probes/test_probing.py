"""Probes by attribute and layer: planted attributes are found where they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit import Probing
from sslkit.core.evaluator import Rows, Setting, Subject
from sslkit.core.passes import Tokens
from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.errors import DataError
from sslkit_evaluators.probes.probing import draw_heat, read
from tests.plugins.evaluators.networks import Planted, network, run

VIT = {"name": "vit_tiny_patch16_224", "patch": 8, "width": 16, "depth": 3, "heads": 2}


class Labels(Source):
    """Labels without images."""

    channels, classes, fingerprint = 3, (), "labels"

    def __init__(self, labels: Tensor | None, attributes: dict[str, Tensor]) -> None:
        self.labels, self.attributes = labels, attributes

    def __len__(self) -> int:
        return 120

    def load(self, index: int) -> Tensor:
        raise AssertionError("no images")


class Layered:
    """Layer l of three knows attribute `a{l}` only; the last, after the norm, knows `a2`."""

    seed, view, pool, workers = 0, View(8, 1, 3, (0.0,) * 3, (1.0,) * 3), "cls", 0

    pooled = Subject.pooled

    class Net:
        depth = 3

    def __init__(self, **changes) -> None:
        self.sources = {s: self._source(i) for i, s in enumerate(("train", "test"))} | changes
        self.passes = 0

    @staticmethod
    def _source(seed: int) -> Labels:
        generator = torch.Generator().manual_seed(seed)
        return Labels(None, {f"a{i}": torch.randint(0, 3, (120,), generator=generator) for i in range(3)})

    def backbone(self):
        return self.Net()

    def source(self, split):
        return self.sources[split]

    def tokens(self, images, layers=(), attention=False):
        self.passes += 1
        wanted = self.asked.attributes
        generator = torch.Generator().manual_seed(5)
        at = [
            torch.nn.functional.one_hot(wanted[f"a{i}"].clamp(min=0), 3).float()
            + 0.05 * torch.randn(len(images), 3, generator=generator)
            for i in range(3)
        ]
        inner = tuple(at[layer][None, :, None].expand(-1, -1, 5, -1) for layer in layers)
        return Tokens(images[None], at[2][None], at[2][None, :, None], None, inner)

    def rows(self, split, make):
        self.asked = self.sources[split]
        indices = torch.arange(len(self.asked))
        return Rows(make(torch.zeros(len(indices), 3, 8, 8), indices), indices, self.asked.labels, ())


def test_each_attribute_is_found_at_the_layer_that_carries_it():
    subject = Layered()
    scores = Probing(epochs=20).build()(subject)
    assert scores.metrics == {
        "accuracy": 1.0,
        "a0_accuracy": 1.0, "a0_layer": 0.0,
        "a1_accuracy": 1.0, "a1_layer": 1.0,
        "a2_accuracy": 1.0, "a2_layer": -1.0,
    }  # fmt: skip
    found = torch.tensor(scores.tables["accuracy"])
    assert scores.tables["layers"] == [0, 1, -1]
    assert scores.tables["attributes"] == ["a0", "a1", "a2"]
    assert bool((found[~torch.eye(3, dtype=torch.bool)] < 0.6).all()), "the others are at chance"
    assert all(0.2 < share < 0.5 for share in scores.tables["majority"])
    assert subject.passes == 2, "one pass over each split reads all layers"
    assert scores.predictions is None


def test_test_labels_choose_no_layer():
    poisoned = Layered()
    right = Probing(epochs=10).build()(poisoned)
    source = poisoned.sources["test"]
    truth = dict(source.attributes)
    make = poisoned.rows

    def rows(split, read_rows):
        source.attributes = truth
        found = make(split, read_rows)
        source.attributes = {name: (values + 1) % 3 for name, values in truth.items()}
        return found

    poisoned.rows = rows
    source.attributes = {name: (values + 1) % 3 for name, values in truth.items()}
    wrong = Probing(epochs=10).build()(poisoned)
    assert wrong.tables["holdout_accuracy"] == right.tables["holdout_accuracy"]
    assert [wrong.metrics[f"a{i}_layer"] for i in range(3)] == [0.0, 1.0, -1.0]
    assert wrong.metrics["accuracy"] < 0.1


def test_one_attribute_has_predictions_and_unknown_images_are_left_out():
    subject = Layered()
    for source in subject.sources.values():
        source.attributes["a1"][::3] = -1
    scores = Probing(attributes=("a1",), layers=(1, 0), epochs=20).build()(subject)
    assert scores.metrics == {"accuracy": 1.0, "a1_accuracy": 1.0, "a1_layer": 1.0}
    assert len(scores.predictions.labels) == 80
    assert torch.equal(scores.predictions.labels, scores.predictions.guesses)


def test_values_of_separate_sources_are_matched_by_name():
    """Each source counts its own values: `red` may be 0 in one and 2 in the other."""
    subject = Layered()
    train, test = subject.sources["train"], subject.sources["test"]
    train.attribute_values = {"a1": ("blue", "green", "red")}
    test.attribute_values = {"a1": ("red", "blue", "green")}
    right = dict(test.attributes)
    make = subject.rows

    def rows(split, read_rows):
        test.attributes = right
        features = make(split, read_rows)
        test.attributes = right | {"a1": (right["a1"] + 1) % 3}
        return features

    subject.rows, test.attributes = rows, right | {"a1": (right["a1"] + 1) % 3}
    scores = Probing(epochs=20).build()(subject)
    assert [scores.metrics[f"a{i}_accuracy"] for i in range(3)] == [1.0, 1.0, 1.0]
    test.attribute_values = {"a1": ("red", "blue", "pink")}
    with pytest.raises(
        DataError, match=r"attribute 'a1' is 'pink' in test images.*those have blue, green, red"
    ):
        Probing(epochs=1).build()(subject)
    problems = list(Probing().build().check(Setting(subject.sources, None, "cls")))
    assert any("'pink'" in problem.message for problem in problems)


def test_classes_of_separate_sources_are_matched_by_name_too():
    subject = Layered()
    labels = torch.arange(120) % 2
    train, test = subject.sources["train"], subject.sources["test"]
    train.labels, train.classes = labels, ("cat", "dog")
    test.labels, test.classes = 1 - labels, ("dog", "cat")
    columns = Probing().build()._matched(subject.sources)
    assert torch.equal(columns["train"]["class"], columns["test"]["class"])


def test_errors_name_the_attribute():
    with pytest.raises(
        DataError, match=r"attribute 'size', which the train images lack; they have a0, a1, a2"
    ):
        Probing(attributes=("size",)).build()(Layered())
    bare = Labels(None, {"a0": torch.zeros(120, dtype=torch.int64)})
    with pytest.raises(DataError, match="test images lack the attribute 'a1'"):
        Probing(epochs=1).build()(Layered(test=bare))
    empty = Layered()
    empty.sources["train"].attributes["a2"][:] = -1
    with pytest.raises(DataError, match="'a2' is unknown for all train images"):
        Probing(epochs=1).build()(empty)
    nothing = Labels(None, {})
    with pytest.raises(DataError, match="probing needs labels, which the train images lack; they have none"):
        Probing().build()(Layered(train=nothing))


def vit(pool):
    from sslkit import Readout, ViT

    return network(
        Probing.example(), backbone=ViT(**VIT), readout=Readout(pool=pool), data=Planted(train=20, tests=10)
    )


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_layers_are_read_as_the_readout_reads_them(pool):
    subject = vit(pool)
    subject.backbone().eval()
    depths = read(subject, "train", (0, 1, -1))
    for layer, values in zip((0, 1, -1), depths.values, strict=True):
        torch.testing.assert_close(values, subject.features("train", layer).values, rtol=0, atol=1e-6)
    assert torch.equal(depths.indices, torch.arange(20))


def test_a_network_on_planted_images():
    from sslkit import ViT

    spec = Probing(epochs=20)
    subject = network(spec, backbone=ViT(**VIT))
    scores = run(spec, subject)
    assert scores.tables["attributes"] == ["parity", "coin", "class"]
    assert scores.metrics["parity_accuracy"] > 0.9
    assert scores.metrics["class_accuracy"] > 0.9
    assert 0.2 < scores.metrics["coin_accuracy"] < 0.8, "a random attribute cannot be known"
    assert run(spec, subject).metrics == scores.metrics


def test_the_heat_map_is_drawn(tmp_path):
    table = {
        "layers": [0, 1, -1],
        "attributes": ["size", "class"],
        "accuracy": [[0.1, 0.5, 0.9], [0.2, 0.2, 1.0]],
    }
    draw_heat(tmp_path / "map.png", table)
    assert (tmp_path / "map.png").stat().st_size > 5000


def test_protocol_names_what_differs():
    assert Probing().build().protocol == "probing@1"
    assert Probing(layers=(0, -1)).build().protocol == "probing@1(layers=(0, -1))"
