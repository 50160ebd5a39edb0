"""Reads the smallest member of every module of timm through the `timm` kind and holds it against timm itself.

    python benchmarks/timm_sweep.py rows.jsonl --seconds 240   # goes on where it stopped
    python benchmarks/timm_sweep.py rows.jsonl --page docs/backbones/timm.md

Of each network, its weights moved off their first values: tokens and pooled vector against timm's, what is trained,
whether a copy stays behind when the network is trained, and whether its export loads into timm's network with equal
features.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from sslkit import Timm
from sslkit.core.backbone import Backbone
from sslkit.core.context import View
from sslkit.core.passes import Request, Tokens
from sslkit.errors import SpecError
from sslkit.nn.wrapped_network import Wrapped

MOST = 30e6
"""Parameters of the largest network that is tried."""
SIZES = (64, 128)
"""Pixels that are tried before the size that timm's network is made for."""
LARGE = re.compile(
    r"large|huge|giant|xl|so\d+|base|enormous|_b[4-9]|1[05][12]|200|269|_l$|_l_|_big|384|448|48\d|512"
)
SLACK = 1e-4
"""Difference that two orders of float sums may make, relative to the largest value."""
BEGIN, END = "<!-- sweep -->", "<!-- end of sweep -->"

Row = dict[str, Any]


def smallest(module: str) -> tuple[str, int]:
    """Name and parameters of the smallest network of a module of timm; names of large ones are passed over."""
    names = timm.list_models(module=module)
    sizes = {name: parameters(name) for name in [n for n in names if not LARGE.search(n)] or names}
    return min(sizes.items(), key=lambda item: item[1])


def parameters(name: str) -> int:
    """Parameters of a network of timm without its classifier."""
    with torch.device("meta"):
        return sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())


def built(name: str) -> tuple[Wrapped, int, dict[str, Any]]:
    """The network at the smallest size that it can read, that size, and the arguments it needs.

    Raises:
        SpecError: it can read none.
    """
    default = int(timm.get_pretrained_cfg(name).input_size[-1])
    tries = [(size, arguments) for size in SIZES for arguments in ({}, {"img_size": size})]
    reasons = []
    for size, arguments in [*tries, (default, {})]:
        try:
            torch.manual_seed(0)
            net = Timm(name=name, arguments=arguments).build(View(size, 1, 3, (0.5,) * 3, (0.5,) * 3))
            assert isinstance(net, Wrapped)
            net.grid(size)
            return net, size, arguments
        except SpecError as error:
            reasons.append(str(error))
    raise SpecError(reasons[-1])


def examine(name: str) -> Row:
    """What `name` gives: a row of the table."""
    try:
        net, size, arguments = built(name)
    except SpecError as error:
        return {"refused": str(error)}
    moved(net)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    copied = copy.deepcopy(net)
    before = read(copied, images)
    row: Row = {"size": size, "arguments": arguments, "class": type(net.module).__name__, "width": net.dim}
    row |= compared(net, images) | trained(net, images)
    row["copy"] = difference(before.patch, read(copied, images).patch)
    row["exported"] = compared(net, images)["tokens"]
    return row


