"""Tokenizers that others made: of BERT's, RoBERTa's, GPT-2's and CLIP's forms, with special tokens of their names."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from sslkit.interfaces import Draw, bytes_of
from sslkit.plugin import SpecError
from sslkit_text.specs.words import BPE, MaskedBPE
from sslkit_text.vocabulary import USUAL, read_tokenizer, special_tokens
from tests.plugins.text.pictures import captioned

TEXTS = ["a photo of a cat", "a photo of a dog", "two cats and a dog"] * 4
ROLES = ("pad", "start", "end", "mask")
NO_NAMES = dict.fromkeys(ROLES)


def word_pieces():
    """BERT's form: pieces of words, and a template that would add special tokens once more."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=80, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=20)
    tokenizer.enable_truncation(6)
    return tokenizer.to_str()


def byte_pairs(special):
    """GPT-2's form, with these special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer.to_str()


FORMS = {
    "bert": (word_pieces(), {"pad": 0, "start": 2, "end": 3, "mask": 4}),
    "roberta": (byte_pairs(["<s>", "<pad>", "</s>", "<mask>"]), {"pad": 1, "start": 0, "end": 2, "mask": 3}),
    "clip": (byte_pairs(["<|startoftext|>", "<|endoftext|>"]), {"pad": 0, "start": 0, "end": 1}),
    "open_clip": (
        byte_pairs(["<start_of_text>", "<end_of_text>", "<pad>"]),
        {"pad": 2, "start": 0, "end": 1},
    ),
}


def rows(learned, texts, size=14):
    return BPE().build(size, learned)([bytes_of(text) for text in texts], Draw(0, torch.arange(len(texts))))


@pytest.mark.parametrize("form", FORMS)
def test_special_tokens_go_by_their_usual_names(form):
    learned, expected = FORMS[form]
    facts = special_tokens(learned, NO_NAMES)
    assert {role: facts[role] for role in ROLES if role in facts} == expected
    assert facts["vocabulary"] == Tokenizer.from_str(learned).get_vocab_size()


def test_dropout_of_a_file_is_off_since_it_has_no_seed():
    tokenizer = Tokenizer.from_str(FORMS["roberta"][0])
    tokenizer.model.dropout = 0.5
    dropping = tokenizer.to_str()
    encodings = {tuple(Tokenizer.from_str(dropping).encode(TEXTS[0]).ids) for _ in range(20)}
    assert len(encodings) > 1, "the package itself drops"
    read = {tuple(read_tokenizer(dropping).encode(TEXTS[0]).ids) for _ in range(20)}
    assert read == {tuple(read_tokenizer(FORMS["roberta"][0]).encode(TEXTS[0]).ids)}
    assert rows(dropping, [TEXTS[0]]).equal(rows(FORMS["roberta"][0], [TEXTS[0]]))


@pytest.mark.parametrize("form", FORMS)
def test_a_row_has_one_start_and_one_end(form):
    """Also where the file adds some by itself, pads or cuts: that is not done twice."""
    learned, facts = FORMS[form]
    row = rows(learned, ["a photo of a cat and two dogs"], 30)[0].tolist()
    end = row.index(facts["end"])
    assert row[0] == facts["start"]
    assert facts["end"] not in row[end + 1 :]
    assert set(row[end + 1 :]) <= {facts["pad"]}
    assert end > 7


@pytest.mark.parametrize("form", FORMS)
def test_words_come_back(form):
    learned, facts = FORMS[form]
    row = rows(learned, ["a photo of a dog"], 30)[0].tolist()
    words = Tokenizer.from_str(learned)
    tokens = [words.id_to_token(number) for number in row[1 : row.index(facts["end"])]]
    text = "".join(tokens).replace("Ġ", "").replace("##", "")
    assert text == "aphotoofadog"


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_below_the_vocabulary(form):
    learned, _ = FORMS[form]
    found = rows(learned, [*TEXTS, "日本語 ñ 🙂", ""])
    assert found.shape == (len(TEXTS) + 2, 14)
    assert found.dtype == torch.int64
    assert int(found.min()) >= 0
    assert int(found.max()) < special_tokens(learned, NO_NAMES)["vocabulary"]


def test_words_of_a_file_without_a_mask_token_cannot_be_hidden():
    with pytest.raises(SpecError, match=r"words\.mask"):
        MaskedBPE().build((2, 14), FORMS["clip"][0])
    hidden = MaskedBPE(probability=0.5).build((2, 14), FORMS["bert"][0])
    found = hidden([bytes_of(TEXTS[0])] * 50, Draw(0, torch.arange(50)))
    assert (found[:, 0] == 4).any(), "BERT's own mask token"


def test_names_win_over_usual_ones():
    learned, _ = FORMS["roberta"]
    facts = special_tokens(learned, {**NO_NAMES, "end": "<mask>"})
    assert facts["end"] == facts["mask"] == 3


def test_no_role_shares_a_usual_name():
    names = [name for role in ROLES for name in USUAL[role]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("vocabulary", [261, 270, 290])
def test_a_learned_vocabulary_is_as_large_as_asked_for(vocabulary):
    learned = BPE(vocabulary=vocabulary, min_frequency=1).learn(captioned(TEXTS), "caption")
    facts = special_tokens(learned, NO_NAMES)
    assert 260 <= facts["vocabulary"] <= vocabulary
    longer, shorter = (rows(text, TEXTS[:1], 30) for text in (FIRST, learned))
    assert (shorter[0] != 0).sum() <= (longer[0] != 0).sum()


FIRST = BPE(vocabulary=261).learn(captioned(TEXTS), "caption")
"""Hardly more than bytes."""


def test_rare_pairs_are_not_joined():
    often, never = (
        BPE(min_frequency=frequency).learn(captioned(TEXTS), "caption") for frequency in (2, 1000)
    )
    assert special_tokens(never, NO_NAMES)["vocabulary"] == 260
    assert special_tokens(often, NO_NAMES)["vocabulary"] > 260
