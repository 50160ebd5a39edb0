"""Any timm network as it is."""

from __future__ import annotations

import math

import pytest
import timm
import torch

from sslkit import Timm
from sslkit.core.passes import Request
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.train.launch import train
from tests import tiny


def view(size=32):
    return View(size, 1, 3, (0.5,) * 3, (0.5,) * 3)


def randn(*shape):
    """Images in the memory order in which maps are computed: another changes the last bits of sums."""
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def read(net, images):
    with torch.no_grad():
        return net.eval()([Request(images[None], None, "drop", ())])[0]


@pytest.mark.parametrize(
    ("name", "arguments", "grid", "prefix"),
    [
        ("test_resnet", {}, Grid(1, 1, 32), 0),
        ("test_convnext", {}, Grid(1, 1, 32), 0),
        ("test_vit", {"img_size": 32}, Grid(2, 2, 16), 1),
        ("test_mambaout", {}, Grid(1, 1, 32), 0),
    ],
)
def test_features_are_timms(name, arguments, grid, prefix):
    """Maps with channels first or last, and tokens: the same numbers as `forward_features`."""
    torch.manual_seed(0)
    net = Timm(name=name, arguments=arguments).build(view())
    images = randn(2, 3, 32, 32)
    tokens = read(net, images)
    with torch.no_grad():
        expected = net.module.forward_features(images)
    if expected.ndim == 4:
        expected = expected.flatten(1, 2) if expected.shape[-1] == net.dim else expected.flatten(2).mT
    assert torch.equal(tokens.patch[0], expected[:, prefix:])
    assert net.grid(32) == grid
    assert net.grid(32).patches == tokens.patch.shape[2]


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("test_resnet", {}, 32),
        ("test_convnext", {}, 32),
        ("test_vit", {"img_size": 32}, 32),
        ("test_vit", {"img_size": 32, "global_pool": "avg"}, 32),
        ("test_vit", {"img_size": 32, "global_pool": "avg", "class_token": False, "reg_tokens": 3}, 32),
        ("test_vit", {"img_size": 32, "global_pool": "map"}, 32),
        ("test_vit_relpos", {"img_size": 32}, 32),
        ("volo_d1_224", {"img_size": 64}, 64),
        ("pit_ti_224", {}, 224),
    ],
)
def test_the_class_token_is_the_vector_that_timms_classifier_reads(name, arguments, size):
    """Norms and attention of heads included: `convnext`'s and `fc_norm` were left out."""
    torch.manual_seed(0)
    net = Timm(name=name, arguments=arguments).build(view(size))
    shift(net)
    images = randn(2, 3, size, size)
    tokens = read(net, images)
    with torch.no_grad():
        theirs = net.module.forward_head(net.module.forward_features(images), pre_logits=True)
    assert theirs.shape == (2, net.dim)
    assert torch.equal(tokens.cls[0], theirs)


@pytest.mark.parametrize(("name", "last"), [("test_resnet", True), ("test_vit", False)])
def test_convolutions_read_channels_last(name, last):
    """Faster for them; a transformer's one convolution does not repay the copy."""
    net = Timm(name=name, arguments={} if last else {"img_size": 32}).build(view())
    seen = []
    hooked = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    hooked.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    read(net, torch.randn(2, 3, 32, 32))
    assert seen[0].is_contiguous(memory_format=torch.channels_last) is last
    assert all(p.is_contiguous() for p in net.parameters())


def shift(net):
    """Scales and shifts of norms begin at 1 and 0, where a norm too many or too few may hide."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))


def test_a_norm_before_the_mlp_of_a_head_is_applied():
    """Where timm's vector is wider than the features, theirs is read before the MLP."""
    torch.manual_seed(0)
    net = Timm(name="test_mambaout").build(view())
    shift(net)
    images = torch.randn(2, 3, 32, 32)
    tokens = read(net, images)
    head = net.module.head
    with torch.no_grad():
        torch.testing.assert_close(tokens.cls[0], head.norm(tokens.patch[0].mean(1)))
        wide = net.module.forward_head(net.module.forward_features(images), pre_logits=True)
        torch.testing.assert_close(head.pre_logits(tokens.cls[0]), wide)


def test_registers_are_neither_class_token_nor_patches():
    """A network with registers and no class token gave its first register."""
    arguments = {"img_size": 32, "global_pool": "", "class_token": False, "reg_tokens": 3}
    torch.manual_seed(0)
    net = Timm(name="test_vit", arguments=arguments).build(view())
    images = torch.randn(2, 3, 32, 32)
    tokens = read(net, images)
    with torch.no_grad():
        every = net.module.forward_features(images)
    assert every.shape[1] == 3 + 4
    assert torch.equal(tokens.patch[0], every[:, 3:])
    torch.testing.assert_close(tokens.cls[0], every[:, 3:].mean(1))


