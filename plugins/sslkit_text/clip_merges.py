"""CLIP's own tokenizer, from merges in the layout of `bpe_simple_vocab_16e6.txt.gz`."""

from __future__ import annotations

import gzip
import html
import io
import unicodedata
import zlib

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from sslkit.plugin import SpecError

HEADER = "#version: 0.2, merges of CLIP"
"""First line of merges that a run keeps; a tokenizer as JSON starts with a brace."""
MOST = 49152 - 256 - 2
"""Merges that count: CLIP's file has more."""
MOST_BYTES = 1 << 26
"""A file of more than 64 MiB is no list of merges."""
WORD_END = "</w>"
SPECIAL = ("<start_of_text>", "<end_of_text>")
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What open_clip takes as words."""
_WIDE = [0x3000, *range(0xFB00, 0xFB07), *range(0xFF01, 0xFFF0)]
MENDED = {
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in _WIDE},
    **dict.fromkeys(map(ord, "\u02bc\u2018\u2019\u201a\u201b"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f"), '"'),
    0xFB05: "\u017ft",
    **dict.fromkeys([*range(9), 11, *range(14, 32), 127, 0xFEFF], ""),
}
"""Characters that `ftfy` replaces: full width, ligatures, curly quotes and control characters."""


def merges_of(content: bytes) -> str:
    """`HEADER` and the merges in a gzip file, one a line.

    Raises:
        SpecError: it is damaged, too large, or in another layout.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise SpecError(f"is larger than {MOST_BYTES >> 20} MiB unpacked; merges of CLIP are 3 MB")
        lines = raw.decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SpecError(f"is damaged, or holds no text: {error}; fetch it again") from None
    merges = "\n".join([HEADER, *[line.strip() for line in lines[1:] if line.strip()][:MOST]])
    clip_tokenizer(merges)
    return merges


def clip_tokenizer(merges: str) -> Tokenizer:
    """The tokenizer of text that `clip_text` has cleaned, with the numbers of open_clip.

    Args:
        merges: as `merges_of` gives them.

    Raises:
        SpecError: a line is no merge of what comes before it, or none ends a word.
    """
    letters = _letters()
    tokens = [*letters, *(letter + WORD_END for letter in letters)]
    earlier, pairs = set(tokens), list[tuple[str, str]]()
    for number, line in enumerate(merges.splitlines()[1:], start=2):
        first, _, second = line.partition(" ")
        if first not in earlier or second not in earlier:
            raise SpecError(f"line {number}: {line[:60]!r} joins no two tokens of the lines before it")
        pairs.append((first, second))
        tokens.append(first + second)
        earlier.add(first + second)
    if not any(second.endswith(WORD_END) for _, second in pairs):
        raise SpecError(f"no line ends a word with {WORD_END}, so these are no merges of CLIP")
    numbers = {token: number for number, token in enumerate([*tokens, *SPECIAL])}
    tokenizer = Tokenizer(models.BPE(numbers, pairs, end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def clip_text(text: str) -> str:
    """`text` as open_clip cleans it: HTML's names of characters replaced, one space between words, lower case."""
    plain = text if "<" in text else html.unescape(text)
    plain = unicodedata.normalize("NFC", plain.translate(MENDED))
    return " ".join(html.unescape(html.unescape(plain)).split()).lower()


def _letters() -> list[str]:
    """A character for each byte, in the order of their numbers in CLIP: those that can be printed come first."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, plain), *(chr(256 + i) for i in range(256 - len(plain)))]