def moved(net: Backbone) -> None:
    """Change every parameter a little: scales and shifts of norms begin at 1 and 0, where a missing norm may hide."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=generator))


def read(net: Backbone, images: Tensor) -> Tokens:
    """The answer for `images`, in evaluation mode."""
    with torch.no_grad():
        return net.eval()([Request(images[None], None, "drop", ())])[0]


def compared(net: Wrapped, images: Tensor) -> Row:
    """Tokens and pooled vector against a network that timm makes of the export."""
    exported, answer = net.export(), read(net, images)
    theirs: Any = timm.create_model(exported.architecture, **exported.arguments).eval()
    theirs.load_state_dict(dict(exported.state), strict=True)
    with torch.no_grad():
        features = theirs.forward_features(images)
        vector = theirs.forward_head(features, pre_logits=True)
    patch, prefix = expected(theirs, features, answer.patch.shape[2])
    same = vector.shape == answer.cls[0].shape
    return {
        "patches": patch.shape[1],
        "prefix": prefix,
        "grid": {name: getattr(net.grid(images.shape[-1]), name) for name in ("rows", "cols", "patch")},
        "tokens": difference(patch, answer.patch[0]),
        "vector": difference(vector, answer.cls[0]) if same else None,
        "vector_width": vector.shape[-1],
    }


def expected(theirs: Any, features: Tensor, patches: int) -> tuple[Tensor, list[str]]:
    """The tokens of patches in what timm gives, and what stands before them by the parameters that there are."""
    if features.ndim == 4:
        last = str(getattr(theirs, "output_fmt", "NCHW")) == "NHWC"
        return (features.flatten(1, 2) if last else features.flatten(2).mT), []
    names = ("cls_token", "dist_token", "reg_token")
    tokens = {name: value for name in names if isinstance(value := getattr(theirs, name, None), Tensor)}
    prefix = [name for name, value in tokens.items() for _ in range(value.shape[1])]
    if len(prefix) == features.shape[1]:
        return theirs.forward_head(features, pre_logits=True)[:, None], prefix
    assert math.isqrt(patches) ** 2 == patches == features.shape[1] - len(prefix), "patches fill a square"
    return features[:, len(prefix) :], prefix


def trained(net: Wrapped, images: Tensor) -> Row:
    """One step of plain SGD on all that is answered: what takes part and what is left out."""
    net.serve([])
    tokens = net.train()([Request(images[None], None, "drop", ())])[0]
    (tokens.cls.square().mean() + tokens.patch.square().mean()).backward()
    taking = {name: p for name, p in net.module.named_parameters() if p.requires_grad}
    idle = [name for name, p in taking.items() if p.grad is None]
    with torch.no_grad():
        for p in taking.values():
            if p.grad is not None:
                p.sub_(0.01 * p.grad.clamp(-1, 1))
    left_out = [name for name, p in net.module.named_parameters() if not p.requires_grad]
    return {"trained": len(taking), "idle": idle, "left_out": left_out}


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))


def right(row: Row) -> bool:
    """Whether a network is read, trained, copied and exported as timm has it."""
    close = all(row[key] <= SLACK for key in ("tokens", "copy", "exported"))
    return close and not row["idle"] and (row["vector"] is None or row["vector"] <= SLACK)


def sweep(path: Path, seconds: float) -> bool:
    """Append rows to `path` until `seconds` are over; return whether every module has one."""
    begin, rows = time.monotonic(), {row["module"]: row for row in read_rows(path)}
    for module in timm.list_modules():
        if module in rows:
            continue
        if time.monotonic() - begin > seconds:
            return False
        append(path, {"module": module, **examined(module)})
    return True


def examined(module: str) -> Row:
    """The row of a module; a failure becomes one, too."""
    try:
        name, count = smallest(module)
        return {"name": name, "parameters": count} | ({} if count > MOST else examine(name))
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def append(path: Path, row: Row) -> None:
    """Add one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[Row]:
    """All rows so far."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    )


def table(rows: list[Row]) -> str:
    """Markdown: networks that are right, those that are refused, those too large to be tried."""
    tried = [row for row in rows if "size" in row]
    lines = [
        f"timm {timm.__version__}: {sum(map(right, tried))} of {len(tried)} right to {SLACK:g} of the largest value, "
        "after a step of training.",
        "",
        "| Module | Smallest member | Pixels | Patches | Before them | Pooled vector | Not trained |",
        "|---|---|---|---|---|---|---|",
        *(line(row) for row in tried),
        "",
        "| Module | Refused, with the reason |",
        "|---|---|",
        *(f"| `{row['module']}` | {first_line(row)} |" for row in rows if {"refused", "failed"} & row.keys()),
        "",
    ]
    large = [f"`{row['module']}`" for row in rows if row.get("parameters", 0) > MOST]
    return "\n".join(
        [
            *lines,
            f"Not tried, as their smallest member has over {MOST / 1e6:.0f} M parameters: {', '.join(large)}.",
        ]
    )


def line(row: Row) -> str:
    """One network."""
    names = [("class", "cls_token"), ("distillation", "dist_token"), ("register", "reg_token")]
    counts = [(word, row["prefix"].count(name)) for word, name in names]
    before = ", ".join(f"{count} {word}" for word, count in counts if count) or "none"
    vector = (
        "timm's"
        if row["vector"] is not None
        else f"mean or norm of {row['width']}; timm's has {row['vector_width']}"
    )
    left_out = ", ".join(sorted({f"`{name.split('.')[0]}`" for name in row["left_out"]})) or "none"
    name = f"`{row['name']}`" + ("" if right(row) else " **wrong**")
    cells = (f"`{row['module']}`", name, row["size"], row["patches"], before, vector, left_out)
    return f"| {' | '.join(map(str, cells))} |"


def first_line(row: Mapping[str, Any]) -> str:
    """Why it is refused, as Markdown in one cell."""
    reason = str(row.get("refused") or row.get("failed")).splitlines()[0]
    return reason.replace("|", "\\|").replace("{", "&#123;")


def write(page: Path, rows: list[Row]) -> None:
    """Put the table between the marks of `page`."""
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n\n{table(rows)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> None:
    """Sweep, or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if args.page:
        write(args.page, read_rows(args.rows))
    elif sweep(args.rows, args.seconds):
        print("every module has a row")


if __name__ == "__main__":
    main()
