"""Towers where runs begin, are evaluated, exported and told about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sslkit.build.restore import learned_of, packed, restore, unpacked
from sslkit.build.start_weights import begin_with, learned_before
from sslkit.core.transform import bytes_of
from sslkit.errors import PluginError, SpecError
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.export import export
from sslkit.evaluate.open_network import of_run
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.subject import NetSubject
from sslkit.runs.lock import read_lock
from sslkit.runtime.rank_agreement import from_first_rank
from sslkit.train.compose import compose
from sslkit.train.launch import train
from sslkit.train.resolved_values import parameters, resolved
from tests import streams, tiny

AVERAGES = {"reader": {"of": "text", "momentum": 0.5}}


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    with streams.registered():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with streams.registered():
        folder = tmp_path_factory.mktemp("towers") / "run"
        readout = {"net": "text", "pool": "mean"}
        train(streams.spec(folder, nets=AVERAGES, readout=readout, steps=3), say=lambda text: None)
    return folder


def test_the_lock_keeps_what_was_learned_in_few_bytes(trained: Path) -> None:
    facts = read_lock(trained)["resolved"]
    assert learned_of(facts) == {"words": "".join(sorted({c for name in streams.NAMES for c in name}))}
    assert set(facts["parameters"]) == {"student", "text", "objectives.pairs", "objectives.pixels"}
    assert {one["net"] for one in facts["passes"]} == {"student", "text"}
    assert next(one for one in facts["passes"] if one["net"] == "text")["patches"] == 7
    assert "inputs" not in resolved(tiny.spec(), compose(tiny.spec(), tiny.CPU), tiny.CPU)


def test_text_of_a_vocabulary_is_packed() -> None:
    text = "".join(f'"token{i}": {i}, é\n' for i in range(2000))
    assert unpacked(packed(text)) == text
    assert len(packed(text)) < len(text) / 3
    assert unpacked(packed("")) == ""


def test_a_run_that_begins_with_another_takes_its_tower_its_average_and_its_words(trained: Path) -> None:
    run = streams.spec(nets=AVERAGES, start_from={"run": str(trained)})
    assert learned_before(run) == learned_of(read_lock(trained)["resolved"])
    composed = compose(run, tiny.CPU)
    before = restore(trained).system.state_dict()
    after = composed.system.state_dict()
    for name in ("nets.text.embed.weight", "nets.reader.embed.weight", "nets.student.net.cls_token"):
        assert torch.equal(after[name], before[name])
    begun = begin_with(composed.system, run)
    assert begun is not None
    assert begun.parts["nets.text"].startswith("taken")
    assert begun.parts["nets.reader"].startswith("taken")
    other = streams.spec(nets={"echo": {"of": "text"}}, start_from={"run": str(trained)})
    begun = begin_with(compose(other, tiny.CPU).system, other)
    assert begun is not None
    assert begun.parts["nets.echo"] == "a copy of 'text'"


def test_the_network_of_a_run_is_opened_with_its_view_and_without_statistics(trained: Path) -> None:
    network = of_run(trained)
    assert network.view.symbols
    assert network.view.shape == (7,)
    assert network.view.mean == ()
    assert network.net.dim == 8
    assert network.view.facts["vocabulary"] == 4 + len({c for name in streams.NAMES for c in name})


def test_files_of_networks_are_of_those_that_read_images(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"timm has no such network: it reads symbols|reads tokens, and files are of"
    ):
        export(trained, tmp_path / "net.safetensors")


def test_trained_values_are_counted_by_network() -> None:
    composed = compose(streams.spec(), tiny.CPU)
    counts = parameters(composed.system)
    assert counts["text"] == sum(p.numel() for p in composed.system.nets["text"].parameters())
    assert composed.system.trained == ("student", "text")


def test_the_first_rank_speaks_for_all() -> None:
    assert from_first_rank(tiny.CPU, lambda: {"a": 1}) == {"a": 1}

    def refuse() -> object:
        raise PluginError("no")

    with pytest.raises(PluginError, match="no"):
        from_first_rank(tiny.CPU, refuse)


def test_evaluators_read_any_view_of_a_run_and_samples_of_their_own(trained: Path) -> None:
    restored = restore(trained)
    view, whole = restored.env.view("words"), (restored.system, restored.env)
    reading = reading_of(restored.spec, view, tiny.CPU, contextlib.nullcontext, run=whole)
    (knn,) = tiny.spec(evaluate=[{"kind": "knn"}]).evaluate
    subject = NetSubject(restored.system.nets["text"], reading, restored.spec.data, knn, Sources(), {})
    rows = subject.rows("test", lambda values, indices: values.float(), view="words")
    assert rows.values.shape == (64, 7)
    images = subject.rows("test", lambda values, indices: values.flatten(1), view="global")
    assert images.values.shape == (64, 64)
    prompts = subject.values("words", [bytes_of("one"), bytes_of("two")])
    assert torch.equal(prompts[0].float(), rows.values[1].float())
    assert torch.equal(prompts[1].float(), rows.values[2].float())
