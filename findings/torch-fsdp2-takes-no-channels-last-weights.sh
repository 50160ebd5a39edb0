#!/usr/bin/env bash
# torch 2.14.1: fully_shard refuses a network whose weights are channels last, the order that convolutions are advised to have.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 numpy==2.4.6
PYTHONPATH="$folder/packages" STORE="$folder/store" python3 - <<'PY'
import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo", init_method=f"file://{os.environ['STORE']}", rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
print("torch", torch.__version__)
print("guess: the order of memory is kept, or lost, as by DDP and by optimizers")
seen = {}
for order in (torch.contiguous_format, torch.channels_last):
    net = torch.nn.Conv2d(4, 8, 3).to(memory_format=order)
    try:
        fully_shard(net, mesh=mesh)
        seen[str(order)] = "sharded"
    except NotImplementedError as error:
        seen[str(order)] = f"NotImplementedError: {str(error).partition(':')[0]}"
dist.destroy_process_group()
print("seen:", seen)
assert seen["torch.contiguous_format"] == "sharded", seen
assert seen["torch.channels_last"].startswith("NotImplementedError: FSDP does not support non-contiguous"), seen
PY
