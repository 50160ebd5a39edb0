"""Fields of `vq_token` as earlier versions wrote them, when a spec could name a tokenizer by where its code is.

A spec is data: nothing in it is imported. The names of the one tokenizer that came with sslkit are read as its kind;
any other name is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

PATCH_COLORS = ("sslkit_tokenizers.patch_colors:PatchColors", "sslkit_tokens.colours:PatchColours")
"""The names that the tokenizer of `patch_colors` had."""
CHANNELS = range(1, 5)
"""Channels that images may have had."""
LEFT_OUT: Mapping[str, object] = {"module": None, "arguments": {}, "codes": None, "size": None}
"""Field that went -> what the lock of a run has there where a file was used."""


def without_module(fields: object) -> object:
    """`fields` without those that went, as far as they say nothing."""
    if not isinstance(fields, Mapping):
        return fields
    return {k: v for k, v in fields.items() if not (k in LEFT_OUT and v == LEFT_OUT[k])}


def color_fields(fields: object, title: str) -> dict[str, object] | None:
    """The fields of `patch_colors` that are meant, None where `fields` name no module.

    Raises:
        ValidationError: they name any other module. `title`: the spec that they are of.
    """
    if not isinstance(fields, Mapping) or "kind" not in fields or fields.get("module") is None:
        return None
    arguments = fields.get("arguments")
    if fields["module"] not in PATCH_COLORS or fields.get("tokenizer") is not None:
        raise _refused(title, "module", _ADVICE, fields["module"])
    if not isinstance(arguments, Mapping) or set(arguments) != {"patch", "levels"}:
        raise _refused(
            title, "arguments", "expected `patch` and `levels`; use `kind: patch_colors`", arguments
        )
    levels, codes = arguments["levels"], fields.get("codes")
    if isinstance(levels, int) and codes is not None and codes not in {levels**c for c in CHANNELS}:
        raise _refused(title, "codes", f"{levels} levels of a channel make another number of codes", codes)
    return {"kind": "patch_colors", "levels": levels, "size": fields.get("size")}


_ADVICE = (
    "names code, and a spec is data, of which nothing is imported. Write `{kind: patch_colors, levels: 4}` for mean "
    "colors, `tokenizer: FILE` for a tokenizer of sslkit, or offer yours as a target of a plugin, with "
    "`sslkit.interfaces.token_target` (docs/targets/vq_token.md)"
)


def _refused(title: str, field: str, message: str, value: object) -> ValidationError:
    kind = PydanticCustomError("value_error", "{message}", {"message": message})
    return ValidationError.from_exception_data(
        title, [InitErrorDetails(type=kind, loc=(field,), input=value)]
    )
