"""The forward of one training step: nets, objectives and balancer in the only module that DDP and compile wrap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Unpack, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.backbone import Backbone
from sslkit.core.balancer import Balancer
from sslkit.core.feature_boundary import Cut, cut
from sslkit.core.modules import Modules
from sslkit.core.objective import Objective, Schedule
from sslkit.core.pass_plan import Plan, same_pass
from sslkit.core.passes import Encode, Mask, Output, Request, Tokens
from sslkit.functional.submodules import submodules

if TYPE_CHECKING:
    from sslkit.core.compile_options import CompileOptions

Now = Mapping[str, Mapping[str, Tensor]]
"""Objective -> scheduled name -> 0-dim tensor; under `WEIGHTS` the weights that change, by term."""
Answering = Callable[..., list[Tokens]]
STUDENT = "student"
"""The net that every run trains."""
WEIGHTS = "/"
"""No objective can be called so."""


class Stepped(NamedTuple):
    """What a forward returns."""

    total: Tensor
    """The balanced scalar to minimize."""
    outputs: dict[str, Output]
    """Of every objective, without its weight."""
    losses: tuple[Tensor, ...]
    """What the balancer joined: the loss of each term, times its weight. Apart, as a backward of one is of it alone."""
    weights: Tensor | None = None
    """`[K]`: what the balancer multiplied each of `losses` by, as far as it says."""
    inner: Mapping[str, Tensor] = {}
    """What the balancer of each hybrid inside joined, `[K]` without gradient."""
    cuts: tuple[Cut, ...] = ()
    """Where trained nets end and objectives begin, for a balancer that weighs gradients in `features`."""


@final
class System(nn.Module):
    """Nets, objectives and balancer. `plan` holds the passes of all objectives, equal ones once.

    An objective inside a hybrid that is itself a term goes by `HYBRID/NAME`, at any depth.

    Args:
        nets: by name.
        objectives: by name.
        balancer: joins the losses of the terms: of the objectives, or of the hybrids that they are in.
        weights: of terms, objectives and hybrids alike, constant or scheduled. Default: 1.
        inner: balancers of the hybrids, by name.
        trained: names of the nets that get gradients.
    """

    def __init__(
        self,
        nets: Mapping[str, Backbone],
        objectives: Mapping[str, Objective],
        balancer: Balancer,
        weights: Mapping[str, float | Schedule] | None = None,
        inner: Mapping[str, Balancer] | None = None,
        trained: Sequence[str] = (STUDENT,),
    ) -> None:
        super().__init__()
        self.trained = tuple(trained)
        """The nets that get gradients: the student, and towers."""
        self.nets: Modules[Backbone] = Modules(nets)
        self.objectives: Modules[Objective] = Modules(objectives)
        self.balancer: Balancer = balancer
        self.inner: Modules[Balancer] = Modules(inner or {})
        self.terms = tuple(dict.fromkeys(name.partition("/")[0] for name in objectives))
        """What the balancer joins, in order."""
        self._members = {hybrid: _members(hybrid, objectives) for hybrid in inner or {}}
        self._set_schedules(objectives, weights or {})
        self.plan: tuple[Encode, ...] = tuple(dict.fromkeys(p for o in objectives.values() for p in o.passes))
        self._wanted = {name: [self.plan.index(p) for p in o.passes] for name, o in objectives.items()}
        self._passes: Answering | None = None
        self._learning: Answering | None = None
        self._others: Answering | None = None
        self._compiled: dict[str, Callable[..., Output]] = {}
        self.guided_by(())

    def _set_schedules(
        self, objectives: Mapping[str, Objective], weights: Mapping[str, float | Schedule]
    ) -> None:
        self._constant = {name: w for name, w in weights.items() if not callable(w) and w != 1}
        moving = {name: w for name, w in weights.items() if callable(w)}
        self._moving = frozenset(moving)
        self.schedules: dict[str, Mapping[str, Schedule]] = {n: o.schedules for n, o in objectives.items()}
        """What `now` must hold at each step: objective -> name -> schedule, and the weights that change."""
        if moving:
            self.schedules[WEIGHTS] = moving

    def guided_by(self, guides: Sequence[Encode], cached: Collection[str] = ()) -> None:
        """Set the passes without a mask that `look` runs, before masks are drawn; objectives share them.

        Only those of nets that are trained are encoded again: a loss needs their gradients.

        Args:
            guides: what maskers read.
            cached: nets of which all passes are to be among them, as their answers may be there already.
        """
        passes = {same_pass(p) for p in guides}
        guiding = [
            i
            for i, p in enumerate(self.plan)
            if p.net not in self.trained and (p.net in cached or same_pass(p) in passes)
        ]
        self.early = Plan([*guides, *(self.plan[i] for i in guiding)])
        """What `look` runs."""
        self.late = Plan(p for i, p in enumerate(self.plan) if i not in guiding)
        """What the forward runs."""
        self._from_early = {i: self.early.shares[self.early.asked.index(self.plan[i])] for i in guiding}
        self._from_late = {
            self.plan.index(p): share for p, share in zip(self.late.asked, self.late.shares, strict=True)
        }
        self.by_trained = [i for i, run in enumerate(self.late.runs) if run.net in self.trained]
        """Those passes of `late` that nets make which are trained, by their place,"""
        self.by_others = [i for i in range(len(self.late.runs)) if i not in self.by_trained]
        """and the others."""
        self.places = [self.plan.index(self.late.asked[group[0]]) for group in self.late.members]
        """For each pass of `late`, a request of `plan` that it answers."""

    @torch.no_grad()
    def look(self, images: Mapping[str, Tensor], without: Sequence[int] = ()) -> list[Tokens]:
        """The answers to the passes of `early`, in order. `images`: view -> `[V, B, C, H, W]`.

        `without`: places of those that are not asked for.
        """
        runs = [run for i, run in enumerate(self.early.runs) if i not in without]
        return self._answer(runs, images, [None] * len(runs))

    def guidance(self, looked: Sequence[Tokens]) -> dict[Encode, Tokens]:
        """What maskers wanted of `looked`, the answers of `look`."""
        return {p: share.of(looked) for p, share in zip(self.early.asked, self.early.shares, strict=True)}

    def encode(
        self, images: Mapping[str, Tensor], masks: Sequence[Mask | None], looked: Sequence[Tokens]
    ) -> dict[int, Tokens]:
        """The answer to every pass of `plan`, by its index. `looked`: what `look` answered."""
        return self._shared(self._late(images, masks), looked)

    def _late(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None]) -> list[Tokens]:
        """The answers to the passes of `late`."""
        return self._answer(self.late.runs, images, [masks[place] for place in self.places])

    def _shared(self, answers: Sequence[Tokens], looked: Sequence[Tokens]) -> dict[int, Tokens]:
        """What each request of `plan` wanted of the `answers` of `late` and of those of `look`."""
        late = {i: share.of(answers) for i, share in self._from_late.items()}
        return late | {i: share.of(looked) for i, share in self._from_early.items()}

    def _answer(
        self, runs: Sequence[Encode], images: Mapping[str, Tensor], masks: Sequence[Mask | None]
    ) -> list[Tokens]:
        """Call each net once with all that is asked of it."""
        tokens: dict[int, Tokens] = {}
        for net in self.nets:
            places = [i for i, p in enumerate(runs) if p.net == net]
            if not places:
                continue
            requests = [
                Request(images[runs[i].view], masks[i], runs[i].mode, runs[i].layers, runs[i].attention)
                for i in places
            ]
            with torch.set_grad_enabled(net in self.trained and torch.is_grad_enabled()):
                tokens.update(zip(places, self.nets[net](requests), strict=True))
        return [tokens[i] for i in range(len(runs))]

    def forward(
        self,
        images: Mapping[str, Tensor],
        masks: Sequence[Mask | None],
        now: Now,
        looked: Sequence[Tokens] = (),
    ) -> Stepped:
        """The losses of one micro-batch. `masks`: one for each pass of `plan`; `looked`: the answers of `look`."""
        answers = (self._passes or self._late)(images, masks)
        if self.balancer.space != "features":
            return self.losses_of(answers, now, looked)
        answers, cuts = cut(answers)
        total, outputs, losses, weights, inner, _ = self.losses_of(answers, now, looked)
        return Stepped(total, outputs, losses, weights, inner, cuts)

    def losses_of(self, answers: Sequence[Tokens], now: Now, looked: Sequence[Tokens] = ()) -> Stepped:
        """The losses of a batch whose passes have these `answers`, one for each pass of `late`."""
        tokens = self._shared(answers, looked)
        outputs: dict[str, Output] = {
            name: self._compiled.get(name, objective)(now[name], *[tokens[i] for i in self._wanted[name]])
            for name, objective in self.objectives.items()
        }
        inner: dict[str, Tensor] = {}
        losses = tuple(self._weighted(term, outputs, now, inner) for term in self.terms)
        total: Tensor = self.balancer(torch.stack(losses))
        weights = self.balancer.factors()
        return Stepped(total, outputs, losses, None if weights is None else weights.detach(), inner)

    def shared_by(self, terms: int) -> tuple[str, ...]:
        """The nets whose gradients terms share: the student, and towers that so many terms reach at least."""
        reached = {net: set[str]() for net in self.trained}
        for name, objective in self.objectives.items():
            for request in objective.passes:
                if request.net in reached:
                    reached[request.net].add(name.partition("/")[0])
        return tuple(net for net, by in reached.items() if net == STUDENT or len(by) >= terms)

    def trained_answers(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None]) -> list[Tokens]:
        """The answers to those passes of `late` that nets make which are trained."""
        return (self._learning or self._by_trained)(images, masks)

    def other_answers(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None]) -> list[Tokens]:
        """The answers to the others."""
        return (self._others or self._by_others)(images, masks) if self.by_others else []

    def _by_trained(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None]) -> list[Tokens]:
        return self._some(self.by_trained, images, masks)

    def _by_others(self, images: Mapping[str, Tensor], masks: Sequence[Mask | None]) -> list[Tokens]:
        return self._some(self.by_others, images, masks)

    def _some(
        self, passes: Sequence[int], images: Mapping[str, Tensor], masks: Sequence[Mask | None]
    ) -> list[Tokens]:
        runs = [self.late.runs[i] for i in passes]
        return self._answer(runs, images, [masks[self.places[i]] for i in passes])

    @property
    def compares(self) -> bool:
        """Whether the loss of a batch is other than the mean of the losses of its parts.

        That is so where an objective compares images, by itself or by a batch norm that it trains, and where a
        balancer is not linear in the losses.
        """
        if any(objective.compares or _norms_batches(objective) for objective in self.objectives.values()):
            return True
        return not all(balancer.linear for balancer in (self.balancer, *self.inner.values()))

    def __getstate__(self) -> dict[str, object]:
        """A copy is not compiled, as torch has it of `compile`."""
        state = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**state, "_passes": None, "_learning": None, "_others": None, "_compiled": {}}

    def compile_parts(self, **options: Unpack[CompileOptions]) -> None:
        """Compile the passes of nets as one graph and each objective as another, instead of the whole forward.

        A compiled graph is differentiated as a whole, so where a backward is to end at the cut, so must the graph.
        """
        self._passes = torch.compile(self._late, **options)
        self._learning = torch.compile(self._by_trained, **options)
        self._others = torch.compile(self._by_others, **options)
        self._compiled = {name: torch.compile(loss, **options) for name, loss in self.objectives.items()}

    def _weighted(
        self, term: str, outputs: Mapping[str, Output], now: Now, inner: dict[str, Tensor]
    ) -> Tensor:
        """The loss of an objective, or of a hybrid's members as its own balancer joins them, times its weight."""
        if term in self._members:
            losses = torch.stack([self._weighted(name, outputs, now, inner) for name in self._members[term]])
            inner[term] = losses.detach()
            loss: Tensor = self.inner[term](losses)
        else:
            loss = outputs[term].loss
        if term in self._moving:
            return loss * now[WEIGHTS][term]
        return loss * self._constant[term] if term in self._constant else loss

    def scores(self, outputs: Mapping[str, Output]) -> dict[int, Tensor]:
        """Losses of hidden patches, by the pass that masked them; of several objectives, the first one's."""
        scores: dict[int, Tensor] = {}
        for name, output in outputs.items():
            masked = [i for i in self._wanted[name] if self.plan[i].mask is not None]
            if output.scores is not None and masked:
                scores.setdefault(masked[0], output.scores.detach())
        return scores

    def objective_tokens(self, name: str, tokens: Mapping[int, Tokens]) -> list[Tokens]:
        """The answers that objective `name` asked for, in its order."""
        return [tokens[i] for i in self._wanted[name]]


def _norms_batches(module: nn.Module) -> bool:
    """Whether it has a batch norm that uses the statistics of the batch before it."""
    return any(norm.training for norm in submodules(module, _BatchNorm))


def _members(hybrid: str, objectives: Iterable[str]) -> tuple[str, ...]:
    """The terms right inside `hybrid`, in order."""
    inside = [name.removeprefix(f"{hybrid}/") for name in objectives if name.startswith(f"{hybrid}/")]
    return tuple(dict.fromkeys(f"{hybrid}/{name.partition('/')[0]}" for name in inside))
