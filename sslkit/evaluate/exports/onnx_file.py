"""An ONNX file, compared with torch through onnxruntime."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslkit.errors import CheckpointError, SpecError, reason_of
from sslkit.evaluate.exports.named_tokens import Answers, NamedTokens, require_equal
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.torch_program import traced
from sslkit.evaluate.exports.written import (
    Options,
    Reading,
    description,
    images_read,
    require_packages,
)
from sslkit.runtime.atomic_files import write_bytes

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MOST_BYTES = 2**31 - 2**20
"""Of weights: a file of protobuf holds less than 2 GiB."""
OPSETS = range(18, 24)
"""Those that torch writes."""
INPUT = "images"


def write_onnx(model: OpenedModel, out: Path, options: Options) -> Reading:
    """Write the network as ONNX, with batches of any size, and compare it through onnxruntime.

    Raises:
        SpecError: a package is missing, the ending of `out` or the opset is no such, or the network cannot be written.
        CheckpointError: what was written answers otherwise than the network.
        StorageError: `out` could not be written.
    """
    require_packages("onnx", "onnx", "onnxscript", "onnxruntime")
    if out.suffix != ".onnx":
        raise SpecError(f"{out}: must be a file that ends in .onnx")
    if options.opset not in OPSETS:
        raise SpecError(
            f"--opset: {options.opset} is none of {OPSETS[0]} to {OPSETS[-1]}, which torch writes"
        )
    tokens = NamedTokens(model, normalize=options.normalize)
    weights = sum(value.nbytes for value in tokens.state_dict().values())
    if weights > MOST_BYTES:
        raise SpecError(
            f"{model.what}: has {weights / 2**30:.1f} GiB of weights, and an ONNX file holds 2; use --to torch-export"
        )
    content = _converted(tokens, model, options)
    session = read_onnx(content, out)
    deviation = require_equal(tokens, lambda images: _answers(session, images), model)
    write_bytes(out, content)
    return Reading(deviation, _usage(model, out, tokens, options), (f"has opset {options.opset}",))


def _converted(tokens: NamedTokens, model: OpenedModel, options: Options) -> bytes:
    """The file, with a description under `sslkit` among its metadata."""
    program = traced(tokens, model)
    try:
        with _silent():
            converted = torch.onnx.export(
                program,
                (model.images(3),),
                dynamo=True,
                verbose=False,
                opset_version=options.opset,
                input_names=[INPUT],
                output_names=list(tokens.names),
            )
    except Exception as error:
        reason = reason_of(error).splitlines()[0]
        raise SpecError(
            f"{model.what}: torch.onnx cannot write this network: {reason}; --to torch-export may"
        ) from None
    assert converted is not None, "dynamo=True answers with a program"
    content = converted.model_proto
    for value in (*content.graph.input, *content.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    about = content.metadata_props.add()
    about.key, about.value = "sslkit", json.dumps(description(model, tokens.names, options))
    written: bytes = content.SerializeToString()
    return written


def read_onnx(content: bytes, out: Path) -> InferenceSession:
    """What runs it on the CPU. Raises CheckpointError where it is no ONNX; `out` is the name in the message."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = reason_of(error).splitlines()[0]
        raise CheckpointError(f"{out}: onnxruntime cannot load what was written: {reason}") from None


def _answers(session: InferenceSession, images: Tensor) -> Answers:
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {INPUT: images.numpy()})
    return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the notes of torch's exporter about its own parts."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _usage(model: OpenedModel, out: Path, tokens: NamedTokens, options: Options) -> str:
    return (
        f"import onnxruntime\n\nsession = onnxruntime.InferenceSession({str(out)!r})\n"
        f"# images: {images_read(model, normalize=options.normalize)}; outputs: {', '.join(tokens.names)}\n"
        f'(features,) = session.run([{tokens.names[0]!r}], {{"images": images}})'
    )
