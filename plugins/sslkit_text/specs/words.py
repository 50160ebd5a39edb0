"""Specs of `bpe` and `masked_bpe`: texts as numbers of a vocabulary. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Problem, SpecError, TransformSpec, sides_of
from sslkit_text.specs.lengths import length_of, too_short

if TYPE_CHECKING:
    from sslkit.interfaces import Source, Transform
    from sslkit.plugin import RunSpec, Size


@final
class BPE(TransformSpec):
    """Byte-level byte-pair encoding (Radford et al. 2019), learned from the run's own captions or read from a file.

    A text becomes start, its words, end, and padding up to the view's size; one that is too long loses its last words
    and still ends with the end token, as in CLIP. Of several captions, each crop draws one.
    """

    takes: ClassVar[str] = "text"
    gives: ClassVar[str] = "tokens"
    axes: ClassVar[int] = 1
    kind: Literal["bpe"] = "bpe"
    vocabulary: int = Field(8192, ge=261)
    """Most tokens, the 256 bytes and 4 special ones included (CLIP: 49,408; GPT-2: 50,257)."""
    min_frequency: int = Field(2, ge=1)
    """Occurrences below which two tokens are not joined."""
    lower_case: bool = True
    """Whether texts are read in lower case (CLIP: yes)."""
    file: Path | None = None
    """A `tokenizer.json` of Hugging Face's tokenizers, or CLIP's `bpe_simple_vocab_16e6.txt.gz`, to use instead, as it
    is. The run keeps a copy."""
    start: str | None = None
    """Token in front of a text. Default: that of the file, of the usual names."""
    end: str | None = None
    """Token behind it. Default: likewise."""
    pad: str | None = None
    """Token of padding. Default: likewise, or number 0 where the file has none (CLIP)."""
    mask: str | None = None
    """Token that hides others. Default: likewise; a file may have none."""

    @classmethod
    def example(cls) -> Self:
        return cls(vocabulary=270)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The file is there, and rows have room for words."""
        yield from too_short(self, run)
        if self.file is not None and not self.file.expanduser().is_file():
            yield Problem("file", f"there is no file {str(self.file)!r}")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """What is learned is not read, and the other way around."""
        for field in ("vocabulary", "min_frequency", "lower_case"):
            if self.file is not None:
                yield Problem(field, "has no effect, as `file` says it; leave it out")
        for field in ("start", "end", "pad", "mask"):
            if self.file is None:
                yield Problem(field, "names a token of `file`; give that too, or leave this out")

    def learn(self, source: Source, stream: str) -> str:
        from sslkit_text.vocabulary import learned_bpe, tokenizer_of

        if self.file is not None:
            return tokenizer_of(self.file.expanduser())
        return learned_bpe(source, stream, self.vocabulary, self.min_frequency, self.lower_case)

    def build(self, size: Size, learned: str) -> Transform:
        from sslkit_text.token_rows import Tokenize
        from sslkit_text.vocabulary import special_tokens

        length = length_of(size)
        names = {"start": self.start, "end": self.end, "pad": self.pad, "mask": self.mask}
        return Tokenize(learned, special_tokens(learned, names), length)


@final
class MaskedBPE(TransformSpec):
    """Texts with hidden words (Devlin et al. 2019), for `mlm`: a view of `size: [2, L]`, the text and what was hidden.

    Most hidden words become the mask token, some another one, and the rest stay as they are.
    """

    takes: ClassVar[str] = "text"
    gives: ClassVar[str] = "tokens"
    axes: ClassVar[int] = 2
    unchecked: ClassVar[str] = "its views have two rows, and the kit's have sides of one length"
    kind: Literal["masked_bpe"] = "masked_bpe"
    words: BPE = BPE()
    """The tokenizer; as that of other views of the same network."""
    probability: float = Field(0.15, gt=0, lt=1)
    """Share of the words that is hidden (BERT: 0.15)."""
    masked: float = Field(0.8, ge=0, le=1)
    """Share of those that becomes the mask token (BERT: 0.8)."""
    replaced: float = Field(0.1, ge=0, le=1)
    """Share of those that becomes any token of the vocabulary (BERT: 0.1)."""
    hide_end: bool = False
    """Whether the end token may be hidden too (ALBEF: yes; BERT: no)."""

    @classmethod
    def example(cls) -> Self | None:
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Its views have two rows with room for words, and no more is hidden than there is."""
        yield from too_short(self, run)
        yield from (problem._replace(path=f"words.{problem.path}") for problem in self.words.problems(run))
        if self.masked + self.replaced > 1:
            yield Problem(
                "replaced", f"and `masked` are {self.masked + self.replaced:g} together; at most 1 is left"
            )
        for name, view in run.views.items():
            if view.transform is self:
                *rows, length = sides_of(view.size, 2)
                if rows != [2]:
                    yield Problem("", f"makes two rows of tokens; set `views.{name}.size: [2, {length}]`")

    def learn(self, source: Source, stream: str) -> str:
        return self.words.learn(source, stream)

    def build(self, size: Size, learned: str) -> Transform:
        from sslkit_text.masked_tokenize import Hiding, MaskedTokenize

        length = length_of(size)
        tokenize = self.words.build(length, learned)
        if "mask" not in tokenize.facts:
            raise SpecError("masked_bpe: the tokenizer has no mask token; name it in `words.mask`")
        return MaskedTokenize(tokenize, Hiding(self.probability, self.masked, self.replaced, self.hide_end))
