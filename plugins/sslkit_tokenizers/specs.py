"""Specs of visual tokenizers and of the target made of their tokens. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import Count, ObjectiveSpec, Problem, Spec, TargetField, TargetSpec, ViewName, slot_default

if TYPE_CHECKING:
    from sslkit.interfaces import Objective, Target
    from sslkit.plugin import Env, RunSpec


@final
class CodebookSpec(Spec):
    """The codes of a tokenizer, and how they follow the network. Defaults: BEiT v2's."""

    size: int = Field(8192, ge=2, lt=2**31)
    """Number of codes (BEiT v2 and DALL-E: 8192; VQ-VAE: 512)."""
    dim: Count = 32
    """Width of a code (BEiT v2: 32; VQ-VAE: 64)."""
    metric: Literal["cosine", "euclidean"] | None = None
    """`cosine`: vectors and codes have length 1, and a code is an average of directions (BEiT v2). `euclidean`: a code
    is an average sum divided by an average count (VQ-VAE). Default: cosine in `vq_kd`, euclidean in `vq_vae`."""
    beta: float | None = Field(None, ge=0)
    """Weight of the commitment loss. Default: 1 in `vq_kd` (BEiT v2), 0.25 in `vq_vae` (its paper)."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Share of a code's old average kept at each step (BEiT v2 and VQ-VAE: 0.99)."""
    eps: float = Field(1e-5, ge=0)
    """Laplace smoothing of the average counts, with `euclidean` only (VQ-VAE's code: 1e-5)."""
    kmeans_steps: int = Field(10, ge=0)
    """Steps of k-means from which the codes start, after the first step (BEiT v2: 10); 0 leaves them random."""
    revive: float = Field(0.0, ge=0, lt=1)
    """Share of an even count below which a code is moved onto a vector of the batch. 0: unused codes stay (BEiT v2)."""
    sample: Count = 16
    """Patches of each image that k-means and revived codes take their vectors from. No source."""


@final
class TokenDecoderSpec(Spec):
    """The transformer from codes to predictions. Defaults: BEiT v2's `decoder_3x768x12`."""

    depth: int = Field(3, ge=0)
    """Blocks (BEiT v2: 1 or 3)."""
    width: int = Field(768, ge=4, multiple_of=4)
    """Width of its tokens (BEiT v2: 768)."""
    heads: int = Field(12, ge=1)
    """Attention heads (BEiT v2: 12); they divide the width."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.width % self.heads:
            yield Problem("heads", f"{self.heads} heads do not divide the width {self.width}")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        if self.depth == 0:
            yield Problem("heads", "has no effect, as `depth` is 0", note=True)


@final
class VQKD(ObjectiveSpec):
    """A tokenizer whose codes tell a teacher's features (VQ-KD of BEiT v2, Peng et al. 2022)."""

    kind: Literal["vq_kd"] = "vq_kd"
    view: ViewName = "global"
    """View whose patches become tokens."""
    target: TargetField = slot_default(
        "teacher_feature", layers="final", normalize=False, final_norm=False, loss="cosine"
    )
    """What the codes of all patches must tell (BEiT v2: final features of CLIP or DINO, cosine)."""
    codebook: CodebookSpec = CodebookSpec()
    """The codes."""
    decoder: TokenDecoderSpec = TokenDecoderSpec()
    """The transformer from codes to predictions."""

    @classmethod
    def example(cls) -> Self:
        return cls(target={"kind": "pixel"}, codebook=_SMALL, decoder=_NARROW)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from _unused_codes(self.codebook, "cosine")

    def build(self, env: Env) -> Objective:
        return _objective(self, env, "cosine", beta=1.0)


@final
class VQVAE(ObjectiveSpec):
    """A tokenizer whose codes tell the pixels (VQ-VAE, van den Oord et al. 2017), with a transformer on both sides."""

    kind: Literal["vq_vae"] = "vq_vae"
    view: ViewName = "global"
    """View whose patches become tokens."""
    target: TargetField = slot_default("pixel", loss="l2")
    """What the codes of all patches must tell (VQ-VAE: pixels, l2)."""
    codebook: CodebookSpec = CodebookSpec()
    """The codes."""
    decoder: TokenDecoderSpec = TokenDecoderSpec()
    """The transformer from codes to predictions."""

    @classmethod
    def example(cls) -> Self:
        return cls(codebook=_SMALL, decoder=_NARROW)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from _unused_codes(self.codebook, "euclidean")

    def build(self, env: Env) -> Objective:
        return _objective(self, env, "euclidean", beta=0.25)


