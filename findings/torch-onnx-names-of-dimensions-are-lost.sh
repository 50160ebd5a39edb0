#!/usr/bin/env bash
# A named dimension keeps its name in ONNX when a module is exported, and loses it when its ExportedProgram is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy
PYTHONPATH="$folder/packages" python3 - <<'PY'
import logging
import warnings
from importlib.metadata import version

import onnxruntime
import torch
from torch.export import Dim

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
print(", ".join(f"{name} {version(name)}" for name in ("torch", "onnxscript", "onnxruntime")))
print("guess: an ExportedProgram knows the names of its dimensions, so its ONNX file has them too")


class Doubled(torch.nn.Module):
    def forward(self, x):
        return x * 2


def first_dimension(what, **more):
    program = torch.onnx.export(what, (torch.rand(2, 3),), dynamo=True, verbose=False, **more)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    return session.get_inputs()[0].shape[0]


shapes = ({0: Dim("batch")},)
program = torch.export.export(Doubled(), (torch.rand(2, 3),), dynamic_shapes=shapes)
module, exported = first_dimension(Doubled(), dynamic_shapes=shapes), first_dimension(program)
again = first_dimension(program, dynamic_shapes=shapes)
print(f"seen: of the module: {module!r}; of its ExportedProgram: {exported!r}; with the shapes said again: {again!r}")
assert module == again == "batch"
assert exported != "batch" and str(exported).startswith("s")
PY
