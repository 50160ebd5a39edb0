"""Two ranks and micro-batches make the step of one process, and a component for which they do not is caught."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Literal, final

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sslkit.core.context import Env
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Tokens
from sslkit.errors import PluginError
from sslkit.runtime.parallel import Single
from sslkit.specs.families import ObjectiveSpec
from sslkit.testing import steps
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises import rank_promises
from sslkit.testing.promises.rank_promises import require_same_on_ranks
from sslkit.testing.steps import Left, differing
from sslkit.testing.tiny_run import stage


@final
class Odd(Objective):
    """A loss on the class token that goes wrong by its rank."""

    center: Tensor

    def __init__(self, dim: int, fault: str) -> None:
        super().__init__()
        self.passes = (Encode("global"),)
        self.head, self.fault = nn.Linear(dim, 2), fault
        self.register_buffer("center", torch.zeros(2))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        x = self.head(tokens[0].cls).float()
        if self.fault == "batch":  # compares the images of its rank only
            x = x - x.mean(1, keepdim=True)
        if self.fault == "dies" and dist.is_initialized() and dist.get_rank() == 1:
            raise ValueError("out of memory")
        rows = {} if self.fault == "center" else {"x": x.flatten(0, 1)}
        if self.fault == "center" and self.training:
            self.__dict__["seen"] = x.detach().flatten(0, 1)
        zero = 0.0 * tokens[0].patch.sum()
        return Output((x - self.center).square().mean() + zero, carry=rows)

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        rows = self.__dict__["seen"] if self.fault == "center" else carry["x"]
        self.center.copy_(rows.mean(0))


class OddSpec(ObjectiveSpec):
    """Builds `Odd`."""

    kind: Literal["odd"] = "odd"
    fault: str = ""

    def build(self, env: Env) -> Objective:
        return Odd(env.nets["student"].dim, self.fault)


def run(fault: str = ""):
    return stage(objectives={"check": OddSpec(fault=fault)})


def test_sound_objectives_pass_and_the_ranks_are_kept():
    require_same_on_ranks(stage())
    processes = [process.pid for process in rank_promises.ranks()._processes]
    assert len(processes) == 2
    require_same_on_ranks(run())
    assert [process.pid for process in rank_promises.ranks()._processes] == processes


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("batch", r"losses of a step on 2 ranks are others than in one process: loss at step 0"),
        (
            "center",
            "fails on 2 ranks: SpecError: buffer 'objectives.check.center' is not the same on all 2 ranks",
        ),
        pytest.param(
            "dies",
            "fails on 2 ranks: ValueError: out of memory|did not end their steps",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_depends_on_ranks_is_caught(fault, match, monkeypatch):
    monkeypatch.setattr(rank_promises, "GRACE", 3.0)
    with pytest.raises(PluginError, match=match):
        require_same_on_ranks(run(fault))
    require_same_on_ranks(run())  # and those that failed are replaced


def test_a_spec_of_a_function_cannot_be_sent():
    class Inside(OddSpec):
        kind: Literal["inside"] = "inside"

    with pytest.raises(NotOffered, match="cannot be sent to another process"):
        require_same_on_ranks(stage(objectives={"check": Inside()}))


def test_what_differs_is_named():
    whole = Left({"loss at step 0": torch.tensor(2.0)}, {"a": torch.ones(3), "b": torch.zeros(1)})
    near = Left({"loss at step 0": torch.tensor(2.00001)}, {"a": torch.ones(3), "b": torch.full((1,), 1e-5)})
    assert list(differing(near, whole)) == []
    far = Left({"loss at step 0": torch.tensor(2.1)}, {"a": torch.ones(2), "b": torch.zeros(1)})
    assert list(differing(far, whole)) == [("losses", "loss at step 0"), ("gradients or buffers", "a")]
    counts = Left({}, {"n": torch.tensor(3)})
    assert list(differing(counts, Left({}, {"n": torch.tensor(4)}))) == [("gradients or buffers", "n")]
    assert list(differing(Left({}, {}), Left({}, {"n": torch.tensor(4)}))) == [("gradients or buffers", "n")]
    still = Left({}, {"w": torch.zeros(1)}, {"w": 1e-8})
    assert list(differing(Left({}, {"w": torch.tensor([9e-9])}), still)) == []  # a weight's last bit
    assert list(differing(Left({}, {"w": torch.tensor([2e-8])}), still)) == [("gradients or buffers", "w")]


def test_rounding_of_a_parameter_is_in_relation_to_its_size():
    left = steps.left_behind(steps.with_descent(run()), Single(torch.device("cpu")))
    assert left.grain["objectives.check.head.weight"] == pytest.approx(2 * 2**-23 * 0.25, rel=0.3)
    assert left.grain["objectives.check.head.weight"] < left.moved["objectives.check.head.weight"].abs().max()


def test_a_loss_near_zero_may_have_the_rounding_of_numbers_near_one():
    """As 2 - 2 cos of crops that are alike."""
    left = steps.left_behind(steps.with_descent(run()), Single(torch.device("cpu")))
    none, near, far = (
        left._replace(losses=dict.fromkeys(left.losses, torch.tensor(loss))) for loss in (0.0, 1e-6, 3e-6)
    )
    assert list(differing(near, none)) == []
    assert [what for what, _ in differing(far, none)] == ["losses"]


def test_frames_are_whole_or_the_end():
    stream = io.BytesIO()
    rank_promises.write(stream, b"one")
    rank_promises.write(stream, b"")
    stream.write((9).to_bytes(8, "big") + b"cut")
    stream.seek(0)
    assert [rank_promises.read(stream) for _ in range(4)] == [b"one", b"", None, None]
