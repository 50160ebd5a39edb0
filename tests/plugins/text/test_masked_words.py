"""Hidden words: two rows of tokens, the objective that guesses them, and a run on text alone."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
import torch.nn.functional as F

from sslkit import Run
from sslkit.interfaces import Draw, Tokens, bytes_of
from sslkit.plugin import Env, NetInfo, SpecError, View
from sslkit_text.masked_tokenize import Hiding, MaskedTokenize
from sslkit_text.masked_words import MaskedWordsObjective
from sslkit_text.specs.words import BPE, MaskedBPE
from sslkit_text.vocabulary import learned_bpe
from tests.plugins.text.pictures import captioned
from tests.plugins.text.tokens import Fixed

TEXTS = ["a photo of a cat", "a photo of a dog", "two cats and a dog"]
LEARNED = learned_bpe(captioned(TEXTS), "caption", 290, 2, True)
FACTS = {"vocabulary": 30, "pad": 0, "start": 28, "end": 29, "mask": 27}


def rows(transform, count=400, key=0):
    return transform([bytes_of("a photo of a cat")] * count, Draw(key, torch.arange(count)))


def test_the_second_row_has_what_the_first_hides():
    transform = MaskedBPE(probability=0.3).build((2, 12), LEARNED)
    text = BPE().build(12, LEARNED)([bytes_of("a photo of a cat")], Draw(0, torch.arange(1)))[0]
    read, hidden = rows(transform).unbind(1)
    asked = hidden != 0
    assert torch.equal(hidden[asked], text.expand_as(hidden)[asked])
    assert torch.equal(read[~asked], text.expand_as(read)[~asked])
    words = text > 3
    assert asked[:, words].double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not asked[:, ~words].any(), "special tokens stay"
    assert (read[asked] == 3).double().mean().item() == pytest.approx(0.8, abs=0.03)


def test_the_end_may_be_hidden_as_in_albef():
    transform = MaskedBPE(probability=0.5, hide_end=True).build((2, 12), LEARNED)
    hidden = rows(transform)[:, 1]
    assert ((hidden == 2).any(1)).double().mean().item() == pytest.approx(0.5, abs=0.1)
    assert not (hidden == 1).any()


def test_draws_are_a_function_of_the_row():
    transform = MaskedBPE().build((2, 12), LEARNED)
    every = rows(transform, 40)
    part = transform([bytes_of("a photo of a cat")] * 10, Draw(0, torch.arange(10, 20)))
    assert torch.equal(part, every[10:20])
    assert torch.equal(rows(pickle.loads(pickle.dumps(transform)), 40), every)
    assert not torch.equal(rows(transform, 40, key=1), every)


def test_a_tokenizer_without_a_mask_token_is_refused():
    with pytest.raises(SpecError, match=r"words\.mask"):
        MaskedBPE().build((2, 12), LEARNED.replace("[MASK]", "[OTHER]"))


def env(sides=(2, 8)):
    transform = MaskedTokenize(Fixed(FACTS, 8), Hiding(0.15, 0.8, 0.1, False))
    view = View(sides, 1, 1, (), (), type="tokens", stream="caption", axes=2, transform=transform)
    return Env({"masked_text": view}, {"student": NetInfo(16, 1)}, {})


def test_the_loss_is_the_mean_over_hidden_words():
    objective = MaskedWordsObjective("masked_text", "student", env())
    hidden = torch.tensor([[0, 7, 0, 0, 9, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 5]])
    patch = torch.randn(1, 2, 8, 16)
    image = torch.stack([torch.zeros_like(hidden), hidden], dim=1)[None]
    output = objective({}, Tokens(image, patch[:, :, 0], patch, None, ()))
    logits = objective.head(patch[0])
    expected = F.cross_entropy(
        torch.stack([logits[0, 1], logits[0, 4], logits[1, 7]]), torch.tensor([7, 9, 5])
    )
    torch.testing.assert_close(output.loss, expected)
    assert output.metrics["hidden"].item() == pytest.approx(3 / 16)
    nothing = objective({}, Tokens(torch.zeros_like(image), patch[:, :, 0], patch, None, ()))
    assert nothing.loss == 0


def test_a_view_without_hidden_words_is_refused():
    plain = View(8, 1, 1, (), (), type="tokens", stream="caption", axes=1, transform=Fixed(FACTS, 8))
    with pytest.raises(SpecError, match="masked_bpe"):
        MaskedWordsObjective("text", "student", Env({"text": plain}, {"student": NetInfo(16, 1)}, {}))


def data_of(out, **changes):
    return {
        "data": {
            "kind": "class_captions",
            "images": {"kind": "digits"},
            "templates": ["the number {} is here"],
        },
        "views": {"masked_text": {"stream": "caption", "size": [2, 12], "transform": {"kind": "masked_bpe"}}},
        "backbone": {"kind": "text_transformer", "width": 32, "depth": 1, "heads": 2, "causal": False},
        "objective": {"kind": "mlm"},
        "optimizer": {"lr": 5.0e-3, "scale": "absolute"},
        "batch_size": 128,
        "steps": 40,
        "out": out,
        **changes,
    }


def test_text_alone_is_learned(tmp_path):
    """From a guess among the vocabulary to what the templates tell."""
    Run(**data_of(tmp_path / "run")).fit()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss/mlm"] for line in lines if "loss/mlm" in line]
    assert losses[0] > 5
    assert losses[-1] < 2.5


@pytest.mark.parametrize(
    ("size", "transform", "message"),
    [
        ([3, 12], {"kind": "masked_bpe"}, r"size: \[2, 12\]"),
        (12, {"kind": "bpe"}, "hides no words"),
        ([2, 12], {"kind": "masked_bpe", "masked": 0.8, "replaced": 0.5}, "at most 1"),
    ],
)
def test_specs_that_do_not_fit_are_refused(tmp_path, size, transform, message):
    views = {"masked_text": {"stream": "caption", "size": size, "transform": transform}}
    with pytest.raises(SpecError, match=message):
        Run(**data_of(tmp_path, views=views))
