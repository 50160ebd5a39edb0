"""What is done with runs whose network came from Python: in its process, and in others."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sslkit import KNN, Digits, NetSpec, PythonModule, Result, Run, embed, evaluate_network
from sslkit.cli.main import main
from sslkit.errors import SpecError
from sslkit.specs.nets import NetSpec as Net
from sslkit.train.compose import compose
from tests.tiny import CPU, feed, fields

TWO = {
    "size": 8,
    "crops": 2,
    "augment": [{"kind": "random_resized_crop"}],
    "normalize": {"mean": [0.3], "std": [0.4]},
}


class Small(nn.Module):
    """`[B, 6, 2, 2]`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 4, 4), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.stem(images)
        return features


class Answer(nn.Module):
    """Tokens in an object, as transformers give them."""

    class Output:
        """Holds tokens."""

        def __init__(self, tokens: torch.Tensor) -> None:
            self.last_hidden_state = tokens

    def __init__(self) -> None:
        super().__init__()
        self.small = Small()

    def forward(self, images: torch.Tensor) -> Output:
        return self.Output(self.small(images).flatten(2).mT)


def run(out: Path, network: nn.Module | None = None, **changes: object) -> Run:
    base = fields(out, views={"global": TWO}, objective={"kind": "simclr"}, steps=3, **changes)
    return Run(**{**base, "backbone": network or Small()})


@pytest.fixture
def done(tmp_path: Path) -> Result:
    """A run that is finished, and its module."""
    return run(tmp_path / "run", evaluate=[{"kind": "knn", "k": 5}]).fit()


def test_scores_and_embeddings_are_of_the_trained_copy(done: Result, tmp_path: Path) -> None:
    embed(done.paths["run"], out=tmp_path / "images.npy")
    values = np.load(tmp_path / "images.npy")
    assert values.shape[1] == 6
    assert done.metrics["eval/knn/accuracy"] == done.best["eval/knn/accuracy"]["value"]
    scores = evaluate_network(
        done.backbone.module, [KNN(k=5)], Digits(), size=8, mean=(0.3,), std=(0.4,), device="cpu", workers=0
    )
    assert scores["knn"].metrics["accuracy"] == pytest.approx(done.metrics["eval/knn/accuracy"], abs=0.02)


def test_a_report_is_written_with_and_without_the_module(done: Result, tmp_path: Path) -> None:
    folder = done.paths["run"]
    assert main(["report", folder]) == 0
    del done
    gc.collect()
    assert main(["report", folder]) == 0
    assert list(Path(folder).glob("*.html"))


def test_export_says_that_there_is_no_timm_name(
    done: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", done.paths["run"], "--out", str(tmp_path / "net.safetensors")]) == 2
    assert "has no timm name to export it by" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("evaluate",), ("embed",), ("export",)])
def test_commands_of_another_process_refuse_in_one_line(done: Result, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "sslkit", *words, done.paths["run"]]
    if words != ("evaluate",):
        command += [
            "--out",
            str(Path(done.paths["run"]) / ("written.npy" if words == ("embed",) else "net.pt")),
        ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "backbone.network: is an object of Python, Small" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_comparisons_and_summaries_read_the_files_alone(
    done: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(done.paths["run"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["python_parts"]["backbone.network"]["parameters"] == sum(
        parameter.numel() for parameter in Small().parameters()
    )
    del done
    gc.collect()
    assert main(["compare", str(folder), str(folder)]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_an_average_of_a_module_is_a_net(tmp_path: Path) -> None:
    result = run(tmp_path, nets={"ema": {"momentum": 0.9}}, readout={"net": "ema"}).fit()
    assert isinstance(result.backbone.module, Small)
    assert result.spec is not None
    assert isinstance(result.spec.nets["ema"], Net)
    assert NetSpec is Net


def test_answers_like_those_of_transformers_train_like_their_tokens(tmp_path: Path) -> None:
    one = run(tmp_path / "one", Answer()).fit()
    assert one.summary["finished"]
    (tokens,) = (net(torch.zeros(2, 1, 8, 8)) for net in [one.backbone.module])
    assert tokens.last_hidden_state.shape == (2, 4, 6)


def losses(micro_batch_size: int | None) -> list[float]:
    """Of two steps of a network without batch norm, whose sums do not depend on micro-batches."""
    torch.manual_seed(0)
    changes = {} if micro_batch_size is None else {"micro_batch_size": micro_batch_size}
    base = fields(
        views={"global": TWO},
        objective={"kind": "simclr"},
        nets={},
        log={"figures": False, "flops": False},
        **changes,
    )
    spec = Run(**{**base, "backbone": PythonModule(network=nn.Conv2d(1, 6, 4, 4))}).spec
    composed = compose(spec, CPU)
    supply = feed(spec, composed)
    return [composed.step(i, supply.step(i)).total.item() for i in range(2)]


def test_micro_batches_change_no_step() -> None:
    assert losses(8) == pytest.approx(losses(None), rel=1e-4)


@pytest.mark.parametrize("make", [lambda: nn.Identity(), lambda: nn.ReLU()], ids=["identity", "relu"])
def test_a_network_without_parameters_is_refused(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        run(tmp_path, nn.Sequential(make(), nn.Flatten(0))).fit()
