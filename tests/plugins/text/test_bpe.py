"""Byte-level BPE: learned, read from a file, and as rows of tokens."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sslkit.interfaces import Draw, bytes_of
from sslkit.plugin import DataError, SpecError
from sslkit_text.specs.words import BPE
from sslkit_text.token_rows import framed
from sslkit_text.vocabulary import learned_bpe, read_tokenizer, special_tokens
from tests.plugins.text.pictures import captioned

TEXTS = ["a photo of a cat", "a photo of a dog", "two cats and a dog", "Naïve café 東京"]
NO_NAMES = dict.fromkeys(("start", "end", "pad", "mask"))


@pytest.fixture(scope="module")
def learned():
    return learned_bpe(captioned(TEXTS), "caption", 290, 2, True)


def rows(transform, texts, key=0):
    return transform([bytes_of(text) for text in texts], Draw(key, torch.arange(len(texts))))


def test_the_same_texts_give_the_same_vocabulary_in_any_order(learned):
    assert learned_bpe(captioned(TEXTS[::-1]), "caption", 290, 2, True) == learned
    assert (
        learned_bpe(captioned([*TEXTS, "a bird sings", "a bird sings too"]), "caption", 290, 2, True)
        != learned
    )


def test_special_tokens_come_first(learned):
    facts = special_tokens(learned, NO_NAMES)
    assert {name: facts[name] for name in NO_NAMES} == {"pad": 0, "start": 1, "end": 2, "mask": 3}
    assert 260 < facts["vocabulary"] <= 290


def test_a_row_is_start_words_end_and_padding(learned):
    transform = BPE().build(12, learned)
    row = rows(transform, ["a cat"])[0].tolist()
    end = row.index(2)
    assert row[0] == 1
    assert set(row[end + 1 :]) <= {0}
    assert min(row[1:end]) > 3
    assert transform.facts["end"] == 2


def test_a_long_text_still_ends_with_the_end(learned):
    """CLIP's rule: the last of the tokens that fit is overwritten."""
    whole, cut = (rows(BPE().build(size, learned), ["a photo of a cat and two dogs"])[0] for size in (40, 6))
    assert cut[-1] == 2
    assert torch.equal(cut[:-1], whole[:5])


@pytest.mark.parametrize("text", range(6))
def test_rows_are_open_clips(golden, text):
    """Its words at both lengths; a cut caption ends with the end token, and padding is 0, which is a word too."""
    arrays = golden("openclip_tokenizer")
    start, end, _ = arrays["sot_eot_vocab"].tolist()
    facts = {"start": start, "end": end, "pad": 0}
    whole = arrays["ids77"][text].tolist()
    last = max(place for place, number in enumerate(whole) if number == end)
    assert framed(whole[1:last], facts, 77) == whole
    assert framed(whole[1:last], facts, 8) == arrays["ids8"][text].tolist()


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40))
def test_any_text_has_tokens_of_its_own(text):
    """Bytes stand for what the captions did not have: there is no unknown token, and no text ends before its end."""
    facts = special_tokens(LEARNED, NO_NAMES)
    row = rows(BPE().build(400, LEARNED), [text])[0]
    assert (row == facts["end"]).sum() == 1
    assert int(row.max()) < facts["vocabulary"]


LEARNED = learned_bpe(captioned(TEXTS), "caption", 290, 2, True)


def test_names_of_special_tokens_in_a_caption_are_words(learned):
    """open_clip's tokenizer would end the text there."""
    row = rows(BPE().build(30, learned), ["see [END] and [MASK] here"])[0].tolist()
    assert row.count(2) == 1
    assert 3 not in row


def test_case_and_white_space_do_not_count(learned):
    transform = BPE().build(16, learned)
    plain, odd = rows(transform, ["a photo of a cat", "  A  PHOTO\tof a Cat "])
    assert torch.equal(plain, odd)
    cased = learned_bpe(captioned(TEXTS), "caption", 290, 2, False)
    plain, odd = rows(BPE().build(16, cased), ["a cat", "A cat"])
    assert not torch.equal(plain, odd)


def test_of_several_captions_each_row_draws_one(learned):
    transform = BPE().build(12, learned)
    either = rows(transform, ["a cat", "two dogs"])
    drawn = rows(transform, ["a cat\0two dogs"] * 64)
    counts = [(drawn == row).all(1).sum().item() for row in either]
    assert sum(counts) == 64
    assert min(counts) > 16
    assert torch.equal(rows(transform, ["a cat\0two dogs"] * 64), drawn)
    assert not torch.equal(rows(transform, ["a cat\0two dogs"] * 64, key=1), drawn)


def test_it_travels_to_worker_processes(learned):
    transform = BPE().build(12, learned)
    again = pickle.loads(pickle.dumps(transform))
    assert torch.equal(rows(again, TEXTS), rows(transform, TEXTS))
    assert again.facts == transform.facts


def test_a_file_is_used_as_it_is_and_kept(learned, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(learned, encoding="utf-8")
    spec = BPE(file=path)
    assert spec.learn(captioned(TEXTS), "caption") == learned
    assert torch.equal(rows(spec.build(12, learned), TEXTS), rows(BPE().build(12, learned), TEXTS))


def test_tokens_of_other_names_are_named_in_the_spec(learned):
    other = learned.replace("[END]", "<stop>")
    with pytest.raises(SpecError, match="name it in `end`"):
        BPE().build(12, other)
    assert BPE(end="<stop>").build(12, other).facts["end"] == 2
    with pytest.raises(SpecError, match="<nothing>"):
        BPE(pad="<nothing>").build(12, learned)


def test_a_tokenizer_without_padding_pads_with_0_as_open_clip():
    bare = Tokenizer.from_str(LEARNED.replace("[PAD]", "[OTHER]").replace("[MASK]", "[ANOTHER]"))
    facts = special_tokens(bare.to_str(), NO_NAMES)
    assert facts["pad"] == 0
    assert "mask" not in facts


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(SpecError, match=r"no tokenizer\.json"):
        read_tokenizer("{}")


def test_there_must_be_something_to_learn_from():
    with pytest.raises(DataError, match="nothing to learn from"):
        learned_bpe(captioned(["", " "]), "caption", 290, 2, True)


def test_images_without_a_caption_are_left_out_of_the_vocabulary(learned):
    assert learned_bpe(captioned([*TEXTS, ""]), "caption", 290, 2, True) == learned


def test_what_hindered_learning_is_told():
    """Without it, nobody would know which file is missing."""
    with pytest.raises(DataError, match=r"nothing to learn from\. The first: 0: has no caption"):
        BPE().learn(captioned([" ", ""]), "caption")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("path,caption")
    with pytest.raises(SpecError, match=r"tokenizer\.json: bpe: this is no tokenizer"):
        BPE(file=path).learn(captioned(["a"]), "caption")
