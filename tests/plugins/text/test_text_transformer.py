"""The text transformer against open_clip's arrays, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from sslkit.interfaces import Encode, Request
from sslkit.plugin import SpecError, View
from sslkit_text.specs.networks import TextTransformer
from tests.near import beyond, relative_error
from tests.plugins.text.tokens import Fixed, mask_of_rows

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
NAMES = {
    "ln_1": "norm1",
    "attn.in_proj_": "qkv.",
    "attn.out_proj": "proj",
    "ln_2": "norm2",
    "mlp.c_fc": "fc1",
    "mlp.c_proj": "fc2",
    "transformer.resblocks": "blocks",
    "token_embedding": "embedding",
    "positional_embedding": "positions",
    "ln_final": "norm",
}
"""Of open_clip -> ours."""
FACTS = {"vocabulary": 30, "pad": 0, "start": 28, "end": 29, "mask": 27}
REFERENCES = {
    "openclip_text_clip": ({}, FACTS),
    "openclip_text_eos": ({}, FACTS | {"end": 5}),
    "openclip_text_padmask": ({"causal": False, "mask_padding": True, "pool": "first"}, FACTS),
    "openclip_text_siglip": ({"causal": False, "pool": "last", "epsilon": 1e-6}, FACTS),
}


def ours(name):
    for theirs, mine in NAMES.items():
        name = name.replace(theirs, mine)
    return name


def view(facts=FACTS, length=8):
    return View(length, 1, 1, (), (), type="tokens", stream="caption", axes=1, transform=Fixed(facts, length))


def network(arrays, settings, facts, dtype):
    """The reference's tower with its weights, and what projects its output."""
    net = TextTransformer(width=16, depth=2, heads=2, **settings).build(view(facts)).to(dtype)
    state = {key[3:]: value.to(dtype) for key, value in arrays.items() if key.startswith("sd.")}
    projections = {key: value for key, value in state.items() if key.startswith("text_projection")}
    net.load_state_dict({ours(key): value for key, value in state.items() if key not in projections})
    return net, {key: value.requires_grad_() for key, value in projections.items()}


def projected(pooled, projections):
    """open_clip applies a matrix [width, out]; SigLIP's is a linear layer with a bias."""
    if "text_projection" in projections:
        return pooled @ projections["text_projection"]
    return torch.nn.functional.linear(
        pooled, projections["text_projection.weight"], projections["text_projection.bias"]
    )


def answer(net, text, **options):
    return net(
        [Request(text[None], options.get("mask"), options.get("mode", "drop"), options.get("layers", ()))]
    )[0]


@pytest.mark.parametrize("file", sorted(REFERENCES))
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_outputs_and_gradients_are_open_clips(golden, file, dtype, tolerance):
    arrays, (settings, facts) = golden(file), REFERENCES[file]
    net, projections = network(arrays, settings, facts, dtype)
    tokens = answer(net, arrays["text"])
    y = projected(tokens.cls[0], projections)
    (y * arrays["w"].to(dtype)).sum().backward()
    assert relative_error(y.detach(), arrays["y"]) <= tolerance
    assert relative_error(tokens.patch[0].detach(), arrays["tokens"]) <= tolerance
    gradients = {name: parameter.grad for name, parameter in (*net.named_parameters(), *projections.items())}
    expected = {ours(key[5:]): value for key, value in arrays.items() if key.startswith("grad.")}
    assert beyond(gradients, expected, 10 * tolerance) == {}


def test_what_follows_the_end_does_not_matter(golden):
    """The causal mask hides it; row 1 of the array has other tokens there."""
    arrays = golden("openclip_text_clip")
    net, projections = network(arrays, *REFERENCES["openclip_text_clip"], torch.float64)
    y = projected(answer(net, arrays["text_after_eot"]).cls[0], projections)
    assert relative_error(y.detach(), arrays["y_after_eot"]) <= 1e-10


def test_the_end_is_found_whatever_its_number_is():
    """open_clip's argmax would take a word of a larger number for it."""
    net = TextTransformer(width=16, depth=1, heads=2).build(view(FACTS | {"end": 3}))
    text = torch.tensor([[28, 9, 3, 0, 0, 0, 0, 0], [28, 9, 3, 25, 0, 3, 0, 0]])
    tokens = answer(net, text)
    torch.testing.assert_close(tokens.cls[0], tokens.patch[0, :, 2])
    torch.testing.assert_close(tokens.cls[0, 0], tokens.cls[0, 1])


def test_the_mean_leaves_padding_out():
    net = TextTransformer(width=16, depth=1, heads=2, causal=False, mask_padding=True, pool="mean").build(
        view()
    )
    text = torch.tensor([[28, 9, 29, 0, 0, 0, 0, 0]])
    tokens = answer(net, text)
    torch.testing.assert_close(tokens.cls[0, 0], tokens.patch[0, 0, :3].mean(0))


