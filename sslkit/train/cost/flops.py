"""Floating-point operations of a step, counted on fake tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sslkit.core.context import Env
from sslkit.core.masker import Masker
from sslkit.core.passes import Encode, Mask, Tokens
from sslkit.core.system import Stepped, System
from sslkit.train.step.mask_schedule import Stages


def step_flops(
    system: System,
    env: Env,
    stages: Mapping[int, Stages],
    images: int,
    at_once: int,
    device: torch.device,
    *,
    twice: bool = False,
    cached: Sequence[int] = (),
) -> dict[int, int]:
    """What a step costs, by the step from which its masks have these shapes.

    Forward and backward of nets, heads, decoders and targets: matrix products, convolutions and attention by torch's
    own formulas, in which a multiplication and an addition count 2. What is done element by element, the optimizer,
    what maskers compute besides their passes, and steps that `log.conflict` measures are left out.

    Args:
        system: is copied without its values, and left as it is.
        env: its views and nets.
        stages: step -> the maskers in force from then on, by the index of their pass.
        images: of a step, on all ranks.
        at_once: images that a loss sees: of a micro-batch, on all ranks.
        device: where it is to run.
        twice: whether the student makes two forwards, as for micro-batches of losses that compare images.
        cached: places in `system.early.runs` of passes whose answers are on disk, which cost nothing here.

    Raises:
        Exception: what a module raises that reads values of tensors.
    """
    by_step: dict[int, int] = {}
    with FakeTensorMode():
        hollow = _hollow(system, device)
        for step, maskers in stages.items():
            masks = [_mask(p, env, maskers.get(i), at_once, device) for i, p in enumerate(hollow.plan)]
            crops = _images(env, at_once, device)
            free = iter(hollow.look(crops, [i for i in range(len(hollow.early.runs)) if i not in cached]))
            with _Counter() as counter:
                paid = iter(hollow.look(crops, cached))
                looked = [next(free if i in cached else paid) for i in range(len(hollow.early.runs))]
                _forward_and_backward(hollow, crops, masks, looked, device)
                if twice:
                    hollow.trained_answers(crops, masks)
            by_step[step] = counter.flops * images // at_once
    return by_step


@final
class _Counter(TorchDispatchMode):
    """Adds up operations as they run. Torch's `FlopCounterMode` also tells modules apart, which costs more time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        answer = func(*args, **named)
        formula = flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.flops += formula(*args, **named, out_val=answer)
        return answer


def _hollow(system: System, device: torch.device) -> System:
    """A copy without the memory of its parameters and buffers."""
    memo: dict[int, object] = {
        id(b): torch.empty(b.shape, dtype=b.dtype, device=device) for b in system.buffers()
    }
    for p in system.parameters():
        values = torch.empty(p.shape, dtype=p.dtype, device=device)
        memo[id(p)] = nn.Parameter(values, p.requires_grad)
    return copy.deepcopy(system, memo)


def _forward_and_backward(
    system: System,
    images: Mapping[str, Tensor],
    masks: Sequence[Mask | None],
    looked: Sequence[Tokens],
    device: torch.device,
) -> None:
    """As `Stepper` and the balancer's `Backward` make them."""
    now = {
        name: {key: torch.zeros((), device=device) for key in schedules}
        for name, schedules in system.schedules.items()
    }
    stepped = system(images, masks, now, looked)
    for loss in _backwards(system, stepped):
        loss.backward(retain_graph=True)
    if stepped.cuts:
        answers = [cut.answer for cut in stepped.cuts]
        torch.autograd.backward(answers, [torch.empty_like(answer) for answer in answers])


def _backwards(system: System, stepped: Stepped) -> Iterator[Tensor]:
    if system.balancer.weighs_gradients:
        yield from stepped.losses
    else:
        yield stepped.total


def _images(env: Env, rows: int, device: torch.device) -> dict[str, Tensor]:
    return {
        name: torch.empty(
            view.crops, rows, *view.shape, device=device, dtype=torch.int64 if view.symbols else None
        )
        for name, view in env.views.items()
    }


def _mask(request: Encode, env: Env, masker: Masker | None, rows: int, device: torch.device) -> Mask | None:
    """A mask of the shapes that `mask_of` makes."""
    if masker is None:
        return None
    crops, patches = env.view(request.view).crops, env.net(request.net).grids[request.view].patches
    length = crops * rows * masker.most
    hidden = torch.empty(crops, rows, patches, dtype=torch.bool, device=device)
    keep = torch.empty(crops, rows, masker.visible or 0, dtype=torch.int64, device=device)
    flat, count = (torch.empty(length, dtype=torch.int64, device=device) for _ in range(2))
    shape = masker.block_shape
    blocks = None if shape is None else torch.empty(crops, rows, *shape, dtype=torch.int64, device=device)
    return Mask(hidden, keep, flat, count, blocks)
