"""ALBEF's objective: arrays of its reference, its parts against torch's, and runs of each term."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from sslkit import Run
from sslkit.interfaces import Tokens
from sslkit.plugin import Env, Length, NetInfo, SpecError, View
from sslkit_text.albef import HIGHEST, ALBEFObjective
from sslkit_text.fusion_network import FusionBlock, FusionNetwork
from sslkit_text.specs.albef import ALBEF
from sslkit_text.specs.albef_parts import FusionSize
from sslkit_text.specs.albef_terms import ITC, ITM, CrossMLM
from tests.near import relative_error
from tests.plugins.text.albef_fields import FUSION, SMALL, data_of
from tests.plugins.text.tokens import Fixed

FACTS = {"vocabulary": 60, "pad": 0, "start": 1, "end": 2, "mask": 3}
SIZE = FusionSize(depth=1, heads=2)


def env(width=6):
    views = {
        "text": View(7, 1, 1, (), (), type="tokens", stream="caption", axes=1, transform=Fixed(FACTS, 7)),
        "masked_text": View(
            (2, 7), 1, 1, (), (), type="tokens", stream="caption", axes=2, transform=Fixed(FACTS, 7)
        ),
    }
    nets = dict.fromkeys(("student", "text", "teacher", "text_teacher"), NetInfo(width, 1))
    return Env(views, nets, {}, Length(20, 10))


def tokens(image, cls, patch):
    return Tokens(image[None], cls[None], patch[None], None, ())


def identity(layer):
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)


def contrast_inputs(arrays, dtype):
    """Embeddings of the reference as class tokens, which the projections leave as they are."""
    rows = torch.zeros(4, 7, dtype=torch.int64)
    leaves = {n: arrays[f"{n}_proj"].to(dtype).requires_grad_() for n in ("image", "text")}
    averages = {n: arrays[f"{n}_proj_m"].to(dtype) for n in ("image", "text")}
    read = {**leaves, **{f"{n}_m": x for n, x in averages.items()}}
    return leaves, {name: tokens(rows, cls, cls[:, None]) for name, cls in read.items()}


@pytest.mark.parametrize("file", ["albef_alpha0", "albef_alpha04"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_contrast_queues_and_temperature_are_albefs(golden, file, dtype, tolerance):
    arrays = golden(file)
    term = ITC(dim=6, queue=12, temperature=0.07, alpha=float(arrays["alpha"])).build(env()).to(dtype)
    for name in ("image_projection", "text_projection", "image_projection_m", "text_projection_m"):
        identity(getattr(term, name))
    for side in ("image", "text"):
        queue = getattr(term, f"{side}_queue")
        queue.rows.copy_(arrays[f"{side}_queue_before"].T)
        queue.place.copy_(arrays["ptr_before"][0])
    term.temperature.data.copy_(arrays["temp_used"])
    leaves, read = contrast_inputs(arrays, dtype)
    now = {"step": torch.tensor(0.0), "alpha": arrays["alpha"].to(dtype)}
    output = term(now, *(read[name] for name in term.names))
    output.loss.backward()
    assert relative_error(output.loss.detach(), arrays["loss_ita"]) <= tolerance
    assert relative_error(term.temperature.grad, arrays["grad_ita_temp"]) <= tolerance
    for side, leaf in leaves.items():
        assert relative_error(leaf.grad, arrays[f"grad_ita_{side}_proj"]) <= tolerance
    term.commit(output.carry)
    for side in ("image", "text"):
        queue = getattr(term, f"{side}_queue")
        assert relative_error(queue.rows.T, arrays[f"{side}_queue_after"]) <= tolerance
        assert queue.place == arrays["ptr_after"][0]


def test_the_temperature_stays_in_its_bounds():
    term = ITC(dim=6, queue=12).build(env())
    term.temperature.data.fill_(3.0)
    term.commit({"images": torch.ones(4, 6), "texts": torch.ones(4, 6)})
    assert term.temperature.item() == pytest.approx(HIGHEST)


def test_soft_targets_come_in_over_the_first_epoch():
    ramp = ITC(dim=6, queue=12).build(env()).schedules["alpha"]
    assert [ramp(step) for step in (0, 5, 10, 19)] == pytest.approx([0, 0.2, 0.4, 0.4])


class Tap(nn.Module):
    """Stands for the fusion network: keeps its inputs, and gives what the reference has."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x, visible, context, context_visible=None):
        self.x, self.visible, self.context = x, visible, context
        return self.output.expand(-1, x.shape[1], -1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_matching_is_of_pairs_then_other_images_then_other_texts(golden, dtype):
    arrays = golden("albef_alpha04")
    term = ITM(fusion=SIZE).build(env()).to(dtype)
    term.network = Tap(torch.nn.functional.pad(arrays["itm_logits"].to(dtype), (0, 4))[:, None])
    identity(term.match)
    ids = torch.arange(1, 29).reshape(4, 7).clamp(max=20)
    ids[3, 5:] = 0
    image, text = torch.randn(4, 6, dtype=dtype), torch.randn(4, 7, 6, dtype=dtype)
    read = {"image": tokens(ids, image, image[:, None]), "text": tokens(ids, text[:, 0], text)}
    output = term({"step": torch.tensor(0.0)}, *(read[name] for name in term.names))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert relative_error(output.loss.detach(), arrays["loss_itm"]) <= tolerance
    x, context = term.network.x, term.network.context[:, 0]
    assert torch.equal(x[:8], torch.cat([text, text]))
    assert torch.equal(context[:4], image)
    assert torch.equal(context[8:], image)
    assert not (context[4:8] == image).all(1).any(), "never the image of the text itself"
    assert not (x[8:] == text).flatten(1).all(1).any()
    others = [int((text == row).flatten(1).all(1).int().argmax()) for row in x[8:]]
    assert torch.equal(term.network.visible[8:], (ids != 0)[others]), "padding goes with its text"


def test_negatives_are_a_function_of_seed_step_and_row():
    def drawn(seed, step):
        torch.manual_seed(seed)
        term = ITM(fusion=SIZE).build(env())
        term.network = Tap(torch.zeros(96, 1, 6))
        rows = torch.arange(32.0)[:, None].expand(32, 6)
        ids = torch.ones(32, 7, dtype=torch.int64)
        term(
            {"step": torch.tensor(step)},
            tokens(ids, rows, rows[:, None]),
            tokens(ids, rows, rows[:, None].expand(-1, 7, -1)),
        )
        return term.network.context[32:64, 0, 0]

    assert torch.equal(drawn(0, 3.0), drawn(0, 3.0))
    assert not torch.equal(drawn(0, 3.0), drawn(0, 4.0))
    assert not torch.equal(drawn(0, 3.0), drawn(1, 3.0))


@pytest.mark.parametrize("file", ["albef_alpha0", "albef_alpha04"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_hidden_words_are_albefs(golden, file, dtype, tolerance):
    """Of the logits of the reference, online and of the moving averages."""
    arrays = golden(file)
    term = CrossMLM(fusion=SIZE).build(env()).to(dtype)
    logits = arrays["mlm_logits"].to(dtype).requires_grad_()
    term.network, term.network_m = nn.Identity(), nn.Identity()
    term._word_logits = lambda text, image, network, head: (
        logits if head is term.word_head else arrays["mlm_logits_m"].to(dtype)
    )
    labels = arrays["mlm_labels"].clamp(min=0)
    read = tokens(torch.stack([arrays["mlm_input_ids"], labels], 1), torch.zeros(4, 6), torch.zeros(4, 7, 6))
    now = {"alpha": arrays["alpha"].to(dtype)}
    output = term(now, *[read] * len(term.names))
    output.loss.backward()
    assert relative_error(output.loss.detach(), arrays["loss_mlm"]) <= tolerance
    assert relative_error(logits.grad, arrays["grad_mlm_logits"]) <= tolerance


def as_torchs(block, reference):
    """The weights of a decoder layer of torch in a block of ours."""
    pairs = ((block.attention, reference.self_attn), (block.cross_attention, reference.multihead_attn))
    for ours, theirs in pairs:
        layers = (ours.query, ours.key, ours.value)
        weights = zip(layers, theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True)
        for layer, weight, bias in weights:
            layer.weight.data, layer.bias.data = weight, bias
        ours.proj.load_state_dict(theirs.out_proj.state_dict())
    named = {"fc1": "linear1", "fc2": "linear2", "norm1": "norm1", "norm2": "norm2", "norm3": "norm3"}
    for ours, theirs in named.items():
        getattr(block, ours).load_state_dict(getattr(reference, theirs).state_dict())


def test_a_block_is_a_layer_of_berts_form():
    """Self-attention, cross-attention, perceptron, each normed after its shortcut: torch's decoder layer."""
    torch.manual_seed(0)
    reference = nn.TransformerDecoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.float64
    )
    block = FusionBlock(8, 8, 2).double()
    as_torchs(block, reference)
    x, context = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(3, 4, 8, dtype=torch.float64)
    visible, seen = torch.rand(3, 5) > 0.3, torch.rand(3, 4) > 0.3
    visible[:, 0] = seen[:, 0] = True
    expected = reference(x, context, tgt_key_padding_mask=~visible, memory_key_padding_mask=~seen)
    assert relative_error(block(x, visible, context, seen), expected) <= 1e-10


def test_the_context_may_be_of_another_width():
    network = FusionNetwork(8, 12, 2, 4)
    x, context = torch.randn(2, 5, 8), torch.randn(2, 3, 12)
    out = network(x, None, context)
    assert out.shape == x.shape
    assert not torch.allclose(out, network(x, None, context + 1))


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {name: value for line in lines for name, value in line.items()}


def test_albef_with_images_from_text(tmp_path):
    """All four terms in one run, scored by the evaluators of pairs."""
    objectives = {"albef": {"kind": "albef", **SMALL, **FUSION}, "pixels": {"kind": "text_mim", **FUSION}}
    fields = data_of(tmp_path / "run", objectives, evaluate=[{"kind": "image_text_retrieval"}])
    Run(**fields).fit()
    last = losses(tmp_path / "run")
    assert {"albef/loss_itc", "albef/loss_itm", "albef/loss_mlm", "loss/pixels"} <= set(last)
    assert 0 <= last["eval/image_text_retrieval/image_to_text_1"] <= 1


def test_terms_stand_alone_in_a_hybrid(tmp_path):
    objectives = {
        "pairs": {"kind": "itc", **SMALL},
        "match": {"kind": "itm", **FUSION},
        "words": {"kind": "cross_mlm", **FUSION},
    }
    Run(**data_of(tmp_path / "run", objectives, balance={"kind": "pcgrad"})).fit()
    last = losses(tmp_path / "run")
    assert {"loss/pairs", "loss/match", "loss/words"} <= set(last)
    assert last["match/matched"] >= 0


@pytest.mark.parametrize(
    ("objective", "views", "message"),
    [
        ({"queue": 8}, {}, "8 places"),
        ({"masked_view": "text"}, {}, "names the view of another field"),
        ({}, {"crops": 2}, "2 crops"),
        ({"teacher": "nobody"}, {}, "nobody"),
    ],
)
def test_specs_that_do_not_fit_are_refused(tmp_path, objective, views, message):
    fields = data_of(tmp_path, {"albef": {"kind": "albef", **SMALL, **FUSION, **objective}})
    fields["views"]["global"] |= views
    with pytest.raises(SpecError, match=message):
        Run(**fields)


def test_a_view_without_words_is_refused():
    plain = env()
    with pytest.raises(SpecError, match="kind: bpe"):
        ITM().build(plain._replace(views={"text": plain.views["text"]._replace(transform=None)}))


def test_albef_is_its_references_by_default():
    spec = ALBEF()
    assert (spec.dim, spec.queue, spec.temperature, spec.alpha) == (256, 65536, 0.07, 0.4)
    assert isinstance(ALBEF(fusion=SIZE, dim=8, queue=16).build(env()), ALBEFObjective)
