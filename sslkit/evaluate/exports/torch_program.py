"""A `.pt2` file that `torch.export.load` reads, and the traced program behind it."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from sslkit.errors import CheckpointError, SpecError, reason_of
from sslkit.evaluate.exports.named_tokens import NamedTokens, require_equal
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.written import Options, Reading, description, images_read
from sslkit.runtime.atomic_files import write_bytes

ABOUT = "sslkit.json"
"""The file inside that says which images are read."""


def write_torch_program(model: OpenedModel, out: Path, options: Options) -> Reading:
    """Write the network as a graph of torch's operations with its weights, and read it back.

    Raises:
        SpecError: the ending of `out` is another, or the network cannot be traced.
        CheckpointError: what was written answers otherwise than the network.
        StorageError: `out` could not be written.
    """
    if out.suffix != ".pt2":
        raise SpecError(f"{out}: must be a file that ends in .pt2")
    tokens = NamedTokens(model, normalize=options.normalize)
    buffer, about = io.BytesIO(), json.dumps(description(model, tokens.names, options))
    torch.export.save(traced(tokens, model), buffer, extra_files={ABOUT: about})
    content = buffer.getvalue()
    again = read_torch_program(content, out).module()
    deviation = require_equal(tokens, again, model)
    write_bytes(out, content)
    return Reading(deviation, _usage(model, out, tokens, options))


def traced(tokens: NamedTokens, model: OpenedModel) -> ExportedProgram:
    """The operations of `tokens` on batches of any size. Raises SpecError where they cannot be traced."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            program = torch.export.export(tokens, (model.images(3),), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:
        reason = reason_of(error).splitlines()[0]
        raise SpecError(f"{model.what}: torch.export cannot trace this network: {reason}") from None
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def read_torch_program(content: bytes, out: Path) -> ExportedProgram:
    """The program in `content`. Raises CheckpointError where it is none; `out` is the name in the message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(content))
    except Exception as error:
        reason = reason_of(error).splitlines()[0]
        raise CheckpointError(f"{out}: torch.export cannot load what was written: {reason}") from None


def _usage(model: OpenedModel, out: Path, tokens: NamedTokens, options: Options) -> str:
    return (
        f"import torch\n\nprogram = torch.export.load({str(out)!r})\nnet = program.module()\n"
        f"# images: {images_read(model, normalize=options.normalize)}\n"
        f"outputs = net(images)  # {', '.join(tokens.names)}\nfeatures = outputs[{tokens.names[0]!r}]"
    )
