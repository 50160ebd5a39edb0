"""Three steps of a case, alone or as a rank: writes losses, gradients of the last step, and state."""

from __future__ import annotations

import sys

import torch

from sslkit.build.maskers import make_maskers
from sslkit.build.system import make_system
from sslkit.core.balancer import Balancer
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.runtime.parallel import Parallel, start
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed, compose
from sslkit.train.step.stepper import Stepper
from tests import tiny
from tests.distributed.contrast_cases import CONTRASTIVE
from tests.distributed.distillation_cases import DISTILLATION
from tests.distributed.hybrid_cases import HYBRIDS
from tests.distributed.negative_free_cases import NEGATIVE_FREE
from tests.distributed.queue_objective import QueueContrast
from tests.projecting_balancer import Projecting

torch.set_num_threads(1)
TERMS = {
    "some": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER},
    "most": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.75}, "decoder": tiny.DECODER},
}
REGULARIZED = {
    "some": {**TERMS["some"], "regularize": {"term": "uniformity", "weight": 0.5}},
    "most": {**TERMS["most"], "regularize": {"weight": 0.5, "covariance": 0.04}},
}

GUIDED = {**TERMS["some"], "masker": {"kind": "difficulty", "ratio": 0.5, "share": 1.0}}
LEARNING = {
    "kind": "mixture",
    "maskers": [{"kind": "information", "ratio": 0.5}, {"kind": "difficulty", "ratio": 0.5}],
}
STAGED = {
    "kind": "curriculum",
    "masker": LEARNING,
    "field": "maskers.1.share",
    "start": 0,
    "end": 1,
    "levels": 3,
    "until": 0.25,
}
"""Another level in each of three steps of eight, and what one learns the next one uses."""

BLOCKS = {
    "kind": "ijepa",
    "masker": {"kind": "multi_block", "scale": [0.15, 0.3], "ratio": 0.7},
    "predictor": tiny.DECODER,
}


def case_spec(case: str) -> RunSpec:
    changes = {
        "micro": {"micro_batch_size": 8},
        "regularized": {"objective": None, "objectives": REGULARIZED},
        "queue": {"nets": {"teacher": {"momentum": 0.9}}},
        "difficulty": {"objective": GUIDED, "nets": {"teacher": {"momentum": 0.9}}, "micro_batch_size": 8},
        "curriculum": {
            "objective": {**GUIDED, "masker": STAGED},
            "nets": {"teacher": {"momentum": 0.9}},
            "micro_batch_size": 8,
        },
        "varying": {"objective": {"kind": "simmim", "masker": {"kind": "bernoulli", "ratio": 0.5}}},
        "projected": {"objective": None, "objectives": TERMS, "micro_batch_size": 8},
        "blocks": {
            "objective": BLOCKS,
            "views": {"global": {**tiny.VIEW, "size": 24}},
            "nets": {"teacher": {"momentum": 0.9}},
            "micro_batch_size": 8,
        },
        **CONTRASTIVE,
        **DISTILLATION,
        **HYBRIDS,
        **NEGATIVE_FREE,
    }.get(case, {})
    views = {"global": {**tiny.VIEW, "crops": 2 if case in {"queue", *CONTRASTIVE, *NEGATIVE_FREE} else 1}}
    return tiny.spec(**{"views": views, "optimizer": {"lr": 0.01, "clip": 1e9, "name": "sgd"}, **changes})


def composed_of(case: str, spec: RunSpec, parallel: Parallel) -> Composed:
    composed = compose(spec, parallel)
    if case == "projected":
        return with_balancer(composed, spec, parallel, Projecting())
    if case != "queue":
        return composed
    views = {"global": View(8, 2, 1, (0.3,), (0.4,))}
    system, env = make_system(spec, views, composed.length)
    torch.manual_seed(7)
    both = System(
        dict(system.nets.items()),
        {"queue": QueueContrast(16), **dict(system.objectives.items())},
        system.balancer.__class__([1.0, 1.0]),
    )
    stepper = Stepper(spec, both, make_maskers(both, env), composed.length, parallel)
    return composed._replace(system=both, step=stepper, env=env)


def with_balancer(composed: Composed, spec: RunSpec, parallel: Parallel, balancer: Balancer) -> Composed:
    nets, objectives = dict(composed.system.nets.items()), dict(composed.system.objectives.items())
    system = System(nets, objectives, balancer)
    stepper = Stepper(spec, system, make_maskers(system, composed.env), composed.length, parallel)
    return composed._replace(system=system, step=stepper)


def main(case: str, path: str) -> None:
    spec, parallel = case_spec(case), start("cpu")
    composed = composed_of(case, spec, parallel)
    gradients: dict[str, torch.Tensor] = {}
    update = composed.step.optimizer.step

    def keep(*args: object, **kwargs: object) -> object:
        gradients.update(
            {n: p.grad.clone() for n, p in composed.system.named_parameters() if p.grad is not None}
        )
        return update(*args, **kwargs)

    composed.step.optimizer.step = keep  # type: ignore[method-assign]
    feed = tiny.feed(spec, composed)
    losses = [parallel.mean(composed.step(i, feed.step(i)).total).item() for i in range(3)]
    if parallel.first:
        state = composed.system.state_dict() | composed.step.masking.state_dict()
        torch.save({"losses": losses, "gradients": gradients, "state": state}, path)
    parallel.wait()
    parallel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
