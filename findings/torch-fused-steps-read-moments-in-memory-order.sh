#!/usr/bin/env bash
# torch 2.14.1 on a CPU: fused AdamW and SGD step parameters wrongly, in silence, where moments that were loaded from a checkpoint
# lie in another order of memory, as after the network was turned to channels last.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/packages" torch==2.14.1 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import torch


def stepped(kind, order, fused):
    """A weight after a step, a checkpoint, the other order of memory and another step."""
    torch.manual_seed(0)
    start, gradient = torch.randn(2, 8, 4, 3, 3).unbind()
    first = torch.nn.Parameter(start.clone())
    optimizer = kind([first], fused=fused)
    first.grad = gradient.clone()
    optimizer.step()
    second = torch.nn.Parameter(first.detach().clone(memory_format=order))
    again = kind([second], fused=fused)
    again.load_state_dict(optimizer.state_dict())
    second.grad = (2 * gradient).clone(memory_format=order)
    again.step()
    return second.detach()


def adamw(parameters, fused):
    return torch.optim.AdamW(parameters, lr=1e-2, fused=fused)


def sgd(parameters, fused):
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, fused=fused)


print("torch", torch.__version__)
print("guess: the order of memory changes no value, or is refused")
seen = {}
for kind in (adamw, sgd):
    for fused in (False, True):
        apart = stepped(kind, torch.channels_last, fused) - stepped(kind, torch.contiguous_format, fused)
        seen[kind.__name__, fused] = apart.abs().max().item()
print("seen, largest difference by (optimizer, fused):", seen)
assert all(seen[name, False] == 0 for name in ("adamw", "sgd")), seen
assert all(seen[name, True] > 1e-3 for name in ("adamw", "sgd")), seen
PY
