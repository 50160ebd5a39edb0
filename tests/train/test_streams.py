"""Runs with further streams and towers, end to end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sslkit.build.restore import restore
from sslkit.core.passes import Request
from sslkit.core.transform import bytes_of
from sslkit.data.crops import Pipeline
from sslkit.data.decoding_workers import Loading
from sslkit.data.loaders import WorkerFeed
from sslkit.data.resident import resident_streams
from sslkit.errors import SpecError
from sslkit.runs.checkpoint import Checkpoints, load
from sslkit.runs.lock import read_lock
from sslkit.train.compose import compose
from sslkit.train.launch import resume, train
from sslkit.train.step.backward import OfEach
from sslkit.train.supply import supply
from tests import streams, tiny

TEACHER = {"teacher": {"momentum": 0.9}, "reader": {"of": "text", "momentum": 0.5}}


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    with streams.registered():
        yield


def steps(count: int, **changes: Any) -> tuple[Any, list[float]]:
    run = streams.spec(**changes)
    composed = compose(run, tiny.CPU)
    feed = streams.feed(run, composed)
    return composed, [composed.step(i, feed.step(i)).total.item() for i in range(count)]


def test_words_arrive_as_symbols_beside_crops_of_the_same_sample() -> None:
    run = streams.spec()
    composed = compose(run, tiny.CPU)
    batch = next(streams.feed(run, composed).step(0))
    indices, _ = next(composed.order.micro_batches(0))
    words = batch.images["words"]
    assert words.dtype == torch.int64
    assert words.shape == (1, 32, 7)
    assert batch.images["global"].shape == (1, 32, 1, 8, 8)
    transform = composed.env.views["words"].transform
    assert transform is not None
    alphabet = sorted({ord(letter) for name in streams.NAMES for letter in name})
    names = [streams.NAMES[int(i) % 10] for i in indices]
    expected = [[2, *(alphabet.index(ord(c)) + 4 for c in name), 3] + [0] * (5 - len(name)) for name in names]
    assert words[0].tolist() == expected
    special = {"pad": 0, "mask": 1, "start": 2, "end": 3}
    assert composed.env.views["words"].facts == {"vocabulary": len(alphabet) + 4, **special}


def test_a_tower_trains_and_its_average_follows() -> None:
    before = compose(streams.spec(nets=TEACHER), tiny.CPU).system.state_dict()
    composed, losses = steps(6, nets=TEACHER)
    after = composed.system.state_dict()
    assert losses[-1] < losses[0]
    name = "embed.weight"
    moved, average = after[f"nets.text.{name}"], after[f"nets.reader.{name}"]
    assert not torch.equal(before[f"nets.text.{name}"], moved)
    assert not torch.equal(before[f"nets.reader.{name}"], average)
    assert (average - before[f"nets.text.{name}"]).norm() < (moved - before[f"nets.text.{name}"]).norm()
    assert not [p for p in composed.system.nets["reader"].parameters() if p.requires_grad]


def test_workers_give_what_memory_gives_and_missing_words_are_skipped_and_counted() -> None:
    data = {"kind": "named_digits", "in_memory": False, "missing": [3, 4]}
    run = streams.spec(data=data)
    composed = compose(run, tiny.CPU)
    views, told = composed.env.views, dict[int, str]()
    pipeline = Pipeline(run.views, views, run.seed, in_workers=True)
    feed = WorkerFeed(
        composed.source, composed.order, pipeline, tiny.CPU.device,
        start=0, stop=2, how=Loading(0, "batch_size"), unreadable=told.__setitem__,
    )  # fmt: skip
    held = resident_streams(composed.source, views, 1 << 20, tiny.CPU.device, 0, lambda i, why: None)
    assert held is not None
    in_memory = supply(run, composed, tiny.CPU.device, 0, lambda i, why: None)
    for step in range(2):
        for one, other in zip(feed.step(step), in_memory.step(step), strict=True):
            for view in ("global", "words"):
                assert torch.equal(one.images[view], other.images[view])
    assert told == {3: "row 3 has no caption", 4: "row 4 has no caption"}


def test_a_run_that_was_stopped_ends_bit_equal_and_never_learns_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"nets": TEACHER, "log": {"every": 1, "figures": False}}
    whole = train(streams.spec(tmp_path / "whole", **changes), say=lambda text: None)
    train(streams.spec(tmp_path / "part", **changes), say=lambda text: None)
    folder = tmp_path / "part"
    (folder / "summary.json").unlink()
    shutil.rmtree(Checkpoints(folder / "checkpoints").all()[-1])
    monkeypatch.setattr(streams.Letters, "learn", lambda *args: pytest.fail("learned again"))
    again = resume(folder, say=lambda text: None)
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert read_lock(folder)["resolved"]["inputs"]["channels"] == {"image": 1, "caption": 1}
    net = restore(folder).net("reader")
    state = load(Checkpoints(folder / "checkpoints").all()[-1]).state["system"]
    assert torch.equal(net.state_dict()["embed.weight"], state["nets.reader.embed.weight"])
    view = restore(folder).views["words"]
    assert view.transform is not None
    (answer,) = net([Request(torch.zeros(1, 1, 7, dtype=torch.int64), None, "drop", ())])
    assert answer.cls.shape == (1, 1, 8)


def test_one_graph_makes_the_same_step() -> None:
    _, plain = steps(2)
    torch._dynamo.reset()
    run = streams.spec(compile={"enabled": True, "backend": "aot_eager"})
    composed = compose(run, tiny.CPU)
    feed = streams.feed(run, composed)
    compiled = [composed.step(i, feed.step(i)).total.item() for i in range(2)]
    assert compiled == pytest.approx(plain, rel=1e-5)


def test_micro_batches_make_the_same_step() -> None:
    _, whole = steps(2)
    _, parts = steps(2, micro_batch_size=8)
    assert parts == pytest.approx(whole, rel=1e-5)


def test_gradients_are_weighed_on_what_two_terms_reach() -> None:
    def shared(**objectives: Any) -> tuple[set[str], set[str]]:
        run = streams.spec(objectives=objectives, balance={"kind": "pcgrad"})
        composed = compose(run, tiny.CPU)
        backward = composed.step.backward
        assert isinstance(backward, OfEach)
        names = {id(p): name.split(".")[1] for name, p in composed.system.named_parameters()}
        weighed, alone = ({names[id(p)] for p in some} for some in (backward._shared, backward._heads))
        feed = streams.feed(run, composed)
        assert torch.isfinite(composed.step(0, feed.step(0)).total)
        return weighed, alone

    assert shared(pairs=streams.PAIRS, pixels=streams.LAST) == ({"student"}, {"text", "pairs", "pixels"})
    assert shared(pairs=streams.PAIRS, more=streams.PAIRS) == ({"student", "text"}, {"pairs", "more"})


def test_a_tower_has_rates_and_a_freeze_of_its_own() -> None:
    rates = {"text": {"layer_decay": 0.5, "freeze_steps": 1}}
    run = streams.spec(optimizer={"lr": 0.01, "towers": rates})
    composed = compose(run, tiny.CPU)
    scales = {
        name: group["lr_scale"]
        for group in composed.step.optimizer.param_groups
        for p in group["params"]
        for name, q in composed.system.nets["text"].named_parameters()
        if p is q
    }
    assert scales == {"embed.weight": 0.25, "block.weight": 0.5, "block.bias": 0.5}
    before = composed.system.nets["text"].state_dict()["embed.weight"].clone()
    feed = streams.feed(run, composed)
    composed.step(0, feed.step(0))
    assert torch.equal(composed.system.nets["text"].state_dict()["embed.weight"], before)
    composed.step(1, feed.step(1))
    assert not torch.equal(composed.system.nets["text"].state_dict()["embed.weight"], before)


def test_masked_passes_of_a_tower() -> None:
    composed, losses = steps(2)
    env, net = composed.env, composed.system.nets["text"]
    assert env.grid("words").shape == (7,)
    assert env.patches("text", "words").patches == 7
    assert net.dim == 8
    assert torch.isfinite(torch.tensor(losses)).all()
    with pytest.raises(SpecError, match="view 'words' is of tokens, which net 'student' does not read"):
        env.patches("student", "words")


def test_a_readout_of_a_tower_is_evaluated(tmp_path: Path) -> None:
    changes = {"readout": {"net": "text"}, "evaluate": [{"kind": "knn", "k": [1]}], "max_duplicates": 1.0}
    done = train(streams.spec(tmp_path / "run", steps=3, **changes), say=lambda text: None)
    assert done["metrics"]["eval/knn/accuracy"] == 1.0  # a word is its class


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": {"global": tiny.VIEW, "words": {**streams.WORDS, "stream": "captoin"}}},
         "views.words.stream: 'captoin' is not a stream of 'named_digits'. Did you mean 'caption'?"),
        ({"views": {"global": tiny.VIEW, "words": {**streams.WORDS, "stream": "image"}}},
         "views.words.transform: 'letters' takes text, but the stream 'image' is image"),
        ({"views": {"global": tiny.VIEW, "words": {**streams.WORDS, "augment": [{"kind": "flip"}]}}},
         "views.words.augment.0: 'flip' changes image, but this view is of tokens"),
        ({"views": {"global": tiny.VIEW, "words": {**tiny.VIEW, "augment": []}}},
         "towers.text: 'letter_net' reads tokens, and no view is of that"),
        ({"towers": {"text": {"kind": "letter_net"}, "other": {"kind": "letter_net"}}},
         "towers.other: no objective reads this network"),
        ({"nets": {"reader": {"of": "txet"}}},
         "nets.reader.of: 'txet' is not a network that this run trains. Did you mean 'text'?"),
        ({"optimizer": {"towers": {"txet": {}}}},
         "optimizer.towers.txet: is not a name under `towers` of this run. Did you mean 'text'?"),
        ({"readout": {"net": "text", "view": "global"}},
         "readout.view: is of image, but 'text' reads tokens"),
        ({"nets": {"text": {}}}, "nets.text: is `towers.text`, which is trained"),
        ({"nets": {"reader": {"of": "text", "refresh": {"every": "3 steps"}}}},
         "nets.reader.refresh.of: takes the weights of 'student', but it is a copy of 'text'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        streams.spec(**changes)
    assert message in str(refused.value)


def test_a_pass_of_another_type_is_refused() -> None:
    run = streams.spec(objectives={"pairs": {**streams.PAIRS, "net": "student"}, "x": streams.PAIRS})
    with pytest.raises(SpecError, match=r"views\.words: is of tokens, which net 'student' does not read"):
        compose(run, tiny.CPU)


def test_text_travels_as_bytes() -> None:
    assert bytes_of("é").tolist() == [[0xC3, 0xA9]]
    assert bytes_of("").shape == (1, 0)
