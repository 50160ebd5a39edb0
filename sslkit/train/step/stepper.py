"""One optimizer step, the same for every objective."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn

from sslkit.core.context import Length
from sslkit.core.masker import Masker
from sslkit.core.objective import Objective
from sslkit.core.passes import Output, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.system import STUDENT, Stepped, System
from sslkit.data.loaders import Batch
from sslkit.errors import SpecError
from sslkit.optim import optimizer as optim
from sslkit.optim.timm_optimizer import Group
from sslkit.runs.checkpoint import Entries
from sslkit.runtime import seeds
from sslkit.runtime.dtensor import gathered, optimizer_placed, placed_as
from sslkit.runtime.loss_scale import LossScale, require_scalable
from sslkit.runtime.mixed_precision import autocast_of, resolved_precision
from sslkit.runtime.mps import has_float64
from sslkit.runtime.parallel import Parallel
from sslkit.runtime.tensor_slots import Watch
from sslkit.specs.run import RunSpec
from sslkit.specs.schedule import is_due, value_at
from sslkit.train.step.backward import backward_of
from sslkit.train.step.balancing import Balance, Balancing
from sslkit.train.step.cached_micro_batches import Cached, Prepared, needs_whole, require_images_apart
from sslkit.train.step.cached_tokens import CachedTokens, looked
from sslkit.train.step.compile_system import compiled_look
from sslkit.train.step.copies import Copies
from sslkit.train.step.device_limits import require_possible
from sslkit.train.step.ema import Averages, set_modes
from sslkit.train.step.mask_schedule import masks_shapes, timeline
from sslkit.train.step.masking import Masking, Observations
from sslkit.train.step.running_statistics import SharedStatistics, is_watched, require_equal_buffers


class Losses(NamedTuple):
    """What a step reports, as tensors on the device: reading them waits for the device."""

    total: Tensor
    """Balanced loss of this rank, mean over micro-batches."""
    values: dict[str, Tensor]
    """`loss/NAME` and each objective's metrics as `NAME/METRIC`."""
    gradient_norm: Tensor | None
    """Norm before clipping; None without clipping."""


