#!/usr/bin/env bash
# Under one seed torch 2.9.1 and 2.14.1 fill a weight with other truncated normals, and with the same uniform numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 2.9.1 2.14.1; do
  python3 -m pip install --quiet --disable-pip-version-check --target "$folder/$version" torch==$version numpy==2.4.6
  PYTHONPATH="$folder/$version" python3 - "$folder/$version.json" <<'PY'
import json
import sys

import torch

torch.manual_seed(0)
truncated = torch.nn.init.trunc_normal_(torch.empty(64, 8), std=0.02)
torch.manual_seed(0)
uniform = torch.nn.init.xavier_uniform_(torch.empty(64, 8))
print("torch", torch.__version__, "truncated normal:", [round(v, 5) for v in truncated[0, :3].tolist()])
with open(sys.argv[1], "w") as file:
    json.dump({"truncated": truncated.tolist(), "uniform": uniform.tolist()}, file)
PY
  rm -rf "${folder:?}/$version"
done
python3 - "$folder/2.9.1.json" "$folder/2.14.1.json" <<'PY'
import json
import sys

old, new = (json.load(open(path)) for path in sys.argv[1:])
print("guess: a CPU generator with one seed initializes a layer alike in both versions")


def largest(name):
    return max(abs(a - b) for x, y in zip(old[name], new[name]) for a, b in zip(x, y))


print(f"seen: largest difference {largest('truncated'):.4f} of truncated normals (std 0.02), {largest('uniform'):.1e} of uniform numbers")
assert largest("truncated") > 0.02 and largest("uniform") < 1e-6
PY
