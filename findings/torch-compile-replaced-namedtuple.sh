#!/usr/bin/env bash
# A function that gives back a named tuple made by `_replace` cannot be compiled by torch 2.9.1; one made anew can.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.9.1 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
from typing import NamedTuple

import torch


class Answer(NamedTuple):
    features: torch.Tensor
    attention: torch.Tensor | None = None


def replaced(x):
    return Answer(x)._replace(attention=x + 1)


def anew(x):
    return Answer(x, x + 1)


def inside(x):
    return Answer(x)._replace(attention=x + 1).attention


print("torch", torch.__version__)
print("guess: `_replace` is traced like the constructor, as it is where the tuple stays inside the function")
seen = {}
for function in (replaced, anew, inside):
    torch._dynamo.reset()
    try:
        torch.compile(function, fullgraph=True, backend="eager")(torch.ones(2))
        seen[function.__name__] = "compiles"
    except AssertionError:
        seen[function.__name__] = "AssertionError inside Dynamo"
print("seen:", seen)
assert seen == {"replaced": "AssertionError inside Dynamo", "anew": "compiles", "inside": "compiles"}, seen
PY
