"""What holds of a text transformer whatever its weights: who sees whom, batches, crops, precision, graphs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit.interfaces import Request
from sslkit_text.specs.networks import TextTransformer
from tests.plugins.text.test_text_transformer import FACTS, answer, view

LENGTH = 8
WORDS = st.lists(st.integers(1, 26), min_size=1, max_size=LENGTH - 3)


def network(seed=0, **settings):
    torch.manual_seed(seed)
    net = TextTransformer(width=16, depth=2, heads=2, **settings).build(view()).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def row(words):
    tokens = [FACTS["start"], *words, FACTS["end"]]
    return torch.tensor([tokens + [FACTS["pad"]] * (LENGTH - len(tokens))])


CAUSAL = network()
BERT = network(causal=False, mask_padding=True, pool="first")
SIGLIP = network(causal=False, pool="last")


@given(words=WORDS, place=st.integers(1, LENGTH - 1), other=st.integers(1, 26))
@settings(max_examples=25)
def test_a_causal_token_sees_none_after_it(words, place, other):
    text = row(words)
    changed = text.clone()
    changed[0, place] = other
    before, after = (answer(CAUSAL, tokens).patch[0, 0, :place] for tokens in (text, changed))
    torch.testing.assert_close(before, after, rtol=0, atol=0)


@given(words=WORDS, place=st.integers(0, LENGTH - 1))
@settings(max_examples=25)
def test_without_a_causal_mask_every_token_sees_every_word(words, place):
    text = row(words)
    changed = text.clone()
    changed[0, 1] = 1 + changed[0, 1] % 26
    difference = (answer(SIGLIP, text).patch - answer(SIGLIP, changed).patch)[0, 0, place].abs().max()
    assert difference > 1e-9


@given(words=WORDS)
@settings(max_examples=25)
def test_masked_padding_is_seen_by_none(words):
    """The table of padding may hold anything."""
    text = row(words)
    real = text[0] != FACTS["pad"]
    before = answer(BERT, text).patch[0, 0, real]
    with torch.no_grad():
        kept = BERT.embedding.weight[FACTS["pad"]].clone()
        BERT.embedding.weight[FACTS["pad"]] = 100.0
        after = answer(BERT, text).patch[0, 0, real]
        BERT.embedding.weight[FACTS["pad"]] = kept
    torch.testing.assert_close(before, after, rtol=1e-12, atol=1e-12)


@given(words=WORDS)
@settings(max_examples=25)
def test_the_pooled_token_is_one_of_the_outputs(words):
    text = row(words)
    places = {CAUSAL: len(words) + 1, BERT: 0, SIGLIP: LENGTH - 1}
    for net, place in places.items():
        tokens = answer(net, text)
        assert torch.equal(tokens.cls[0, 0], tokens.patch[0, 0, place])


@pytest.mark.parametrize("net", [CAUSAL, BERT, SIGLIP], ids=["causal", "bert", "siglip"])
def test_texts_of_a_batch_do_not_see_each_other(net):
    texts = torch.cat([row([3, 4]), row([5, 6, 7, 8]), row([9])])
    together = answer(net, texts)
    for i in range(3):
        alone = answer(net, texts[i : i + 1])
        torch.testing.assert_close(together.cls[0, i], alone.cls[0, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together.patch[0, i], alone.patch[0, 0], rtol=1e-12, atol=1e-12)


def test_requests_and_crops_are_answered_in_order():
    texts = torch.stack([torch.cat([row([3, 4]), row([5])]), torch.cat([row([6]), row([7, 8, 9])])])
    both, other = CAUSAL([Request(texts, None, "drop", ()), Request(texts.flip(0), None, "drop", ())])
    assert both.cls.shape == (2, 2, 16)
    assert both.patch.shape == (2, 2, LENGTH, 16)
    torch.testing.assert_close(both.cls.flip(0), other.cls)
    torch.testing.assert_close(both.cls[1, 1], answer(CAUSAL, row([7, 8, 9])).cls[0, 0])


def test_what_is_to_be_guessed_is_not_read():
    """Of two rows the network reads the first."""
    text = row([3, 4, 5])
    pair = torch.stack([text, row([9, 9, 9])], dim=1)
    torch.testing.assert_close(answer(BERT, pair).patch, answer(BERT, text).patch)
    assert torch.equal(answer(BERT, pair).image[0], pair)


def test_a_shorter_row_has_the_first_positions():
    net = network()
    text = torch.tensor([[28, 3, 29]])
    torch.testing.assert_close(answer(net, text).patch[0, 0], answer(net, row([3])).patch[0, 0, :3])


def test_it_compiles_to_one_graph():
    net = network()
    compiled = torch.compile(net, fullgraph=True, dynamic=False, backend="aot_eager")
    request = Request(row([3, 4, 5])[None], None, "drop", (0,))
    expected, found = net([request])[0], compiled([request])[0]
    torch.testing.assert_close(found.cls, expected.cls)
    torch.testing.assert_close(found.layers[0], expected.layers[0])


def test_it_runs_in_reduced_precision():
    net = network().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = answer(net, row([3, 4, 5])).cls
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), answer(net, row([3, 4, 5])).cls, rtol=0.1, atol=0.1)


def test_every_parameter_gets_a_gradient():
    net = network()
    answer(net, row([3, 4, 5])).patch.square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in net.parameters()
    )


def test_a_state_goes_to_a_network_of_the_same_shape():
    first, second = network(0), network(1)
    text = row([3, 4, 5])
    assert (answer(first, text).cls - answer(second, text).cls).abs().max() > 1e-3
    second.load_state_dict(first.state_dict())
    assert torch.equal(answer(first, text).cls, answer(second, text).cls)
