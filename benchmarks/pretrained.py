"""Networks of known accuracy through `linear`, `logistic` and `knn`: do the protocols find what the networks know?

    python benchmarks/pretrained.py --cifar10 data/cifar10 --resnet20 cifar10_resnet20.pt
        [--natural imagenette128-val.parquet --efficientnet efficientnet-lite0.pth] [--size 224]

`resnet20` is the network of akamaster/pytorch_resnet_cifar10, whose own classifier is right on 91.73 % of the test
images; `linear` and `logistic` read the 64 features before that classifier and learn it anew from the training images.
`efficientnet` is timm's `tf_efficientnet_lite0` with weights whose names are put into timm's order; 600 images of the
natural ones are learned from and 600 are scored, both drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit import CIFAR10, KNN, LinearProbe, LogisticRegression, Parquet, Readout, evaluate_network
from sslkit.specs.families import EvaluatorSpec, SourceSpec


class Block(nn.Module):
    """Two convolutions and a shortcut that pads channels with zeros (option A)."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide)
        self.conv2, self.bn2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide)
        self.stride, self.padding = stride, (wide - narrow) // 2

    def forward(self, images: Tensor) -> Tensor:
        """`[B, wide, H / stride, W / stride]`."""
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images)))))
        short = images[:, :, :: self.stride, :: self.stride]
        return F.relu(found + F.pad(short, (0, 0, 0, 0, self.padding, self.padding)))


class ResNet(nn.Module):
    """A residual network for CIFAR-10: 3 stages of `depth` blocks."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for i, (narrow, wide, stride) in enumerate(((16, 16, 1), (16, 32, 2), (32, 64, 2)), 1):
            blocks = [Block(narrow if j == 0 else wide, wide, stride if j == 0 else 1) for j in range(depth)]
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def features(self, images: Tensor) -> Tensor:
        """`[B, 64]`."""
        found = F.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(found))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, 10]`."""
        return self.linear(self.features(images))


def resnet(path: Path) -> ResNet:
    """The network of a plain state dict; its depth is read off the names."""
    state = torch.load(path, weights_only=True)
    state = {name.removeprefix("module."): value for name, value in state.get("state_dict", state).items()}
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layer1."))
    net = ResNet(depth)
    net.load_state_dict(state)
    return net.eval()


def efficientnet(path: Path) -> nn.Module:
    """The network of timm with the weights in the order of their names."""
    net = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    ours = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    found = torch.load(path, weights_only=True, map_location="cpu")
    theirs = [value for name, value in found.items() if not name.endswith("num_batches_tracked")]
    net.load_state_dict(dict(zip(ours, theirs, strict=True)), strict=False)
    return net.eval()


def drawn(path: Path, folder: Path, count: int) -> Parquet:
    """`count` images to learn from and `count` others to score."""
    table = pq.read_table(path)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0)).tolist()
    for name, rows in (("train", order[:count]), ("test", order[count : 2 * count])):
        pq.write_table(table.take(pa.array(rows)), folder / f"{name}.parquet")
    return Parquet(files=folder / "train.parquet", test=folder / "test.parquet")


def show(name: str, net: nn.Module, protocols: list[EvaluatorSpec], data: SourceSpec, **how: object) -> None:
    """Evaluate and print a line for each protocol."""
    began = time.perf_counter()
    found = evaluate_network(net, protocols, data, workers=2, **how)  # type: ignore[arg-type]
    for label, scores in found.items():
        print(f"{name}  {label}: accuracy {100 * scores.metrics['accuracy']:.2f} %", flush=True)
    print(f"{name}  {time.perf_counter() - began:.0f} s", flush=True)


def own_accuracy(net: ResNet, data: SourceSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> float:
    """Of the network's own classifier on the test images."""
    source = data.build("test")
    assert source is not None, "CIFAR-10 has test images"
    assert source.labels is not None, "CIFAR-10 has labels"
    right, center, scale = 0, torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    with torch.no_grad():
        for start in range(0, len(source), 500):
            rows = range(start, min(start + 500, len(source)))
            images = torch.stack([source.load(i) for i in rows]).float() / 255
            guesses = net((images - center) / scale).argmax(1)
            right += int((guesses == source.labels[start : start + len(rows)]).sum())
    return right / len(source)


def main() -> None:
    """Print every accuracy beside the one that is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--resnet20", type=Path)
    parser.add_argument("--natural", type=Path)
    parser.add_argument("--efficientnet", type=Path)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.resnet20:
        net, data = resnet(args.resnet20), CIFAR10(root=args.cifar10)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        print(f"resnet  own classifier: {100 * own_accuracy(net, data, mean, std):.2f} %", flush=True)
        protocols = [KNN(), LinearProbe(), LogisticRegression()]
        show("resnet", net, protocols, data, size=32, mean=mean, std=std, forward=net.features)
    if args.efficientnet:
        network = efficientnet(args.efficientnet)
        with tempfile.TemporaryDirectory() as folder:
            show(
                f"efficientnet at {args.size}", network, [KNN(), LogisticRegression()],
                drawn(args.natural, Path(folder), 600), size=args.size, mean=(0.498,) * 3, std=(0.502,) * 3,
                forward=network.forward_features, readout=Readout(pool="mean"),
            )  # fmt: skip


if __name__ == "__main__":
    main()
