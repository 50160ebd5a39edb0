"""SlowFast: frames, lateral connections and stages against the reference, and what holds of any of its networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sslkit.core.passes import Encode, Mask, Request
from sslkit.errors import SpecError
from sslkit.nn.batch_norm import BatchNorm
from sslkit.plugin import Grid, View
from sslkit_video.residual_stages import Stage, stage
from sslkit_video.slowfast import Lateral, slow_frames
from sslkit_video.specs.pathways import SlowFast
from tests.conftest import ROOT
from tests.near import beyond, relative_error

TINY = {"alpha": 2, "beta_inv": 4, "width": 8, "depths": (1, 1), "block": "basic", "stem": "small"}


def view(frames=4, side=8, channels=1):
    return View((frames, side, side), 1, channels, (0.0,), (1.0,), type="clip", stream="video", axes=3)


def network(seed=0, frames=4, side=8, channels=1, **fields):
    """With values that a mix-up of modules would show."""
    torch.manual_seed(seed)
    net = SlowFast(**{**TINY, **fields}).build(view(frames, side, channels))
    for module in net.modules():
        if isinstance(module, BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def clips(views=1, count=2, frames=4, side=8, seed=0):
    return torch.randn(views, count, 1, frames, side, side, generator=torch.Generator().manual_seed(seed))


def answer(net, shown, layers=()):
    return net([Request(shown, None, "drop", layers)])[0]


def maps_of(net, module, shown):
    """What `module` of `net` answers on the way."""
    kept = []
    hook = module.register_forward_hook(lambda _, inputs, out: kept.append(out))
    answer(net, shown)
    hook.remove()
    return kept[0]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_lateral_connections_are_the_reference_to_their_gradients(golden, dtype, bound):
    """facebookresearch/SlowFast@287ec0076846:slowfast/models/video_model_builder.py FuseFastToSlow."""
    arrays = golden("slowfast_lateral")
    lateral = Lateral(3, 2, 5, 4, BatchNorm).to(dtype)
    state = {key[3:]: value.clone() for key, value in arrays.items() if key.startswith("sd.")}
    after = {name: state[f"bn.{name}"] for name in ("running_mean", "running_var")}
    start = {"bn.running_mean": torch.zeros(6), "bn.running_var": torch.ones(6)}
    lateral.load_state_dict({**state, **start, "bn.num_batches_tracked": torch.tensor(0)})
    slow, fast = (arrays[name].to(dtype).requires_grad_() for name in ("x_slow", "x_fast"))
    out = lateral(slow, fast)
    assert relative_error(out, arrays["y_train"]) <= bound
    (out * arrays["w"].to(dtype)).sum().backward()
    ours = {name: p.grad for name, p in lateral.named_parameters()} | {"slow": slow.grad, "fast": fast.grad}
    theirs = {key[5:]: value for key, value in arrays.items() if key.startswith("grad.")}
    theirs |= {"slow": arrays["grad_x_slow"], "fast": arrays["grad_x_fast"]}
    assert beyond(ours, theirs, 10 * bound) == {}
    followed = {name: getattr(lateral.bn, name) for name in after}
    assert beyond(followed, after, bound) == {}
    assert relative_error(lateral.eval()(slow, fast), arrays["y_eval"]) <= bound


def test_slow_frames_are_those_of_the_reference():
    """facebookresearch/SlowFast@287ec0076846:slowfast/datasets/utils.py pack_pathway_output."""
    with np.load(ROOT / "tests" / "goldens" / "video_frame_sampling.npz") as arrays:
        rows = arrays["slow_pathway"].tolist()
    assert len(rows) == 5
    for frames, alpha, *expected in rows:
        assert slow_frames(frames, frames // alpha) == [frame for frame in expected if frame >= 0]


@pytest.mark.parametrize("alpha", [2, 3, 4, 8])
def test_slow_frames_are_those_of_a_linspace_for_any_length(alpha):
    for count in range(2, 32):
        frames = count * alpha
        assert slow_frames(frames, count) == torch.linspace(0, frames - 1, count).long().tolist()
    assert slow_frames(alpha, 1) == [0]


@pytest.mark.parametrize(
    ("fields", "stem", "shape", "dim"),
    [
        ({}, "small", (2, 4, 4), 16 + 4),
        ({"depths": (1, 1, 1), "block": "bottleneck"}, "small", (2, 2, 2), 128 + 32),
        ({"stem": "large"}, "large", (2, 1, 1), 16 + 4),
        ({"alpha": 4, "beta_inv": 8}, "small", (1, 4, 4), 16 + 2),
    ],
)
def test_patches_are_the_last_maps_of_both_pathways(fields, stem, shape, dim):
    net = network(**fields).eval()
    shown = clips()
    slow, fast = (maps_of(net, path[-1], shown)[0] for path in (net.slow, net.fast))
    tokens = answer(net, shown)
    assert net.dim == dim == tokens.patch.shape[-1]
    assert net.grid((4, 8, 8)).shape == shape
    assert tokens.patch.shape[2] == net.grid((4, 8, 8)).patches
    wide = len(slow)
    torch.testing.assert_close(tokens.patch[0, 0, :, :wide].mT, slow.flatten(1))
    merged = fast.unflatten(1, (shape[0], -1)).mean(2)
    torch.testing.assert_close(tokens.patch[0, 0, :, wide:].mT, merged.flatten(1))
    head = torch.cat([slow.mean((1, 2, 3)), fast.mean((1, 2, 3))])  # what the reference's classifier reads
    torch.testing.assert_close(tokens.cls[0, 0], head)


def test_sizes_that_do_not_divide_have_the_places_that_convolutions_make():
    net = network(side=9, stem="large").eval()
    assert net.grid((4, 9, 9)) == Grid.of((2, 2, 2), (2, 8, 8))
    assert answer(net, clips(side=9)).patch.shape == (1, 2, 8, net.dim)


def test_a_block_is_that_of_the_reference_and_begins_as_its_shortcut():
    """PySlowFast's bottleneck: frames, then rows and columns with the stride, then the width; zero last scale."""
    torch.manual_seed(0)
    block = stage(4, Stage("bottleneck", 1, 3, 3, 2), BatchNorm)[0]
    assert [conv.kernel_size for conv in block.convs] == [(3, 1, 1), (1, 3, 3), (1, 1, 1)]
    assert [conv.stride for conv in block.convs] == [(1, 1, 1), (1, 2, 2), (1, 1, 1)]
    assert [conv.out_channels for conv in block.convs] == [3, 3, 12]
    x = torch.randn(2, 4, 4, 6, 6)
    torch.testing.assert_close(block(x), block.shortcut(x).relu())
    again = stage(12, Stage("bottleneck", 1, 3, 3, 1), BatchNorm)[0]
    assert isinstance(again.shortcut, nn.Identity)