@final
class Stepper:
    """Schedules, masks, forward, backward, clipping, optimizer, moving averages, buffers: in this order."""

    def __init__(
        self, spec: RunSpec, system: System, maskers: Mapping[int, Masker], length: Length, parallel: Parallel
    ) -> None:
        self.spec, self.length, self.parallel = spec, length, parallel
        self.system = system.train()
        set_modes(dict(system.nets.items()), spec.nets)
        self.masking = Masking(system.plan, maskers, spec.seed).to(parallel.device)
        if not has_float64(parallel.device):
            require_possible(system, self.masking, spec.balance_path)
        system.guided_by(self.masking.guides, [name for name, net in spec.nets.items() if net.cache])
        self.cached: Mapping[int, CachedTokens] = {}
        """Answers that are on disk, by the place of their pass in `system.early.runs`; others are computed."""
        self.reading = parallel.place(system)
        """What evaluators and figures read, under `whole`: the system, or where that is in shards a stand-in."""
        self.objectives: Mapping[str, Objective] = dict(system.objectives.items())
        self.precision = resolved_precision(spec, parallel.device)
        self.peak_lr = spec.optimizer.peak_lr(spec.batch_size)
        self.micro_batches = len(
            range(0, spec.batch_size // parallel.world, spec.images_per_forward(parallel.world))
        )
        for name in system.trained:
            require_images_apart(system.nets[name], self.micro_batches)
        self.loss_scale = self._loss_scale()
        self._bind()
        self.optimizer = self._optimizer()
        self._cached = self._cache() if self.micro_batches > 1 and needs_whole(system) else None
        self._look = compiled_look(
            system,
            spec,
            parallel,
            lambda: masks_shapes(timeline(maskers, length).values()),
            in_parts=self.together,
        )
        self.run = parallel.wrap(system)
        self._one = torch.zeros(1, dtype=torch.int64, device=parallel.device)
        self.balancing = Balancing(system, parallel, length)
        towers = {name: rates.freeze_steps for name, rates in spec.optimizer.towers.items()}
        self._frozen_steps = {STUDENT: spec.optimizer.freeze_steps, **towers}

    def __call__(self, step: int, batches: Iterable[Batch]) -> Losses:
        """Make step number `step` (from 0) from this rank's micro-batches. One is held at a time, unless `together`.

        Raises:
            ValueError: there are not as many micro-batches as the spec's batch sizes make.
        """
        self._prepare(step)
        outputs, observed, total, balance = self._accumulate(step, batches)
        norm = self._update(step)
        self._finish(step, outputs, balance)
        self.masking.commit(observed, self.parallel.gather)
        if is_watched(step):
            require_equal_buffers([self.system, self.masking], self.parallel)
        values = _values(outputs) | balance.metrics(self.system.terms) | self.loss_scale.metrics()
        return Losses(total, values, norm)

    @property
    def together(self) -> bool:
        """Whether objectives see all micro-batches of this rank at once, for which the student makes two forwards."""
        return self._cached is not None

    def measures(self, step: int) -> bool:
        """Whether `log.conflict` wants the products of the terms' gradients of `step` (from 0)."""
        period = self.spec.log.conflict
        return period is not None and is_due(period, step + 1, self.length.steps_per_epoch)

    def state_dict(self) -> Entries:
        """All state of the run: nets, heads, buffers, balancer, maskers, optimizer.

        Of a sharded run all ranks must ask for it, and the first one gets it.
        """
        state = {
            "system": self.system.state_dict(),
            "masking": self.masking.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss_scale": self.loss_scale.state_dict(),
        }
        return cast("Entries", gathered(state, self.parallel.first))

    def load_state_dict(self, state: Entries) -> None:
        """Continue from `state`. Raises RuntimeError where its shapes differ."""
        self.system.load_state_dict(placed_as(state["system"], self.system.state_dict()))
        self.masking.load_state_dict(state["masking"])
        self.optimizer.load_state_dict(optimizer_placed(state["optimizer"], self.optimizer))
        self.loss_scale.load_state_dict(state.get("loss_scale", {}))

    def full_weights(self) -> AbstractContextManager[None]:
        """Around reading `reading`. All ranks must enter it."""
        return self.parallel.full_weights(self.system, self.reading)

    def autocast(self) -> AbstractContextManager[object]:
        """The reduced precision of forwards; objectives compute their losses in float32."""
        return autocast_of(self.precision, self.parallel.device)

    def lr(self, step: int) -> float:
        """Learning rate of `step`."""
        return self.spec.schedule.at(*self.length.clock(step), self.length.steps_per_epoch, self.peak_lr)

    def encode(self, batch: Batch, step: int) -> dict[int, Tokens]:
        """The answer to every pass of the plan, with the masks of `step`; for figures, under `whole`."""
        batch = self._typed(batch)
        answers = self.reading.look(batch.images)
        masks = self.masking.sample(batch, self.reading.guidance(answers), step, self._progress(step))
        return self.reading.encode(batch.images, masks, answers)

    def _progress(self, step: int) -> float:
        return self.length.progress(step)

    def _bind(self) -> None:
        """Refer to the system's tensors."""
        system, device = self.system, self.parallel.device
        self._watch = Watch(system)
        self._trained = {name: p for name, p in system.named_parameters() if p.requires_grad}
        self.parameters = list(self._trained.values())
        if not self.parameters:
            raise SpecError(
                "nothing to train: no parameter of the backbone or the objectives takes gradients"
            )
        if self.spec.optimizer.freeze_steps and not _trains(system.objectives):
            raise SpecError(
                "optimizer.freeze_steps: no objective has anything to train while the backbone is frozen; leave it out"
            )
        place = self.parameters[0].device
        if place.type != device.type or device.index not in (None, place.index):
            raise SpecError(
                f"the system is on {place}, but its step was composed for {device}; say where to train by the spec's "
                "`device`"
            )
        nets = dict(system.nets.items())
        self.averages = Averages(self.spec.nets, nets, self.objectives)
        self._copies = Copies(self.spec.nets, nets)
        self.backward = backward_of(system, self.parallel, self.loss_scale.scaled)
        self._statistics = SharedStatistics([system], self.parallel)
        self._dtype = next(p.dtype for p in self.parameters if p.is_floating_point())
        self._wide = torch.promote_types(self._dtype, torch.float32)
        self._now = {
            name: {key: torch.zeros((), device=device, dtype=self._wide) for key in schedules}
            for name, schedules in system.schedules.items()
        }

    def _follow(self) -> None:
        """Refer to them anew where the system was converted, or parameters were replaced, since the last step."""
        if not self._watch.changed():
            return
        before = self._trained
        self._bind()
        self.optimizer = optim.remade(self.optimizer, self._optimizer(), before, self._trained)
        self.run = self.system  # lets go of what replicas exchange gradients by, before there is another
        self.run = self.parallel.wrap(self.system)

    def _optimizer(self) -> torch.optim.Optimizer:
        """Without state."""
        parallel = self.parallel
        return optim.make(self.spec.optimizer, self._groups(), parallel.norms, parallel.fused, self.peak_lr)

    def _groups(self) -> list[Group]:
        nets = {name: self.system.nets[name] for name in self.system.trained}
        decayable = [
            (f"nets.{net}.{n}", p) for net, module in nets.items() for n, p in module.named_parameters()
        ]
        decayable += [(f"objectives.{n}", p) for n, p in self.system.objectives.named_parameters()]
        balancers = (self.system.balancer, self.system.inner)
        balancer = [p for one in balancers for p in one.parameters() if p.requires_grad]
        scales = optim.layer_scales(self.spec.optimizer, nets[STUDENT])
        for name, rates in self.spec.optimizer.towers.items():
            scales |= optim.layer_scales(rates, nets[name], f"optimizer.towers.{name}")
        return optim.groups(self.spec.optimizer, decayable, balancer, scales)

    def _loss_scale(self) -> LossScale:
        scales = self.precision == "float16"
        if scales:
            path = self.spec.balance_path if self.system.balancer.weighs_gradients else None
            compares = self.spec.log.conflict is not None
            require_scalable(self.spec.optimizer.name, path, compares, self.parallel.sharded)
        return LossScale(scales, self.parallel.device)

    def _prepare(self, step: int) -> None:
        self._follow()
        seeds.seed_torch(self.spec.seed, step, "torch", self.parallel.rank)
        now = self.length.clock(step)
        self.averages.update("before_forward", *now)
        decay = value_at(self.spec.optimizer.weight_decay, *now)
        moments = optim.scheduled_moments(self.spec.optimizer, *now)
        optim.assign(self.optimizer, self.lr(step), decay, moments)
        for name, schedules in self.system.schedules.items():
            for key, schedule in schedules.items():
                self._now[name][key].fill_(schedule(step))

    def _cache(self) -> Cached:
        spec, parallel = self.spec, self.parallel
        return Cached(self.system, self.masking, self.autocast, spec.seed, parallel.rank, self.micro_batches)

    def _accumulate(
        self, step: int, batches: Iterable[Batch]
    ) -> tuple[list[dict[str, Output]], list[Observations], Tensor, Balance]:
        prepared, measured = (self._prepared(batch, step) for batch in batches), self.measures(step)
        draw = seeds.draw(self.spec.seed, step, "balance", rows=self._one)
        joined = self._separate if self._cached is None else self._together
        outputs, observed, total = joined(step, prepared, measured, draw)
        return outputs, observed, total, self.backward.finish(draw)

    def _separate(
        self, step: int, micro_batches: Iterable[Prepared], measured: bool, draw: Draw
    ) -> tuple[list[dict[str, Output]], list[Observations], Tensor]:
        """Losses of each micro-batch, whose gradients add up."""
        outputs: list[dict[str, Output]] = []
        observed: list[Observations] = []
        total = torch.zeros((), device=self.parallel.device, dtype=self._wide)
        for i, one in enumerate(micro_batches):
            with self.backward.exchange(self.run, i == self.micro_batches - 1, measured):
                with self.autocast():
                    stepped: Stepped = self.run(one.batch.images, one.masks, self._now, one.looked)
                self.backward.add(stepped, 1 / self.micro_batches, measured)
            total += stepped.total.detach() / self.micro_batches
            outputs.append({name: _detached(output) for name, output in stepped.outputs.items()})
            self.balancing.add(stepped)
            observed.append(self._observed(step, one, stepped))
        if len(outputs) != self.micro_batches:
            raise ValueError(f"step {step}: {len(outputs)} micro-batches, expected {self.micro_batches}")
        return outputs, observed, total

    def _together(
        self, step: int, micro_batches: Iterable[Prepared], measured: bool, draw: Draw
    ) -> tuple[list[dict[str, Output]], list[Observations], Tensor]:
        """Losses of all micro-batches at once."""
        assert self._cached is not None, "asked only where objectives compare images"
        with self.parallel.separate(self.run):
            stepped, whole = self._cached(
                step,
                micro_batches,
                self._now,
                self._progress(step),
                self.backward,
                self.run,
                measured,
                draw,
            )
        self.balancing.add(stepped)
        outputs = {name: _detached(output) for name, output in stepped.outputs.items()}
        one = Prepared(whole.batch, whole.looked, whole.masks)
        return [outputs], [self._observed(step, one, stepped)], stepped.total.detach()

    def _typed(self, batch: Batch) -> Batch:
        """Values in the type of the system, which may have been converted; symbols stay."""
        return batch._replace(
            images={n: x.to(self._dtype) if x.is_floating_point() else x for n, x in batch.images.items()}
        )

    def _prepared(self, batch: Batch, step: int) -> Prepared:
        """A micro-batch with its masks."""
        batch = self._typed(batch)
        with self.autocast():
            answers = looked(self._look, self.system.early.runs, batch, self.cached)
            masks = self.masking.sample(batch, self.system.guidance(answers), step, self._progress(step))
        return Prepared(batch, answers, masks)

    def _observed(self, step: int, one: Prepared, stepped: Stepped) -> Observations:
        """What the maskers saw of a micro-batch."""
        answers, scores = self.system.guidance(one.looked), self.system.scores(stepped.outputs)
        return self.masking.observe(one.batch, answers, one.masks, scores, self._progress(step))

    def _update(self, step: int) -> Tensor | None:
        if step == 0:
            self._check_gradients()
        for objective in self.objectives.values():
            objective.before_update(step)
        for name, steps in self._frozen_steps.items():
            if step < steps:
                for parameter in self.system.nets[name].parameters():
                    parameter.grad = (
                        None  # the graph stays as it is, and optimizers pass over what has no gradient
                    )
        self.loss_scale.unscale(self.optimizer)
        limit = self.spec.optimizer.clip
        norm = (
            None
            if limit is None
            else optim.clip(self.parameters, limit, self.spec.optimizer.clip_per, self.parallel.norms)
        )
        self.loss_scale.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    @torch.no_grad()
    def _finish(self, step: int, outputs: Sequence[Mapping[str, Output]], balance: Balance) -> None:
        self._statistics.average()
        self.averages.update("after_step", *self.length.clock(step))
        self._copies.refresh(step + 1, self.length.steps_per_epoch)
        for name, objective in self.objectives.items():
            carries = [output[name].carry for output in outputs]
            objective.commit(
                {key: self.parallel.gather(torch.cat([c[key] for c in carries])) for key in carries[0]}
            )
        self.balancing.commit(balance.gram)

    def _check_gradients(self) -> None:
        """A parameter that no loss reaches would silently stay as it was (and stall other ranks)."""
        idle = [n for n, p in self.system.named_parameters() if p.requires_grad and p.grad is None]
        if idle:
            raise SpecError(
                f"{len(idle)} parameters take no part in any loss, the first: {', '.join(idle[:3])}"
            )


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _detached(output: Output) -> Output:
    return Output(
        output.loss.detach(),
        {name: value.detach() for name, value in output.metrics.items()},
        {name: rows.detach() for name, rows in output.carry.items()},
    )


def _values(outputs: Sequence[Mapping[str, Output]]) -> dict[str, Tensor]:
    """Means over micro-batches, by the names that records use."""
    values = {}
    for name in outputs[0]:
        values[f"loss/{name}"] = torch.stack([output[name].loss for output in outputs]).mean()
        for metric in outputs[0][name].metrics:
            values[f"{name}/{metric}"] = torch.stack([o[name].metrics[metric] for o in outputs]).mean()
    return values


def module_parameters(module: nn.Module) -> int:
    """Number of trained values in `module`."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