def test_hidden_tokens_are_read_as_the_mask_token():
    net = TextTransformer(width=16, depth=1, heads=2).build(view())
    net.serve([Encode("text", mask="a masker", mode="token")])
    text = torch.tensor([[28, 9, 10, 29, 0, 0, 0, 0]])
    hidden = torch.zeros(1, 1, 8, dtype=torch.bool)
    hidden[0, 0, 2] = True
    masked = answer(net, text, mask=mask_of_rows(hidden), mode="token")
    written = answer(net, torch.tensor([[28, 9, 27, 29, 0, 0, 0, 0]]))
    torch.testing.assert_close(masked.patch, written.patch)
    assert torch.equal(masked.image, text[None]), "the text itself stays as it is"


def test_layers_are_outputs_of_blocks_with_the_pooled_token_first():
    net = TextTransformer(width=16, depth=2, heads=2).build(view())
    text = torch.tensor([[28, 9, 10, 29, 0, 0, 0, 0]])
    tokens = answer(net, text, layers=(0, -1))
    assert [layer.shape for layer in tokens.layers] == [(1, 1, 9, 16)] * 2
    torch.testing.assert_close(net.norm(tokens.layers[1][:, :, 1:]), tokens.patch)
    torch.testing.assert_close(tokens.layers[0][0, 0, 0], tokens.layers[0][0, 0, 1 + 3])
    with pytest.raises(SpecError, match="2 blocks"):
        answer(net, text, layers=(2,))


def test_every_parameter_has_a_layer():
    net = TextTransformer(width=16, depth=2, heads=2).build(view())
    layers = {net.layer_of(name) for name, _ in net.named_parameters()}
    assert layers == {0, 1, 2, 3}
    assert net.layer_of("positions") == net.layer_of("embedding.weight") == 0
    assert net.layer_of("blocks.1.fc1.bias") == 2
    assert len(net.units()) == 2


@pytest.mark.parametrize(
    ("request_", "facts", "message"),
    [
        (Encode("text", mask="m", mode="drop"), FACTS, "mode: token"),
        (
            Encode("text", mask="m", mode="token"),
            {k: v for k, v in FACTS.items() if k != "mask"},
            "mask token",
        ),
    ],
)
def test_what_it_does_not_serve_is_refused(request_, facts, message):
    net = TextTransformer(width=16, depth=1, heads=2).build(view(facts))
    with pytest.raises(SpecError, match=message):
        net.serve([request_])


def test_attention_is_not_told():
    net = TextTransformer(width=16, depth=1, heads=2).build(view())
    with pytest.raises(SpecError, match="attention"):
        net([Request(torch.full((1, 1, 8), 29), None, "drop", (), attention=True)])


def test_a_view_without_a_vocabulary_is_refused():
    with pytest.raises(SpecError, match="vocabulary"):
        TextTransformer(width=16, depth=1, heads=2).build(view({"pad": 0, "end": 1}))
    with pytest.raises(SpecError, match="have a length"):
        TextTransformer(width=16, depth=1, heads=2).grid((4, 4))
    with pytest.raises(SpecError, match="timm"):
        TextTransformer(width=16, depth=1, heads=2).build(view()).export()


def test_the_first_weights_are_spread_as_open_clips():
    """Attention width^-.5, its output and the perceptron's (width 2 depth)^-.5, tokens .02, positions .01."""
    net = TextTransformer(width=64, depth=3, heads=2).build(view(FACTS | {"vocabulary": 400}, 64))
    block = net.blocks[1]
    spreads = {
        "tokens": (net.embedding.weight, 0.02),
        "positions": (net.positions, 0.01),
        "attention": (block.qkv.weight, 64**-0.5),
        "attention out": (block.proj.weight, 64**-0.5 * 6**-0.5),
        "perceptron": (block.fc1.weight, 128**-0.5),
        "perceptron out": (block.fc2.weight, 64**-0.5 * 6**-0.5),
    }
    for name, (weight, spread) in spreads.items():
        assert weight.std().item() == pytest.approx(spread, rel=0.1), name
    assert not block.qkv.bias.any()


def test_quick_gelu_is_another_function():
    torch.manual_seed(0)
    net = TextTransformer(width=16, depth=1, heads=2).build(view())
    quick = TextTransformer(width=16, depth=1, heads=2, activation="quick_gelu").build(view())
    quick.load_state_dict(net.state_dict())
    text = torch.tensor([[28, 9, 10, 29, 0, 0, 0, 0]])
    difference = (answer(net, text).patch - answer(quick, text).patch).abs().max()
    assert 1e-5 < difference < 0.2
