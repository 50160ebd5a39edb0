"""SimCLR of lightly, written as its documentation has it: the other side of `time_to_accuracy.py`.

    python benchmarks/lightly_simclr.py --spec SPEC --out DIR --steps N [--every 50] [--workers 2] [--batch 512]
        [--lr 2.0] [--optimizer lars|sgd] [--lightly FOLDER]

Head, loss, transform, LARS, schedule and the choice of what decays are lightly's, the loader is torch's. Of the spec
come what both sides share: the images, the network, the widths of the head, temperature, normalization and, unless
given, batch, rate and decay. Every `--every` steps the weights of the network are written to `DIR/step-N.pt`.
SIGTERM ends it after a step, with all that it needs to go on in `DIR/state.pt`; the next call with `DIR` does.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import sslkit  # noqa: F401  the plugins are loaded with it
from sslkit.build.system import make_views
from sslkit.specs.load import load
from sslkit.specs.run import RunSpec

ABSENT = (
    "skipped: lightly is not installed. `pip install --target DIR --no-deps lightly lightly_utils lightning_utilities` "
    "puts it into a folder of its own; then give --lightly DIR"
)


def installed(folder: Path | None) -> bool:
    """Whether lightly can be imported, from `folder` if it is given; nothing there replaces what is installed."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.util.find_spec("lightly") is not None


class Images(Dataset):
    """What torchvision's CIFAR10 gives: a PIL image, transformed, and its label."""

    def __init__(self, images: Tensor, labels: Tensor, transform) -> None:
        self.pixels, self.labels, self.transform = images.permute(0, 2, 3, 1).numpy(), labels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


class SimCLR(nn.Module):
    """The documentation's model, with the widths of the spec."""

    def __init__(self, backbone: nn.Module, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        from lightly.models.modules import SimCLRProjectionHead

        self.backbone = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1))
        self.projection_head = SimCLRProjectionHead(dim, hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings, `[B, out]`."""
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


def network_of(spec: RunSpec, channels: int = 3):
    """The spec's backbone with its first weights."""
    torch.manual_seed(spec.seed)
    return spec.backbone.build(make_views(spec, channels)[spec.first_view])


def optimizer_of(model: nn.Module, args: argparse.Namespace, batch: int, spec: RunSpec):
    """Lightly's LARS, or torch's SGD as in lightly's CIFAR-10 benchmark; norms and biases do not decay."""
    from lightly.models.utils import get_weight_decay_parameters
    from lightly.utils.lars import LARS

    decayed, plain = get_weight_decay_parameters([model])
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    rate = spec.optimizer.peak_lr(batch) if args.lr is None else args.lr * batch / 256
    cls = {"lars": LARS, "sgd": torch.optim.SGD}[args.optimizer]
    return cls(groups, lr=rate, momentum=0.9, weight_decay=float(spec.optimizer.weight_decay))


def endless(loader: DataLoader) -> Iterator[list[Tensor]]:
    """The views of batch after batch, epoch after epoch."""
    while True:
        for views, _ in loader:
            yield views


STATE = "state.pt"


class Stop:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self)

    def __call__(self, *_: object) -> None:
        self.asked = True


def whole(path: Path, content: object) -> None:
    """`content` in `path`, or what was there before."""
    half = path.with_name("half-written")
    torch.save(content, half)
    half.replace(path)


def train(spec: RunSpec, args: argparse.Namespace) -> int:
    """`args.steps` steps, with weights written on the way and at the end; the exit code."""
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from lightly.utils.scheduler import CosineWarmupScheduler

    batch = args.batch or spec.batch_size
    view, objective = make_views(spec, 3)[spec.first_view], spec.objective
    backbone = network_of(spec)
    model = SimCLR(backbone.net, backbone.dim, objective.projector.hidden, objective.projector.out)
    # of the 32 pixels of CIFAR-10 lightly's documentation halves the jitter, and its benchmark leaves out the blur
    transform = SimCLRTransform(
        input_size=view.size, cj_strength=0.5, gaussian_blur=0.0,
        normalize={"mean": list(view.mean), "std": list(view.std)},
    )  # fmt: skip
    source = spec.data.build("train")
    loader = DataLoader(
        Images(source.resident(), source.labels, transform), batch_size=batch, shuffle=True, drop_last=True,
        num_workers=args.workers, persistent_workers=args.workers > 0,
    )  # fmt: skip
    criterion = NTXentLoss(temperature=objective.temperature)
    optimizer = optimizer_of(model, args, batch, spec)
    scheduler = CosineWarmupScheduler(optimizer, warmup_epochs=args.steps // 20, max_epochs=args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    stop, done = Stop(), go_on(parts, args.out / STATE)
    torch.manual_seed(spec.seed + done)  # other images than before the stop
    for step, (x0, x1) in zip(range(done + 1, args.steps + 1), endless(loader), strict=False):
        loss = criterion(model(x0), model(x1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if step % args.every == 0 or step == args.steps:
            whole(args.out / f"step-{step:08d}.pt", model.backbone[0].state_dict())
            print(f"step {step} loss {loss.item():.3f}", flush=True)
        if stop.asked and step < args.steps:
            whole(args.out / STATE, {"step": step, **{name: one.state_dict() for name, one in parts.items()}})
            return 128 + signal.SIGTERM
    return 0


def go_on(parts: Mapping[str, Any], path: Path) -> int:
    """Give `parts` the state of `path`, where there is one; the steps that were made."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, one in parts.items():
        one.load_state_dict(state[name])
    return int(state["step"])


def add_arguments(parser: argparse.ArgumentParser, prefix: str = "--") -> None:
    """What may be tuned for lightly."""
    parser.add_argument(f"{prefix}workers", type=int, default=2, help="processes of its loader")
    parser.add_argument(f"{prefix}batch", type=int, help="images a step (default: the spec's)")
    parser.add_argument(f"{prefix}lr", type=float, help="rate for 256 images (default: the spec's)")
    parser.add_argument(f"{prefix}optimizer", choices=("lars", "sgd"), default="lars")


def main() -> int:
    """Train, or say that lightly is absent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, default=50, help="steps between weights that are written")
    parser.add_argument("--lightly", type=Path, metavar="DIR", help="folder that lightly was installed into")
    add_arguments(parser)
    args = parser.parse_args()
    if not installed(args.lightly):
        print(ABSENT)
        return 0
    return train(load(args.spec), args)


if __name__ == "__main__":
    raise SystemExit(main())
