#!/usr/bin/env bash
# `zarr.open(path)` of a path that is not there makes an empty group there: a mistyped name is no error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" zarr==3.1.6 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys

import zarr

print("zarr", zarr.__version__)
print("guess: opening a store that does not exist raises, as reading a file does")
path = pathlib.Path(sys.argv[1]) / "mistyped.zarr"
opened = zarr.open(str(path))
print(f"seen: {type(opened).__name__} of {len(list(opened.members()))} members; files now: {sorted(p.name for p in path.rglob('*'))}")
assert isinstance(opened, zarr.Group)
assert path.is_dir()
try:
    zarr.open(str(path.with_name("other.zarr")), mode="r")
except FileNotFoundError as error:
    print(f"seen: with mode='r': {type(error).__name__}")
else:
    raise AssertionError("mode='r' opened it")
PY
