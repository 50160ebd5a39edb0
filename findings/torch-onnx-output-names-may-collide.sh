#!/usr/bin/env bash
# An output name that is also that of a node inside gives an ONNX file that onnxruntime does not read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy
PYTHONPATH="$folder/packages" python3 - <<'PY'
import warnings
from importlib.metadata import version

import onnxruntime
import torch

warnings.simplefilter("ignore")
print(", ".join(f"{name} {version(name)}" for name in ("torch", "onnxscript", "onnxruntime")))
print("guess: names that the caller gives to outputs are free, or the exporter says that one is taken")


class Tokens(torch.nn.Module):
    def forward(self, x):
        return x * 2, x.mean(1)


def opened(names):
    program = torch.onnx.export(Tokens(), (torch.rand(2, 3, 4),), dynamo=True, output_names=names, verbose=False)
    try:
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    except Exception as error:
        return f"refused: {str(error).splitlines()[0][:160]}"
    return ", ".join(output.name for output in session.get_outputs())


free, taken = opened(["tokens", "average"]), opened(["tokens", "mean"])
print(f"seen: outputs 'tokens' and 'average': {free}")
print(f"seen: outputs 'tokens' and 'mean':    {taken}")
assert free == "tokens, average"
assert taken.startswith("refused") and "mean" in taken
PY
