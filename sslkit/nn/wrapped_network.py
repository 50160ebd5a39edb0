"""Wraps any network as a backbone without masks: timm's, or a module of your own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone, Exported
from sslkit.core.passes import Request, Tokens
from sslkit.core.view import Grid, Size, View, by
from sslkit.errors import SpecError, reason_of
from sslkit.nn.modes import evaluating

Forward = Callable[..., Tensor]
"""The network and images `[B, C, S, S]` -> features: `[B, D]`, a map `[B, D, h, w]` or `[B, h, w, D]`, or tokens
`[B, P + N, D]`.

Networks are copied (fine-tuning, moving averages), so it is told which one to read: `lambda net, images: ...`. A method
of the network will do too.
"""

Pool = Callable[[nn.Module, Tensor], Tensor | None]
"""The network and what `Forward` answers -> one vector an image, `[B, D]`; None: as if there were no such function."""


class Layout(NamedTuple):
    """How to read what a network answers."""

    prefix: int = 0
    """P, the tokens before those of the patches."""
    channels_last: bool = False
    """Whether maps are `[B, h, w, D]`."""
    has_class: bool = True
    """Whether the first of the P tokens is a class token; `False`: they are registers only, and are left out."""
    stride: int | None = None
    """Pixels from one patch to the next; a map of more patches than that gives is not believed to have it.

    Default: the side of the image over that of the map, rounded down.
    """


PLAIN = Layout()
"""No tokens but those of patches; maps have channels first."""


def channels_last(images: Tensor) -> Tensor:
    """The same images `[B, C, S, S]`, the channels of a pixel side by side in memory, for networks of convolutions.

    What they compute keeps that order, which is faster on CPUs and GPUs (`docs/results/foundation.md`). Weights stay
    as they are: FSDP2 takes no others, and averages and optimizers of old checkpoints fit them.
    """
    return images.contiguous(memory_format=torch.channels_last)


@final
class Wrapped(Backbone):
    """A network whose last features are read; it takes no masks. Its class token is the mean where it has none."""

    depth = 1

    def __init__(
        self,
        module: nn.Module,
        view: View,
        forward: Forward | None = None,
        layout: Layout = PLAIN,
        exported: Callable[[nn.Module], Exported] | None = None,
        pool: Pool | None = None,
        advice: str = "",
        remarks: Sequence[str] = (),
    ) -> None:
        """Wrap `module` and try it on one black image of `view`.

        Args:
            module: the network.
            view: what it reads.
            forward: what gives its features, told the network and images; the network itself by default.
            layout: how to read them.
            exported: how the network that it is told is exported, where it can be.
            pool: what makes the class token of features. Default: the class token, or the mean of the patches.
            advice: what to do where it cannot read images of `SIZE` pixels, which stands for their side.
            remarks: sentences about its weights, which a run prints at its start.

        Raises:
            SpecError: it cannot read such images, answers something else than features, or `forward` would go on
                reading this network after it was copied.
        """
        super().__init__()
        self.module = module
        self._forward = None if forward is None else _of_any_copy(forward, module)
        self._layout, self._exported, self._pool = layout, exported, pool
        self._channels, self._size, self._advice = view.channels, view.size, advice
        self._patches: dict[int, int] = {}
        self._has_map = False
        self._left_out: tuple[str, ...] = ()
        self._remarks = tuple(remarks)
        self.dim = self._tried(view.size)[0].shape[-1]

    def grid(self, size: Size) -> Grid:
        """The places of the square map of an image; one for features without places. Found by trying it."""
        if not isinstance(size, int):
            raise SpecError(
                f"a {self._kind} of your own is tried on square images, found sides of {by(size)}"
            )
        if size not in self._patches:
            self._tried(size)
        side = math.isqrt(self._patches[size])
        if side * side != self._patches[size]:
            raise SpecError(
                f"a {self._kind} gives {self._patches[size]} tokens, which are no square of patches; where the first "
                "are class or register tokens, say how many: `prefix=1`"
            )
        stride = self._layout.stride
        fits = stride is not None and 1 < side <= math.ceil(size / stride)
        return Grid(side, side, stride if stride is not None and fits else size // side)

    def serve(self, passes: Sequence[object]) -> None:
        """Leave out parameters that no answer depends on, as those of a classifier; they keep their values."""
        trained = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        with evaluating(self.module), torch.enable_grad():
            cls, patch = self._read(self._features(self._black(self._size)))
            total = cls.float().sum() + patch.float().sum()
            gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        idle = [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
        for name in idle:
            trained[name].requires_grad_(False)
        self._left_out = tuple(idle)

    def notes(self) -> Sequence[str]:
        if not self._left_out:
            return self._remarks
        first = ", ".join(self._left_out[:3])
        return (
            *self._remarks,
            f"{len(self._left_out)} parameters of the {self._kind} take no part in its features and are not trained, "
            f"as {first}",
        )

    def forward(self, requests: Sequence[Request]) -> list[Tokens]:
        """One answer for each request, in order."""
        return [self._answer(request) for request in requests]

    def export(self) -> Exported:
        if self._exported is None:
            raise SpecError(f"a {self._kind} of your own has no timm name to export it by")
        return self._exported(self.module)

    def _features(self, images: Tensor) -> Tensor:
        images = channels_last(images) if self._has_map else images
        out: Tensor = self.module(images) if self._forward is None else self._forward(self.module, images)
        return getattr(out, "last_hidden_state", out)  # of transformers

    @property
    def _kind(self) -> str:
        return type(self.module).__name__

    def _answer(self, request: Request) -> Tokens:
        if request.mask is not None or request.attention:
            what = "reads whole images, without masks" if request.mask else "does not tell its attention"
            raise SpecError(f"a {self._kind} {what}; use a `vit`")
        if any(layer not in (0, -1) for layer in request.layers):
            raise SpecError(f"of a {self._kind} only the last features can be read: layer 0 or -1")
        crops = request.image.shape[:2]
        cls, patch = self._read(self._features(request.image.flatten(0, 1)))
        cls, patch = cls.unflatten(0, crops), patch.unflatten(0, crops)
        whole = (torch.cat([cls[:, :, None], patch], dim=2),) if request.layers else ()
        return request.answer(cls, patch, whole * len(request.layers))

    def _read(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, D]` and `[B, N, D]`."""
        cls, patch = self._split(out)
        vector = None if self._pool is None else self._pool(self.module, out)
        return (cls if vector is None else vector), patch

    def _split(self, out: Tensor) -> tuple[Tensor, Tensor]:
        if out.ndim == 2:
            return out, out[:, None]
        if out.ndim == 4:
            patch = out.flatten(1, 2) if self._layout.channels_last else out.flatten(2).mT
            return patch.mean(1), patch
        patch = out[:, self._layout.prefix :]
        has_class = self._layout.prefix and self._layout.has_class
        return (out[:, 0] if has_class else patch.mean(1)), patch

    def _black(self, size: int) -> Tensor:
        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        return torch.zeros(1, self._channels, size, size, device=device)

    @torch.no_grad()
    def _tried(self, size: int) -> tuple[Tensor, Tensor]:
        """The features of one black image."""
        try:
            with evaluating(self.module):
                out: object = self._features(self._black(size))
        except Exception as error:
            advice = f"; {self._advice.replace('SIZE', str(size))}" if self._advice else ""
            raise SpecError(
                f"a {self._kind} cannot read images [1, {self._channels}, {size}, {size}]: {reason_of(error)}{advice}"
            ) from None
        if not isinstance(out, Tensor) or out.ndim not in (2, 3, 4) or len(out) != 1:
            raise SpecError(
                f"a {self._kind} gives {_described(out)} for one image; expected features [1, D], a map [1, D, h, w] "
                "or tokens [1, N, D]; in Python, `evaluate_network` takes a `forward` that gives them"
            )
        self._has_map = out.ndim == 4 and not self._layout.channels_last
        cls, patch = self._read(out)
        self._patches[size] = patch.shape[1]
        return cls, patch


def _described(out: object) -> str:
    if isinstance(out, Tensor):
        return str(list(out.shape))
    parts = f" of {len(out)}" if isinstance(out, list | tuple) else ""
    return f"{type(out).__name__}{parts}"


def _of_any_copy(forward: Forward, module: nn.Module) -> Forward:
    """`forward` as a function of the network and images; a method of `module` becomes that of its class.

    Raises:
        SpecError: it takes images alone, so it reads the network that it was written for, also when a copy is asked.
    """
    if getattr(forward, "__self__", None) is module:
        method: Forward = forward.__func__  # type: ignore[attr-defined]
        return method
    try:
        inspect.signature(forward).bind(module, None)
    except (TypeError, ValueError):
        raise SpecError(
            "forward: takes images alone, so it would go on reading this network when a copy of it is trained; write "
            "`lambda net, images: ...`, which is told the network to read, or give a method of the network"
        ) from None
    return forward
