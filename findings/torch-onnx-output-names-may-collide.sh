#!/usr/bin/env bash
# A name for an output that a value inside happens to have gives an ONNX file that onnxruntime does not read.
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

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
print(", ".join(f"{name} {version(name)}" for name in ("torch", "onnxscript", "onnxruntime")))
print("guess: names that the caller gives to outputs are free, or the exporter says that one is taken")


class Centered(torch.nn.Module):
    def forward(self, x):
        center = x.mean(1)
        return center - 1, (x - center[:, None]).exp()


def opened(names):
    program = torch.onnx.export(Centered(), (torch.rand(2, 3, 4),), dynamo=True, output_names=names, verbose=False)
    try:
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    except Exception as error:
        return f"refused: {str(error).splitlines()[0][:160]}"
    return ", ".join(output.name for output in session.get_outputs())


free, taken = opened(["average", "spread"]), opened(["mean", "spread"])
print(f"seen: outputs 'average' and 'spread': {free}")
print(f"seen: outputs 'mean' and 'spread':    {taken}")
assert free == "average, spread"
assert taken.startswith("refused") and "mean" in taken
PY
