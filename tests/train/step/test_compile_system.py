"""One full graph, and no recompile after warm-up."""

from __future__ import annotations

import copy

import pytest
import torch
import torch._inductor.config
from torch._dynamo.utils import counters

from sslkit.evaluate.evaluation_sources import Sources
from sslkit.evaluate.readout import reading_of
from sslkit.evaluate.subject import evaluate
from sslkit.train.compose import compose
from tests import tiny


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_fifty_steps_with_schedules_and_evaluation_compile_once():
    """`fullgraph=True` makes a graph break an error; a second graph would be a recompile."""
    run = tiny.spec(
        steps=50,
        backbone=tiny.ONE_BLOCK,
        compile={"enabled": True, "backend": "aot_eager"},
        nets={"ema": {"momentum": {"start": 0.9, "end": 1.0}}},
        optimizer={"lr": 0.01, "weight_decay": {"start": 0.0, "end": 0.4}, "clip": 1.0},
        evaluate=[{"kind": "knn", "every": "10 steps"}],
    )
    composed = compose(run, tiny.CPU)
    feed = tiny.feed(run, composed)
    reading = reading_of(run, composed.env.views["global"], tiny.CPU, composed.step.autocast)
    sources, scores, rates = Sources(), [], set()
    for step in range(50):
        composed.step(step, feed.step(step))
        rates.add(composed.step.optimizer.param_groups[0]["lr"])
        if step == 1:
            warm = graphs()
        if step % 10 == 9:
            net = composed.system.nets["student"]
            scores.append(evaluate(net, dict(enumerate(run.evaluate)), run.data, reading, sources))
    assert warm == graphs() == 1
    assert len(rates) > 45
    assert len(scores) == 5
    assert not counters["graph_break"]


def test_compiled_runs_make_the_eager_steps_and_resume_bit_equal():
    run = tiny.spec(backbone=tiny.ONE_BLOCK, compile={"enabled": True, "backend": "aot_eager"})
    whole, losses = compose(run, tiny.CPU), []
    feed = tiny.feed(run, whole)
    for step in range(6):
        if step == 3:
            saved = copy.deepcopy(whole.step.state_dict())
        losses.append(whole.step(step, feed.step(step)).total.item())
    _, eager = tiny.steps(tiny.spec(backbone=tiny.ONE_BLOCK), 6)
    assert losses == pytest.approx(eager, rel=1e-5)
    second = compose(run, tiny.CPU)
    second.step.load_state_dict(saved)
    feed = tiny.feed(run, second)
    assert [second.step(i, feed.step(i)).total.item() for i in range(3, 6)] == losses[3:]
    assert tiny.same(whole, second)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_inductor_makes_the_same_steps():
    """The one test with generated code: about half a minute of compiling, in this process alone."""
    _, eager = tiny.steps(tiny.spec(backbone=tiny.ONE_BLOCK), 3)
    with torch._inductor.config.patch(compile_threads=1):  # others would first import torch
        _, generated = tiny.steps(tiny.spec(compile={"enabled": True}, backbone=tiny.ONE_BLOCK), 3)
    assert generated == pytest.approx(eager, rel=1e-4)
    assert graphs() == 1