def _objective(
    spec: VQKD | VQVAE, env: Env, metric: Literal["cosine", "euclidean"], beta: float
) -> Objective:
    """With the objective's own `metric` and weight `beta` where its codebook names none."""
    from sslkit.nn.codebook import Rules
    from sslkit_tokenizers.tokenizer_objective import Sizes, TokenizerObjective

    codes, decoder = spec.codebook, spec.decoder
    weight = beta if codes.beta is None else codes.beta
    rules = Rules(codes.metric or metric, weight, codes.decay, codes.eps, codes.kmeans_steps, codes.revive)
    sizes = Sizes(codes.size, codes.dim, codes.sample, decoder.depth, decoder.width, decoder.heads)
    return TokenizerObjective(spec.view, spec.target, sizes, rules, env)


def _unused_codes(codebook: CodebookSpec, metric: str) -> Iterator[Problem]:
    """Fields without effect on codes that `metric` compares by default."""
    if (codebook.metric or metric) != "euclidean":
        yield Problem("codebook.eps", "is for `metric: euclidean`; leave it out")
    if not (codebook.kmeans_steps or codebook.revive):
        yield Problem("codebook.sample", "has no effect without `kmeans_steps` and `revive`; leave it out")


_SMALL = CodebookSpec.model_construct(size=16, dim=4, revive=0.1, sample=4)


_NARROW = TokenDecoderSpec.model_construct(depth=1, width=16, heads=2)


@final
class VQToken(TargetSpec):
    """The id of each patch's code in a frozen tokenizer, scored by cross-entropy (BEiT).

    The tokenizer is a file that `sslkit export --part tokenizer` wrote, or a module of your own.
    """

    kind: Literal["vq_token"] = "vq_token"
    tokenizer: Path | None = None
    """A tokenizer that sslkit trained: the file that `sslkit export RUN_DIR --part tokenizer` wrote."""
    module: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    """`package.module:callable`: returns a torch module that turns images `[B, C, S, S]`, float32 in [0, 1], into code
    ids `[B, rows, columns]` (or `[B, patches]`), int64."""
    arguments: Mapping[str, bool | int | float | str] = {}
    """Keyword arguments of the callable that `module` names."""
    codes: int | None = Field(None, ge=2, lt=2**31)
    """Number of codes of `module` (DALL-E: 8192). A tokenizer's file says it itself."""
    size: Count | None = None
    """Side of the images that `module` takes; crops are resized to it (BEiT: half of the student's).
    Default: the view's. A tokenizer's file says it itself."""

    @classmethod
    def example(cls) -> Self:
        return cls(
            module="sslkit_tokenizers.patch_colors:PatchColors", arguments={"patch": 8, "levels": 2}, codes=8
        )

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Exactly one tokenizer, all that it needs, and nothing that it ignores."""
        if (self.tokenizer is None) == (self.module is None):
            yield Problem(
                "", "give exactly one of `tokenizer`, a file, and `module`, the name of a torch module"
            )
        elif self.module is not None:
            if self.codes is None:
                yield Problem("codes", f"say how many codes {self.module!r} has")
        else:
            yield from self._file_problems()

    def _file_problems(self) -> Iterator[Problem]:
        for name in ("arguments", "codes", "size"):
            if getattr(self, name):
                yield Problem(name, "belongs to `module`; a tokenizer's file says it itself. Leave it out")
        if self.tokenizer is not None and not self.tokenizer.is_file():
            yield Problem(
                "tokenizer",
                f"no file {self.tokenizer}; `sslkit export RUN_DIR --part tokenizer --out FILE` writes one",
            )

    def build(self, env: Env, view: str) -> Target:
        """The target. Raises SpecError where the tokenizer cannot be loaded or its grid is not that of `view`."""
        from sslkit_tokenizers.tokenizer import load_tokenizer, tokenizer_of_module
        from sslkit_tokenizers.vq_token import token_target

        shown = env.view(view)
        if self.tokenizer is not None:
            source = load_tokenizer(self.tokenizer)
        else:
            assert self.module is not None, "the spec names a file or a module"
            assert self.codes is not None, "the spec was checked"
            size = self.size or shown.size
            source = tokenizer_of_module(self.module, self.arguments, self.codes, size, shown.channels)
        return token_target(source, shown, env.grid(view))
