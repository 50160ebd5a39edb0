"""Masking of words against the draws of transformers' collator and of ALBEF's code, and by its shares."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.token_masking import mask_tokens

PAD, CLS, SEP, MASK = 0, 1, 2, 3


def as_draws(*hits):
    """Numbers below every share above 0 where a draw of the reference hit, else above every share below 1."""
    return torch.stack([torch.where(hit.bool(), 0.0, 1 - 2**-24) for hit in hits])


def test_tokens_are_masked_as_berts(golden):
    """All special tokens are exempt, the closing one too."""
    arrays = golden("bert_mlm_masking")
    draws = as_draws(arrays["select"], arrays["replace_mask"], arrays["replace_random"])
    exempt = arrays["ids"] <= MASK
    assert not (arrays["select"].bool() & exempt).any()
    found = mask_tokens(arrays["ids"], exempt, MASK, draws, arrays["random_words"])
    assert torch.equal(found.inputs, arrays["input_ids"])
    assert torch.equal(found.labels, arrays["labels"])


@pytest.mark.parametrize("file", ["albef_alpha0", "albef_alpha04"])
def test_tokens_are_masked_as_albefs(golden, file):
    """Padding and the first token are exempt; the closing one is not."""
    arrays = golden(file)
    draws = as_draws(arrays["mlm_select"], arrays["mlm_80"], arrays["mlm_50"])
    exempt = arrays["ids"] <= CLS
    found = mask_tokens(arrays["ids"], exempt, MASK, draws, arrays["mlm_random_words"])
    assert torch.equal(found.inputs, arrays["mlm_input_ids"])
    assert torch.equal(found.labels, arrays["mlm_labels"])


def shares(tokens, exempt, **options):
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(3, *tokens.shape, generator=generator)
    words = torch.randint(4, 60, tokens.shape, generator=generator)
    masked = mask_tokens(tokens, exempt, MASK, draws, words, **options)
    chosen = masked.labels != -100
    assert torch.equal(masked.labels[chosen], tokens[chosen])
    assert torch.equal(masked.inputs[~chosen], tokens[~chosen])
    hidden = masked.inputs[chosen]
    return chosen, {
        "mask": (hidden == MASK).double().mean().item(),
        "word": (hidden != MASK).double().mean().item(),
    }


def test_shares_are_the_references(golden):
    """Rows of the array: [p, mask share, random share / what the collator did with 40,000 tokens]."""
    tokens = torch.full((4000, 10), 70)
    rows = golden("bert_mlm_masking")["rows"].tolist()
    assert golden("bert_mlm_masking")["defaults"].tolist() == pytest.approx([0.15, 0.8, 0.1])
    for p, mask, random, selected, _, as_mask, _, _, _ in rows:
        chosen, hidden = shares(
            tokens, torch.zeros_like(tokens, dtype=torch.bool), probability=p, masked=mask, random=random
        )
        assert chosen.double().mean().item() == pytest.approx(selected, abs=0.01)
        assert hidden["mask"] == pytest.approx(as_mask, abs=0.02)
    assert len(rows) == 4


def test_the_closing_token_is_masked_where_albef_masks_it(golden):
    arrays = golden("albef_mlm_mask_stats")
    tokens = torch.cat([torch.tensor([CLS]), torch.full((10,), 70), torch.tensor([SEP, PAD, PAD])]).repeat(
        4000, 1
    )
    chosen, hidden = shares(tokens, tokens <= CLS)
    rates = chosen.double().mean(0)
    assert rates[1:11].mean().item() == pytest.approx(float(arrays["selected_fraction_words"]), abs=0.01)
    assert rates[11].item() == pytest.approx(float(arrays["selected_fraction_sep"]), abs=0.02)
    assert rates[[0, 12, 13]].tolist() == [0, 0, 0]
    assert hidden["mask"] == pytest.approx(float(arrays["to_mask"]), abs=0.02)


def test_all_chosen_may_become_the_mask_token_or_none():
    tokens = torch.full((200, 10), 70)
    nothing = torch.zeros_like(tokens, dtype=torch.bool)
    assert shares(tokens, nothing, masked=1.0, random=0.0)[1] == {"mask": 1.0, "word": 0.0}
    generator = torch.Generator().manual_seed(1)
    draws = torch.rand(3, *tokens.shape, generator=generator)
    words = torch.full_like(tokens, 5)
    assert (mask_tokens(tokens, nothing, MASK, draws, words, masked=0.0, random=0.0).inputs == 70).all()
    replaced = mask_tokens(tokens, nothing, MASK, draws, words, probability=1.0, masked=0.0, random=1.0)
    assert (replaced.inputs == 5).all()