def test_a_class_token_that_timm_does_not_count_is_no_patch():
    torch.manual_seed(0)
    net = Timm(name="volo_d1_224", arguments={"img_size": 64}).build(view(64))
    assert not hasattr(net.module, "num_prefix_tokens"), "timm counts it now: choose another network"
    images = torch.randn(2, 3, 64, 64)
    tokens = read(net, images)
    with torch.no_grad():
        every = net.module.forward_features(images)
    assert torch.equal(tokens.patch[0], every[:, 1:])
    assert torch.equal(tokens.cls[0], every[:, 0])
    assert net.grid(64) == Grid(4, 4, 16)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("test_convnext", 0),
        ("test_mambaout", 2),
        ("lcnet_035", 2),
        ("test_vit_relpos", 0),
        ("test_resnet", 0),
    ],
)
def test_networks_with_parameters_in_their_head_are_trained(name, left_out, tmp_path):
    """Their heads took no part in any loss, which ended the run before its first step."""
    arguments = {"img_size": 32} if "vit" in name else {}
    run = tiny.spec(
        tmp_path / "run",
        backbone={"kind": "timm", "name": name, "arguments": arguments},
        views={"global": {**tiny.VIEW, "size": 32, "crops": 2}},
        objective={"kind": "simclr"},
        steps=2,
        batch_size=4,
    )
    composed, losses = tiny.steps(run, 2)
    assert all(map(math.isfinite, losses))
    net = composed.system.nets["student"]
    idle = [name for name, p in net.module.named_parameters() if not p.requires_grad]
    assert len(idle) == left_out
    assert len(net.notes()) == (1 if left_out else 0)
    for note in net.notes():
        assert note.startswith(
            f"{left_out} parameters of the {type(net.module).__name__} take no part in its features"
        )
        assert idle[0] in note
    exported = net.export()
    again = timm.create_model(exported.architecture, **exported.arguments)
    again.load_state_dict(exported.state, strict=True)


def test_what_is_left_out_is_told_at_the_start_of_a_run(tmp_path, capsys):
    run = tiny.spec(
        tmp_path / "run",
        backbone={"kind": "timm", "name": "lcnet_035"},
        views={"global": {**tiny.VIEW, "size": 32, "crops": 2}},
        objective={"kind": "simclr"},
        steps=1,
        batch_size=4,
    )
    train(run, lambda text: None)
    printed = capsys.readouterr()
    assert (
        "note: 2 parameters of the MobileNetV3 take no part in its features and are not trained, as conv_head"
        in (printed.out + printed.err)
    )


def test_attention_biases_follow_the_weights_in_evaluation_mode():
    """timm keeps gathered biases until `train()` is called, so a moving average kept its first ones."""
    torch.manual_seed(0)
    images = randn(2, 3, 128, 128)
    net = Timm(name="efficientvit_m0", arguments={"img_size": 128}).build(view(128))
    shift(net)  # its residual branches begin at 0
    first = read(net, images).patch
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("attention_biases"):
                p.normal_()
    exported = net.export()
    again = timm.create_model(exported.architecture, **exported.arguments).eval()
    again.load_state_dict(exported.state)
    now = read(net, images).patch
    assert not torch.equal(now, first)
    with torch.no_grad():
        assert torch.equal(now[0], again.forward_features(images).flatten(2).mT)


def test_a_map_whose_size_is_rounded_up_has_its_true_stride():
    net = Timm(name="test_resnet").build(view(72))
    assert net.grid(72) == Grid(3, 3, 32)
    assert net.grid(64) == Grid(2, 2, 32)


def test_weights_of_a_file(tmp_path):
    torch.manual_seed(1)
    theirs = timm.create_model("test_resnet", num_classes=0).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    net = Timm(name="test_resnet", checkpoint=tmp_path / "weights.pt").build(view())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(read(net, images).cls[0], theirs(images))


def test_it_is_exported_as_timm_makes_it():
    torch.manual_seed(2)
    net = Timm(name="test_vit", arguments={"img_size": 32}).build(view())
    exported = net.export()
    again = timm.create_model(exported.architecture, **exported.arguments).eval()
    again.load_state_dict(exported.state)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.forward_features(images)[:, 0], read(net, images).cls[0])


def test_names_and_arguments_that_timm_does_not_know():
    with pytest.raises(SpecError, match=r"has no model 'test_resne'\. Did you mean .*'test_resnet'"):
        Timm(name="test_resne").build(view())
    with pytest.raises(SpecError, match=r"timm cannot build 'test_resnet' with .*nonsense"):
        Timm(name="test_resnet", arguments={"nonsense": 1}).build(view())


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "deit_tiny_patch16_224",
            r"`arguments: \{img_size: 48\}` \(or `\{dynamic_img_size: true\}` for views of several sizes\)$",
        ),
        ("test_vit_relpos", r"`arguments: \{img_size: 48\}`$"),
    ],
)
def test_images_of_another_size_are_refused_with_the_argument_to_give(name, advice):
    with pytest.raises(SpecError, match=rf"a Vision\w+ cannot read images \[1, 3, 48, 48\]: \S.*{advice}"):
        Timm(name=name).build(view(48))


def test_no_reason_is_empty():
    """timm asserts without a word."""
    with pytest.raises(SpecError, match=r"cannot read images \[1, 3, 48, 48\]: \S"):
        Timm(name="gcvit_xxtiny").build(view(48))
    with pytest.raises(SpecError, match=r"timm cannot build 'test_vit' with .*: \S"):
        Timm(name="test_vit", arguments={"num_heads": 0}).build(view())


def test_networks_of_several_outputs_are_refused():
    with pytest.raises(
        SpecError, match=r"'crossvit_tiny_240': a CrossVit gives list of 2 for one image; expected"
    ):
        Timm(name="crossvit_tiny_240", arguments={"img_size": 240}).build(view(240))
