#!/usr/bin/env bash
# webdataset's detshuffle orders shards anew in every epoch in the main process, and in one order for ever in a DataLoader's workers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  webdataset==1.0.2 torch==2.13.0 numpy==2.4.6
cat >"$folder/epochs.py" <<'PY'
import io
import sys
import tarfile
import warnings

import webdataset
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")


def write(folder):
    for shard in range(6):
        with tarfile.open(f"{folder}/{shard}.tar", "w") as file:
            entry = tarfile.TarInfo("0.txt")
            entry.size = 1
            file.addfile(entry, io.BytesIO(str(shard).encode()))


def texts(item):
    return item["txt"]


def epochs(folder, workers, keep=False):
    data = webdataset.WebDataset(f"{folder}/{{0..5}}.tar", shardshuffle=10, detshuffle=True, seed=3).decode().map(texts)
    loader = DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=keep)
    return ["".join(loader) for _ in range(4)]


if __name__ == "__main__":
    write(sys.argv[1])
    print("webdataset", webdataset.__version__)
    print("guess: epochs have other orders, the same ones in a second run, wherever the shards are read")
    main, workers, kept = epochs(sys.argv[1], 0), epochs(sys.argv[1], 1), epochs(sys.argv[1], 1, keep=True)
    print("seen: four epochs in the main process:", main)
    print("seen: in a worker:", workers, "- in a worker that is kept:", kept)
    assert epochs(sys.argv[1], 0) == main
    assert len(set(main)) > 2 and len(set(kept)) > 2
    assert len(set(workers)) == 1
PY
PYTHONPATH="$folder/packages" python3 "$folder/epochs.py" "$folder"
