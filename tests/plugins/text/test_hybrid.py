"""Images and texts beside other terms, from one spec."""

from __future__ import annotations

import json

from sslkit import Run


def data_of(out, **changes):
    return {
        "data": {"kind": "class_captions", "images": {"kind": "digits"}},
        "views": {
            "global": {"size": 16, "normalize": {"mean": [0.305], "std": [0.376]}},
            "text": {"stream": "caption", "size": 12, "transform": {"kind": "bpe", "vocabulary": 280}},
        },
        "backbone": {
            "kind": "vit",
            "name": "vit_tiny_patch16_224",
            "patch": 4,
            "width": 16,
            "depth": 1,
            "heads": 2,
        },
        "towers": {"text": {"kind": "text_transformer", "width": 16, "depth": 1, "heads": 2}},
        "objectives": {
            "pixels": {"kind": "mae", "decoder": {"depth": 1, "width": 16, "heads": 2}},
            "pairs": {"kind": "clip", "dim": 8},
            "spread": {"kind": "koleo"},
        },
        "balance": {"kind": "pcgrad"},
        "batch_size": 32,
        "steps": 4,
        "out": out,
        **changes,
    }


def test_mae_clip_and_koleo_by_pcgrad(tmp_path):
    """One spec, one run; every term has its loss, and the run that is scored knows its texts again."""
    evaluate = [{"kind": "zero_shot"}, {"kind": "image_text_retrieval", "ks": [1, 3]}]
    Run(**data_of(tmp_path / "run", evaluate=evaluate)).fit()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = {name: value for record in records for name, value in record.items()}
    assert {"loss/pixels", "loss/pairs", "loss/spread", "pairs/scale"} <= set(last)
    assert 0 <= last["eval/zero_shot/accuracy"] <= 1
    assert last["eval/image_text_retrieval/text_to_image_3"] <= 1


def test_siglip_of_a_frozen_image_network(tmp_path):
    """LiT: only texts and heads learn."""
    fields = data_of(
        tmp_path / "run",
        objectives={"pairs": {"kind": "siglip", "dim": 8, "chunk": 16, "net": "still"}},
        nets={"still": {"refresh": "never"}},
        balance={"kind": "fixed"},
    )
    fields["objectives"]["pixels"] = {"kind": "mae", "decoder": {"depth": 1, "width": 16, "heads": 2}}
    Run(**fields).fit()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["finished"]
