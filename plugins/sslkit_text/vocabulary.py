"""Vocabularies: byte-pair encoding learned from captions, and the special tokens of any tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sslkit.interfaces import Source, text_of
from sslkit.plugin import DataError, SpecError, read_bytes, read_text
from sslkit_text.captioned_source import BETWEEN
from sslkit_text.clip_merges import HEADER, clip_text, clip_tokenizer, merges_of

SPECIAL = ("[PAD]", "[START]", "[END]", "[MASK]")
"""Of a vocabulary that is learned; they have the numbers 0 to 3."""
USUAL = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "start": ("[START]", "<start_of_text>", "<|startoftext|>", "[CLS]", "<s>", "<bos>"),
    "end": ("[END]", "<end_of_text>", "<|endoftext|>", "[SEP]", "</s>", "<eos>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}
"""Names that tokenizers have for them: ours, open_clip's, CLIP's, BERT's, RoBERTa's and others'."""
GZIP = b"\x1f\x8b"
"""How a gzip file starts."""


def learned_bpe(source: Source, stream: str, vocabulary: int, min_frequency: int, lower_case: bool) -> str:
    """A tokenizer of the texts of `stream`, as JSON; the same for the same texts in any order.

    Raises:
        DataError: no text can be read.
    """
    texts: Counter[str] = Counter()
    reason = ""
    for index in range(len(source)):
        try:
            texts.update(text_of(source.read(index, stream)).split(BETWEEN))
        except DataError as error:  # the loader leaves it out, counts and lists it
            reason = reason or f". The first: {error}"
    if not texts:
        raise DataError(
            f"bpe: no text of stream {stream!r} can be read, so there is nothing to learn from{reason}"
        )
    tokenizer = Tokenizer(models.BPE())
    steps = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence(steps + [normalizers.Lowercase()] * lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for text in sorted(texts) for _ in range(texts[text])), trainer)
    return str(tokenizer.to_str())


def tokenizer_of(file: Path) -> str:
    """The JSON in `file`, or its merges, where it is a gzip file as CLIP's.

    Raises:
        DataError: the file cannot be read.
        SpecError: it holds no tokenizer.
    """
    content = read_bytes(file)
    try:
        if content.startswith(GZIP):
            return merges_of(content)
        text = read_text(file)
        read_tokenizer(text)
    except SpecError as error:
        raise SpecError(f"{file}: {error}") from None
    return text


def special_tokens(learned: str, names: Mapping[str, str | None]) -> dict[str, int]:
    """Numbers of `pad`, `start`, `end` and, where there is one, `mask`, and the size as `vocabulary`.

    Args:
        learned: a tokenizer as JSON.
        names: what to look for; None for the usual names.

    Raises:
        SpecError: it is no tokenizer, or has no such token.
    """
    tokenizer = read_tokenizer(learned)
    numbers = {"vocabulary": tokenizer.get_vocab_size(with_added_tokens=True)}
    for role, name in names.items():
        wanted = USUAL[role] if name is None else (name,)
        number = next((n for n in map(tokenizer.token_to_id, wanted) if n is not None), None)
        if number is not None:
            numbers[role] = number
        elif role == "pad" and name is None:
            numbers[role] = 0  # open_clip's, which is a word too: what follows the end does not count there
        elif role != "mask" or name is not None:
            raise SpecError(f"bpe: the tokenizer has no token {' or '.join(wanted)}; name it in `{role}`")
    return numbers


def read_tokenizer(learned: str) -> Tokenizer:
    """The tokenizer of this JSON or of CLIP's merges. Names of special tokens in a text are words; it has one encoding.

    Raises:
        SpecError: it is none.
    """
    try:
        tokenizer = clip_tokenizer(learned) if is_clip(learned) else Tokenizer.from_str(learned)
    except SpecError:
        raise
    except Exception as error:  # the library has no type of its own
        raise SpecError(f"bpe: this is no tokenizer.json of Hugging Face's tokenizers: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if isinstance(tokenizer.model, models.BPE):
        tokenizer.model.dropout = None  # it draws from no seed, so a resumed run would read other tokens
    tokenizer.encode_special_tokens = True  # or a caption with "[END]" in it would end there
    return tokenizer


def is_clip(learned: str) -> bool:
    """Whether this is CLIP's own tokenizer."""
    return learned.startswith(HEADER)


def words_of(tokenizer: Tokenizer, text: str, clip: bool) -> tuple[int, ...]:
    """Numbers of the words in `text`, cleaned as open_clip does it where `clip` says so."""
    return tuple(tokenizer.encode(clip_text(text) if clip else text, add_special_tokens=False).ids)