def test_early_stages_of_the_slow_pathway_see_one_frame_and_later_ones_three():
    net = network(depths=(1, 1, 1, 1), side=16)
    assert [blocks[0].convs[0].kernel_size[0] for blocks in net.slow] == [1, 1, 3, 3]
    assert [blocks[0].convs[0].kernel_size[0] for blocks in net.fast] == [3, 3, 3, 3]
    assert net.slow_stem.conv.kernel_size == (1, 3, 3)
    assert net.fast_stem.conv.kernel_size == (5, 3, 3)
    assert net.stride == 8


def test_frames_that_the_slow_pathway_skips_are_seen_by_the_fast_one():
    net = network(frames=8, alpha=4).eval()
    shown = clips(frames=8)
    changed = shown.clone()
    changed[:, :, :, 3] += 1  # the slow pathway reads 0 and 7
    stems = [maps_of(net, stem, x) for stem in (net.slow_stem, net.fast_stem) for x in (shown, changed)]
    assert torch.equal(stems[0], stems[1])
    assert not torch.equal(stems[2], stems[3])
    assert not torch.equal(answer(net, shown).cls, answer(net, changed).cls)


def test_without_the_lateral_connection_the_slow_pathway_sees_nothing_of_the_rest():
    net = network(frames=8, alpha=4).eval()
    shown = clips(frames=8)
    changed = shown.clone()
    changed[:, :, :, 3] += 1
    before = maps_of(net, net.slow[-1], shown)
    assert not torch.equal(before, maps_of(net, net.slow[-1], changed))
    for lateral in net.laterals:
        nn.init.zeros_(lateral.conv_f2s.weight)
    assert torch.equal(maps_of(net, net.slow[-1], shown), maps_of(net, net.slow[-1], changed))


@pytest.mark.parametrize("apart", [True, False])
def test_crops_of_a_view_are_batches_of_their_own_or_one(apart):
    shown = clips(views=2, count=3)
    both = answer(network(views_apart=apart).train(), shown).cls
    alone = answer(network(views_apart=apart).train(), shown[:1]).cls
    assert torch.allclose(both[:1], alone, atol=1e-5) is apart


def test_every_parameter_gets_a_gradient():
    net = network().train()
    answer(net, clips()).patch.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_it_compiles_to_one_graph():
    net = network().eval()
    compiled = torch.compile(net, fullgraph=True, dynamic=False, backend="aot_eager")
    request = Request(clips(), None, "drop", (0,))
    expected, found = net([request])[0], compiled([request])[0]
    torch.testing.assert_close(found.cls, expected.cls)
    torch.testing.assert_close(found.layers[0], expected.layers[0])


def test_its_one_layer_is_the_last_maps_and_others_are_refused():
    net = network().eval()
    tokens = answer(net, clips(), (-1, 0))
    assert torch.equal(tokens.layers[0], torch.cat([tokens.cls[:, :, None], tokens.patch], 2))
    assert torch.equal(tokens.layers[0], tokens.layers[1])
    with pytest.raises(SpecError, match="only the last maps"):
        answer(net, clips(), (1,))


def test_masks_and_attention_are_refused_with_what_to_use():
    net = network()
    hidden = torch.ones(1, 1, 1, dtype=torch.bool)
    mask = Mask(hidden, *(torch.zeros(1, dtype=torch.int64),) * 3)
    with pytest.raises(SpecError, match=r"cannot hide cubelets; .* use a 'video_vit'"):
        net.serve([Encode("global", mask="tube")])
    with pytest.raises(SpecError, match="cannot hide cubelets"):
        net([Request(clips(), mask, "drop", ())])
    with pytest.raises(SpecError, match="no attention"):
        net([Request(clips(), None, "drop", (), True)])
    with pytest.raises(SpecError, match="timm has no networks of clips"):
        net.export()


def test_parts_for_sharding_are_its_blocks():
    net = network(depths=(1, 2))
    assert len(net.units()) == 6
    assert {type(unit).__name__ for unit in net.units()} == {"ResidualBlock"}


def test_clips_must_be_a_multiple_of_alpha():
    with pytest.raises(SpecError, match="5 frames are not a multiple of `alpha`, 2; change either"):
        SlowFast(**TINY).grid((5, 8, 8))
