"""The plugin `text`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "source": {
        "class_captions": "sslkit_text.specs.captions:ClassCaptions",
        "caption_table": "sslkit_text.specs.captions:CaptionTable",
        "caption_files": "sslkit_text.specs.captions:CaptionFiles",
        "caption_column": "sslkit_text.specs.captions:CaptionColumn",
    },
    "transform": {
        "bpe": "sslkit_text.specs.words:BPE",
        "masked_bpe": "sslkit_text.specs.words:MaskedBPE",
    },
    "backbone": {"text_transformer": "sslkit_text.specs.networks:TextTransformer"},
    "objective": {
        "clip": "sslkit_text.specs.pairs:CLIP",
        "siglip": "sslkit_text.specs.pairs:SigLIP",
        "mlm": "sslkit_text.specs.masked_words:MLM",
        "albef": "sslkit_text.specs.albef:ALBEF",
        "itc": "sslkit_text.specs.albef_terms:ITC",
        "itm": "sslkit_text.specs.albef_terms:ITM",
        "cross_mlm": "sslkit_text.specs.albef_terms:CrossMLM",
        "text_mim": "sslkit_text.specs.text_mim:TextMIM",
    },
    "evaluator": {
        "zero_shot": "sslkit_text.specs.scores:ZeroShot",
        "image_text_retrieval": "sslkit_text.specs.scores:ImageTextRetrieval",
        "modality_gap": "sslkit_text.specs.scores:ModalityGap",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    from sslkit_text.specs.albef import ALBEF
    from sslkit_text.specs.albef_terms import ITC, ITM, CrossMLM
    from sslkit_text.specs.captions import CaptionColumn, CaptionFiles, CaptionTable, ClassCaptions
    from sslkit_text.specs.masked_words import MLM
    from sslkit_text.specs.networks import TextTransformer
    from sslkit_text.specs.pairs import CLIP, SigLIP
    from sslkit_text.specs.scores import ImageTextRetrieval, ModalityGap, ZeroShot
    from sslkit_text.specs.text_mim import TextMIM
    from sslkit_text.specs.words import BPE, MaskedBPE

    sources: list[type[Spec]] = [ClassCaptions, CaptionTable, CaptionFiles, CaptionColumn]
    return [
        *sources,
        BPE,
        MaskedBPE,
        TextTransformer,
        CLIP,
        SigLIP,
        MLM,
        ALBEF,
        ITC,
        ITM,
        CrossMLM,
        TextMIM,
        ZeroShot,
        ImageTextRetrieval,
        ModalityGap,
    ]
