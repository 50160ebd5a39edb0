#!/usr/bin/env bash
# One installed package with a malformed entry_points.txt stops every pydantic model in the environment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" pydantic==2.13.4
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys

import pydantic

print("pydantic", pydantic.VERSION)
print("guess: a malformed entry_points.txt is noticed by those who read that group, not by whoever defines a model")
site = pathlib.Path(sys.argv[1]) / "site"
info = site / "neighbour-1.0.dist-info"
info.mkdir(parents=True)
(info / "METADATA").write_text("Metadata-Version: 2.1\nName: neighbour\nVersion: 1.0\n")
(info / "entry_points.txt").write_text("[console_scripts]\nneighbour\n")  # no `= module:function`
sys.path.insert(0, str(site))
try:

    class Model(pydantic.BaseModel):
        x: int

    seen = "the model is defined"
except Exception as error:
    seen = f"{type(error).__name__} at the definition of a model"
print("seen:", seen)
assert seen.startswith("TypeError"), seen
PY
