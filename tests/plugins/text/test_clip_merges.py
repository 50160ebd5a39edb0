"""CLIP's own tokenizer, from files of the layout of its merges."""

from __future__ import annotations

import gzip

import pytest
import torch

from sslkit.interfaces import Draw, bytes_of
from sslkit.plugin import DataError, SpecError
from sslkit_text import clip_merges
from sslkit_text.clip_merges import clip_text, clip_tokenizer
from sslkit_text.specs.words import BPE, MaskedBPE
from sslkit_text.vocabulary import read_tokenizer, special_tokens, words_of
from tests.plugins.text.merges import COUNT, as_clip, write
from tests.plugins.text.pictures import captioned

SMALL = ["c a", "ca t</w>", "d o", "do g</w>", "' s</w>"]
START, END, A, CAT, DOG, OF_IT = 517, 518, 256 + 64, 513, 515, 516
"""Numbers in a tokenizer of `SMALL`: 256 bytes, 256 at the end of a word, and five merges."""


def learned_from(path):
    return BPE(file=path).learn(captioned(["never read"]), "caption")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tokenizer with CLIP's numbers for the words of the golden."""
    return learned_from(write(tmp_path_factory.mktemp("clip") / "bpe.txt.gz", as_clip()))


@pytest.fixture
def small(tmp_path):
    return learned_from(write(tmp_path / "bpe.txt.gz", SMALL))


def rows(learned, texts, length):
    transform = BPE().build(length, learned)
    return transform([bytes_of(text) for text in texts], Draw(0, torch.arange(len(texts))))


@pytest.mark.parametrize(("key", "length"), [("ids77", 77), ("ids8", 8)])
def test_tokens_are_open_clips(golden, whole, key, length):
    """Cleaned, split, joined, framed and cut: numbers of every text but the last, which writes a special token."""
    arrays = golden("openclip_tokenizer")
    texts = [str(text) for text in arrays["texts"]]
    assert torch.equal(rows(whole, texts, length)[:5], arrays[key][:5])
    assert len(texts) == 6


def test_a_special_token_in_a_caption_does_not_end_it(golden, whole):
    """open_clip's does: its first end token comes second."""
    arrays = golden("openclip_tokenizer")
    row = rows(whole, [str(arrays["texts"][5])], 77)[0].tolist()
    assert arrays["ids77"][5].tolist().count(49407) == 2
    assert row.count(49407) == 1
    assert row[row.index(49407) - 1] == 2912, "`inside`, the last word of the text"


def test_special_tokens_come_last_as_in_open_clip(golden, whole):
    start, end, size = golden("openclip_tokenizer")["sot_eot_vocab"].tolist()
    facts = BPE().build(77, whole).facts
    assert facts == {"start": start, "end": end, "pad": 0, "vocabulary": size}


def test_merges_beyond_clips_do_not_count(whole):
    assert len(whole.splitlines()) == COUNT + 1
    assert "z z</w>" not in whole


def test_a_small_file_has_numbers_by_its_own_size(small):
    assert rows(small, ["a cat", "A dog's  Cat"], 8).tolist() == [
        [START, A, CAT, END, 0, 0, 0, 0],
        [START, A, DOG, OF_IT, CAT, END, 0, 0],
    ]


@pytest.mark.parametrize("tail", ["", "\n", "\n\n", "\r\n"])
def test_lines_may_end_in_any_way(tmp_path, small, tail):
    assert learned_from(write(tmp_path / "other.txt.gz", SMALL, tail)) == small


def test_a_file_is_known_by_its_content(tmp_path, small):
    assert learned_from(write(tmp_path / "words", SMALL)) == small


def test_it_can_be_kept_and_read_again(small):
    """What the run keeps is text, of which the same tokenizer comes."""
    again = str(small.encode("utf-8"), "utf-8")
    first, second = (words_of(read_tokenizer(text), "Two cats", True) for text in (small, again))
    assert first == second
    assert special_tokens(small, dict.fromkeys(("start", "end", "pad")))["vocabulary"] == END + 1


def test_any_text_is_bytes_that_no_merge_joins(small):
    (row,) = rows(small, ["東"], 8).tolist()
    assert row[0] == START
    assert row.index(END) == 4, "three bytes"
    assert row[3] >= 256 > max(row[1:3]), "the last one ends a word"


def test_words_are_hidden_by_name_only(small):
    """It has no mask token, so `masked_bpe` says what to do."""
    with pytest.raises(SpecError, match=r"words\.mask"):
        MaskedBPE().build((2, 8), small)
    masked = MaskedBPE(words=BPE(mask="!"), probability=0.5).build((2, 8), small)
    assert masked.facts["mask"] == 0


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A  PHOTO\tof\na Cat! ", "a photo of a cat!"),
        ("here &amp; there", "here & there"),
        ("&amp;amp;amp;", "&"),
        ("<b> &lt;", "<b> <"),
        ("don\u2019t \u201csay\u201d it", 'don\'t "say" it'),
        ("\ufb01sh \uff11\uff12 \uff21", "fish 12 a"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\u3000b\x00\x1fc", "a bc"),
        ("", ""),
    ],
)
def test_texts_are_cleaned_as_open_clip_does_it(text, cleaned):
    assert clip_text(text) == cleaned
    assert clip_text(cleaned) == cleaned


def test_numerals_are_words_of_one_digit_and_signs_stay_together(small):
    tokenizer = read_tokenizer(small)
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("it's 12?! we'll")]
    assert pieces == ["it", "'s", "1", "2", "?!", "we", "'ll"]


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (["c a", "do g</w>"], "line 3: 'do g</w>' joins no two tokens"),
        (["cat</w>"], "line 2: 'cat</w>' joins"),
        (["c a", "d o"], "no line ends a word with </w>"),
        ([], "no line ends a word"),
    ],
)
def test_other_files_are_refused(tmp_path, merges, message):
    """GPT-2's merges have the same first line and no ends of words; their numbers would be wrong."""
    path = write(tmp_path / "bpe.txt.gz", merges)
    with pytest.raises(SpecError, match=message) as caught:
        learned_from(path)
    assert str(caught.value).startswith(str(path))


def test_damaged_files_are_refused(tmp_path):
    path = write(tmp_path / "bpe.txt.gz", SMALL)
    content = path.read_bytes()
    for damaged in (content[:-9], content[:40], content[:2], content[:30] + b"\0\0\0" + content[33:]):
        path.write_bytes(damaged)
        with pytest.raises(SpecError, match=r"bpe\.txt\.gz: is damaged, or holds no text"):
            learned_from(path)
    path.write_bytes(gzip.compress(b"\xff\xfe no text"))
    with pytest.raises(SpecError, match="is damaged, or holds no text"):
        learned_from(path)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_merges, "MOST_BYTES", 1 << 20)
    path = tmp_path / "bpe.txt.gz"
    path.write_bytes(gzip.compress(b" " * (1 << 21)))
    with pytest.raises(SpecError, match="larger than 1 MiB unpacked"):
        learned_from(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.gz: cannot be read"):
        learned_from(tmp_path / "none.gz")


def test_every_byte_has_a_number_in_clips_order():
    tokenizer = clip_tokenizer(f"{clip_merges.HEADER}\n" + "\n".join(SMALL))
    numbers = {token: number for token, number in tokenizer.get_vocab().items() if number < 256}
    assert len(numbers) == 256
    assert [numbers[letter] for letter in ("!", "~", "\u00a1", "\u00ff", "\u0100")] == [0, 93, 94, 187, 188]
