"""Fields of a tiny run with images, texts and texts with hidden words."""

from __future__ import annotations

NETS = {
    "teacher": {"momentum": 0.995, "update": "before_forward"},
    "text_teacher": {"of": "text", "momentum": 0.995, "update": "before_forward"},
}
SMALL = {"dim": 8, "queue": 32}
FUSION = {"fusion": {"depth": 1, "heads": 2}}


def data_of(out, objectives, **changes):
    words = {"kind": "bpe", "vocabulary": 280}
    masked = {"kind": "masked_bpe", "words": words, "hide_end": True, "probability": 0.3}
    return {
        "data": {"kind": "class_captions", "images": {"kind": "digits"}},
        "views": {
            "global": {"size": 16, "normalize": {"mean": [0.305], "std": [0.376]}},
            "text": {"stream": "caption", "size": 12, "transform": words},
            "masked_text": {"stream": "caption", "size": [2, 12], "transform": masked},
        },
        "backbone": {"kind": "vit", "patch": 4, "width": 16, "depth": 1, "heads": 2},
        "towers": {
            "text": {
                "kind": "text_transformer",
                "width": 16,
                "depth": 1,
                "heads": 2,
                "causal": False,
                "mask_padding": True,
                "pool": "first",
            }
        },
        "nets": NETS,
        "objectives": objectives,
        "batch_size": 16,
        "steps": 3,
        "workers": 0,
        "out": out,
        **changes,
    }
