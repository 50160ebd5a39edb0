"""CLIP's and SigLIP's losses of two gloo ranks, against those that open_clip has on two."""

from __future__ import annotations

import pytest
import torch

from tests.distributed import pair_worker
from tests.distributed.forked import on_ranks
from tests.near import relative_error


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two ranks make of the halves of the batch."""
    path = tmp_path_factory.mktemp("pairs") / "two.pt"
    on_ranks(pair_worker.main, path)
    return torch.load(path, weights_only=True)


def beyond(ranks, golden, name, mode):
    """What of a loss and its gradients is not within 1e-10 of the reference's, before any average over ranks."""
    arrays = golden("clip_siglip_two_ranks")
    expected = {"loss": f"loss_{mode}"} | {side: f"grad_{side}_{mode}" for side in ("image", "text", "scale")}
    errors = {what: relative_error(ranks[f"{name} {what}"], arrays[key]) for what, key in expected.items()}
    return {what: error for what, error in errors.items() if not error <= 1e-10}


@pytest.mark.parametrize("mode", ["local1_grad1", "local0_grad1"])
def test_gradients_of_all_ranks_are_open_clips(ranks, golden, mode):
    """`--gather-with-grad`; whether each rank has its own rows alone or all of them changes the rank's loss only."""
    arrays = golden("clip_siglip_two_ranks")
    wrong = beyond(ranks, golden, "gradient", mode)
    assert set(wrong) <= ({"loss", "scale"} if mode == "local0_grad1" else set())
    assert relative_error(ranks["gradient loss"].mean(), arrays[f"loss_{mode}"].mean()) <= 1e-10
    assert relative_error(ranks["gradient scale"].mean(), arrays["grad_scale_single"]) <= 1e-10
    assert relative_error(ranks["gradient image"] / 2, arrays["grad_image_single"]) <= 1e-10


def test_values_of_all_ranks_are_open_clips_default(ranks, golden):
    """Averaged over ranks, as DDP does, the gradient is half of the true one."""
    arrays = golden("clip_siglip_two_ranks")
    assert beyond(ranks, golden, "values", "local0_grad0") == {}
    assert relative_error(ranks["values image"] / 2, arrays["grad_image_single"] / 2) <= 1e-10


@pytest.mark.parametrize("name", ["siglip", "compiled siglip"])
@pytest.mark.parametrize("mode", ["siglip_bidir", "siglip_gather"])
def test_siglip_is_open_clips(ranks, golden, name, mode):
    """The ring and the gathered form have the same numbers; the mean over ranks is that of one process."""
    arrays = golden("clip_siglip_two_ranks")
    assert beyond(ranks, golden, name, mode) == {}
    assert relative_error(ranks[f"{name} loss"].mean(), arrays["loss_siglip_single"]) <= 1e-10
    assert relative_error(ranks[f"{name} text"] / 2, arrays["grad_text_siglip_single"]) <= 1e-10


def test_ranks_may_keep_to_themselves(ranks, golden):
    arrays = golden("clip_siglip_two_ranks")
    logits = float(arrays["scale"]) * arrays["image"][:3] @ arrays["text"][:3].T
    partners = torch.arange(3)
    expected = sum(torch.nn.functional.cross_entropy(side, partners) for side in (logits, logits.T)) / 2
    assert relative_error(ranks["none loss"][0], expected) <= 1e-10
    assert (ranks["none loss"].mean() - arrays["loss_single"]).abs() > 0.01
