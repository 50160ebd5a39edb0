"""LeJEPA: what it takes from rbalestr-lab/lejepa, and what lightly's differs in."""

from __future__ import annotations

import pytest
import torch

from sslkit import LeJEPA, losses
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "lejepa", "projector": parts.HEAD, "directions": 32}
LOCAL = {"view": "global", "local": "local"}


def given(directions):
    """Stands for the directions of a step."""
    return lambda now: directions


def lejepa(arrays, dtype, **fields):
    objective = parts.bare(LeJEPA(projector=parts.HEAD, **fields), "projector")
    del objective.directions
    objective.directions = given(arrays["directions_raw"].to(dtype))
    return objective


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_the_loss_is_that_of_the_minimal_example(dtype, golden):
    """Golden sigreg_lejepa: `MINIMAL.md` with lambda 0.02, all crops of one view; its value and its gradient."""
    arrays, limit = golden("sigreg_lejepa"), max(parts.TOLERANCE[dtype], 1e-8)
    z = arrays["proj"].to(dtype).requires_grad_()
    output = parts.loss_of(lejepa(arrays, dtype), z)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(float(arrays["lejepa_minimal_002"]), abs=limit)
    assert output.metrics["invariance"].item() == pytest.approx(
        float(arrays["invariance_minimal"]), abs=limit
    )
    assert output.metrics["sigreg"].item() == pytest.approx(float(arrays["statistic"]), abs=limit)
    torch.testing.assert_close(z.grad, arrays["grad_lejepa_minimal_002"].to(dtype), rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_the_loss_is_lightlys_with_its_center_and_weight(dtype, golden):
    """Lightly 1.6.0 `LeJEPALoss`: all crops go to the mean of the large ones; lambda 0.05."""
    arrays, limit = golden("sigreg_lejepa"), max(parts.TOLERANCE[dtype], 1e-8)
    z = arrays["proj"].to(dtype).requires_grad_()
    objective = lejepa(arrays, dtype, center="global", sigreg=0.05, local="local")
    output = parts.loss_of(objective, z[:2], z[2:])
    output.loss.backward()
    assert output.loss.item() == pytest.approx(float(arrays["lejepa_lightly"]), abs=limit)
    assert output.metrics["invariance"].item() == pytest.approx(
        float(arrays["invariance_lightly"]), abs=limit
    )
    torch.testing.assert_close(z.grad, arrays["grad_lejepa_lightly"].to(dtype), rtol=0, atol=limit)


def test_the_function_is_the_objectives(golden):
    arrays = golden("sigreg_lejepa")
    z, directions = arrays["proj"], arrays["directions_raw"]
    assert losses.lejepa(z, directions).item() == pytest.approx(float(arrays["lejepa_minimal_002"]), abs=1e-8)
    lightly = losses.lejepa(z, directions, 0.05, crops=2)
    assert lightly.item() == pytest.approx(float(arrays["lejepa_lightly"]), abs=1e-8)


def test_defaults_are_those_of_the_minimal_example():
    """`MINIMAL.md`: torchvision's MLP 2048, 2048, 16 with batch norm; +lamb=0.02; 256 directions."""
    spec = LeJEPA()
    assert (spec.sigreg, spec.directions, spec.center, spec.local) == (0.02, 256, "all", None)
    with torch.device("meta"):
        objective = spec.build(parts.env(384))
    assert objective.passes == (Encode("global"),)
    kinds = [type(m).__name__ for m in objective.projector.layers]
    assert kinds == ["Linear", "BatchNorm", "ReLU", "Linear", "BatchNorm", "ReLU", "Linear"]
    linears = [m for m in objective.projector.layers if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linears] == [2048, 2048, 16]
    assert all(m.bias is not None for m in linears)


def test_it_learns():
    first, last, values = parts.learn({**SMALL, "sigreg": 0.5}, nets={})
    assert last < first / 2
    assert values["lejepa/feature_std"] > 0.6
    assert values["lejepa/sigreg"] < 3, "about 1 of normal features"


def test_without_sigreg_it_would_collapse():
    """The test above could pass by itself: with almost no weight on SIGReg, embeddings shrink to their mean."""
    _, _, values = parts.learn({**SMALL, "sigreg": 1e-6}, nets={})
    assert values["lejepa/sigreg"] > 8


def test_two_views_are_one_batch_of_crops():
    objective = LeJEPA(projector=parts.HEAD, directions=8, **LOCAL).build(parts.env())
    assert objective.passes == (Encode("global"), Encode("local"))
    z = parts.random(6, 9, 12).float()
    now = {"step": torch.tensor(3.0)}
    joined = objective(now, *map(parts.tokens, (z[:2], z[2:]))).loss
    alone = LeJEPA(projector=parts.HEAD, directions=8).build(parts.env())
    alone.load_state_dict(objective.state_dict())
    torch.testing.assert_close(alone(now, parts.tokens(z)).loss, joined)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"local": "global"}, "objective.local: is `view` itself; leave it out"),
        ({"center": "global"}, "objective.center: has no effect without `local`"),
        ({"sigreg": 1.0}, "objective.sigreg: .*less than 1"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        parts.run_of({**SMALL, **fields}, nets={})
