"""Specs of visual tokenizers and of the target made of their tokens. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast, final

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from sslkit.plugin import Count, ObjectiveSpec, Problem, Spec, TargetField, TargetSpec, ViewName, slot_default
from sslkit_tokenizers.older_specs import color_fields, without_module

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
    """The id of each patch's code in a frozen tokenizer that sslkit trained, scored by cross-entropy (BEiT)."""

    unchecked: ClassVar[str] = "it needs the file of a trained tokenizer"
    kind: Literal["vq_token"] = "vq_token"
    tokenizer: Path
    """The file that `sslkit export RUN_DIR --part tokenizer` wrote. Codes and image size are the file's."""

    @model_validator(mode="wrap")
    @classmethod
    def _of_older_versions(cls, fields: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Specs of earlier versions named tokenizers by where their code is; one of them has become a kind."""
        colors = color_fields(fields, cls.__name__)
        if colors is None:
            return handler(without_module(fields))
        return cast("Self", PatchColors.model_validate(colors))  # the slot takes any target

    @classmethod
    def example(cls) -> Self | None:
        """None: the file comes from a run."""
        return None

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if not self.tokenizer.is_file():
            yield Problem(
                "tokenizer",
                f"no file {self.tokenizer}; `sslkit export RUN_DIR --part tokenizer --out FILE` writes one",
            )

    def build(self, env: Env, view: str) -> Target:
        """The target. Raises CheckpointError where the file is none, SpecError where its grid is not that of `view`."""
        from sslkit_tokenizers.vq_token import trained_tokens

        return trained_tokens(self.tokenizer, env.view(view), env.grid(view))


@final
class PatchColors(TargetSpec):
    """The mean color of each patch as one of `levels ** channels` tokens, scored by cross-entropy."""

    kind: Literal["patch_colors"] = "patch_colors"
    levels: int = Field(4, ge=2, le=256)
    """Equal steps of each channel. No source."""
    size: Count | None = None
    """Side in pixels to which crops are resized before colors are averaged. Default: the view's."""

    def build(self, env: Env, view: str) -> Target:
        """The target. Raises SpecError where `size` has too few pixels for the patches of `view`."""
        from sslkit_tokenizers.patch_colors import color_tokens

        return color_tokens(self.levels, self.size, env.view(view), env.grid(view))
