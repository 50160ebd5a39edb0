"""Run folders as an earlier version left them, kept in `tests/goldens/runs`: how they were made.

`python -m tests.whole.old_runs FOLDER` makes them anew, with the sslkit that is installed. The ones that are kept are
of the last version before modules and plugin packages got other names, and must not be replaced by newer ones: what
they are for is that a later version reads them. Everything is done by commands, and on scikit-learn's digits.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from sslkit.cli.main import main
from sslkit.registry.manager import registry
from sslkit.specs.families import FAMILIES
from tests import tiny
from tests.train.test_trainer import stop_at

STEPS = 8
CUT = {"masked": 4, "hybrid": 6, "tokens": 4}
"""Runs that were cut off -> the step of the checkpoint that they go on from."""
STOPPED = {"hybrid": 6}
"""Those of them that a signal stopped; the others were killed, and have no summary."""
LISTED = "masked"
"""The run whose lists of images are kept."""
RUNS = ("masked", "distilled", "hybrid", "tokens")
CELLS = ("seed-0", "seed-1")
BACKBONE, TOKENIZER = "backbone.safetensors", "tokenizer.safetensors"
KINDS = "kinds.json"
NEUTRAL: Mapping[str, Any] = {
    "folder": "/home/someone/work",
    "platform": "Linux-6.1-x86_64-with-glibc2.36",
    "git": "0" * 40,
}
"""What stands in locks in place of the machine that made them."""

SMALL_VIT = {**tiny.VIT, "depth": 1, "width": 8, "heads": 2}
DECODER = {"width": 8, "depth": 1, "heads": 2}
CROPS = {**tiny.VIEW, "crops": 2}
HEAD = {"hidden": 8, "out": 4}
GEOMETRY = {"kind": "geometry", "neighbours": 5, "restarts": 1, "max_images": 60, "positives": "none"}
KNN = {"kind": "knn", "k": 5, "every": "4 steps"}


def masked() -> dict[str, Any]:
    """MAE with a masker that changes over the run and a term that keeps features apart; killed in the middle."""
    curriculum = {
        "kind": "curriculum",
        "masker": {"kind": "random"},
        "field": "ratio",
        "start": 0.25,
        "end": 0.75,
    }
    objective = {
        "kind": "mae",
        "masker": curriculum,
        "decoder": DECODER,
        "regularize": {"term": "uniformity", "weight": 0.1},
    }
    linear = {"kind": "linear", "learning_rates": [0.1, 1.0], "epochs": 3, "every": "4 steps"}
    tune = {"kind": "finetune", "epochs": 1, "warmup_epochs": 0, "batch_size": 256, "every": "4 steps"}
    shown = {"kind": "reconstruction", "max_images": 50, "shown": 1, "every": "4 steps"}
    return _fields("masked", objective=objective, evaluate=[KNN, linear, tune, shown])


def distilled() -> dict[str, Any]:
    """iBOT whose teacher guides the masks and is what is read; finished, and exported."""
    objective = {
        "kind": "ibot",
        "local": "local",
        "masker": {"kind": "attention", "ratio": 0.5},
        "prototypes": 12,
        "head": {"layers": 2, "hidden": 16, "bottleneck": 8},
    }
    return _fields(
        "distilled",
        objective=objective,
        views={"global": CROPS, "local": CROPS},
        nets={"teacher": {"momentum": {"start": 0.9, "end": 1.0}}},
        readout={"net": "teacher"},
        evaluate=[KNN, {"kind": "attention", "max_images": 8, "shown": 1}],
    )


def hybrid() -> dict[str, Any]:
    """BYOL and VICReg on a network of timm, weighed by what is learned; stopped by a signal, late."""
    small = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    return _fields(
        "hybrid",
        backbone={"kind": "timm", "name": "test_vit", "arguments": small},
        views={"global": CROPS},
        nets={"teacher": {"momentum": 0.9}},
        objective=None,
        objectives={
            "own": {"kind": "byol", "projector": HEAD, "predictor": HEAD},
            "apart": {"kind": "vicreg", "projector": {"layers": 2, **HEAD}},
        },
        balance={"kind": "uncertainty"},
        evaluate=[{**KNN, "name": "neighbors"}, {**GEOMETRY, "every": "4 steps"}],
        log={"every": 1, "flops": False, "conflict": "2 steps"},
    )


def tokens() -> dict[str, Any]:
    """A tokenizer, and a BEiT of mean colors; killed before it was evaluated."""
    beit = {
        "kind": "beit",
        "masker": {"kind": "information", "ratio": 0.5},
        "target": {"kind": "patch_colors", "levels": 4},
    }
    codebook = {"size": 8, "dim": 4, "revive": 0.1, "sample": 4}
    return _fields(
        "tokens",
        objective=None,
        objectives={"codes": {"kind": "vq_vae", "codebook": codebook, "decoder": DECODER}, "beit": beit},
        balance={"kind": "pcgrad"},
        log={"every": 1, "flops": True, "loggers": [{"kind": "tensorboard"}]},
    )


def sweep() -> dict[str, Any]:
    """Two seeds of the smallest run."""
    base = _fields("sweep", steps=2, evaluate=[{**KNN, "every": "end"}])
    base.pop("out"), base.pop("name")
    return {"name": "sweep", "out": "sweep", "base": base, "axes": {"seed": [0, 1]}}


def _fields(name: str, **changes: Any) -> dict[str, Any]:
    """A run in the folder `name` of the working folder; `keep` lets the cut choose its checkpoint."""
    base: dict[str, Any] = {
        "name": name,
        "steps": STEPS,
        "backbone": SMALL_VIT,
        "checkpoint": {"every": "2 steps", "keep": 9},
        "objective": {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": DECODER},
    }
    fields = tiny.fields(Path(name), **{**base, **changes})
    return {key: value for key, value in fields.items() if value is not None}


def make(folder: Path) -> None:
    """Make all of it in `folder`, which must not be there yet."""
    folder.mkdir(parents=True)
    with contextlib.chdir(folder):
        for name, fields in zip(RUNS, (masked(), distilled(), hybrid(), tokens()), strict=True):
            _train(_write(Path(f"{name}.yaml"), fields), STOPPED.get(name))
        _run("export", "distilled", "--out", BACKBONE)
        _run("sweep", _write(Path("sweep.yaml"), sweep()))
        _run("evaluate", "hybrid", "--no-cache")
        _cut(Path("masked"), CUT["masked"])
        _cut(Path("tokens"), CUT["tokens"])
        _run("export", "tokens", "--part", "tokenizer", "--out", TOKENIZER)
        _neutral(Path())
        _slim(Path())
        Path(KINDS).write_text(_json(kinds()), encoding="utf-8")


def kinds() -> dict[str, dict[str, Any]]:
    """Family -> kind -> the fields of the kind's example, and of an evaluator the protocol that results say."""
    examples: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        for kind, cls in sorted(registry().kinds(family).items()):
            example: Any = cls.example()
            if example is None:
                continue
            fields = example.model_dump(mode="json")
            protocol = {"protocol": example.build().protocol} if family == "evaluator" else {}
            examples.setdefault(family, {})[kind] = {"fields": fields, **protocol}
    return examples


def _run(*words: str) -> None:
    code = main(list(words))
    assert code == 0, f"sslkit {' '.join(words)} ended with {code}"


def _write(path: Path, fields: Mapping[str, Any]) -> str:
    path.write_text(yaml.safe_dump(dict(fields), sort_keys=False), encoding="utf-8")
    return str(path)


def _json(value: object) -> str:
    return json.dumps(value) + "\n"


def _train(spec: str, stop: int | None) -> None:
    """Run `spec`; a SIGTERM comes in the step `stop`."""
    if stop is None:
        _run("run", spec)
        return
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, stop, lambda: signal.raise_signal(signal.SIGTERM))
        assert main(["run", spec]) == 128 + signal.SIGTERM


def _cut(run_dir: Path, step: int) -> None:
    """Leave what the run had when it was killed a step after the checkpoint of `step`."""
    for path in [*_steps(run_dir / "checkpoints"), *_steps(run_dir / "evaluations")]:
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    records = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    before = [line for line in records if json.loads(line)["step"] <= step + 1]
    (run_dir / "metrics.jsonl").write_text("".join(before), encoding="utf-8")
    (run_dir / "summary.json").unlink()


def _steps(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("step-*"))


def _neutral(folder: Path) -> None:
    """Replace what locks say of the machine; leave out what is named after it, or names its files where it warns."""
    for path in folder.rglob("spec.lock.yaml"):
        lock = yaml.safe_load(path.read_text(encoding="utf-8"))
        lock |= {**NEUTRAL, "command": ["sslkit", "run", f"{path.parent.name}.yaml"]}
        path.write_text(yaml.safe_dump(lock, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for path in list(folder.rglob("tensorboard")):
        shutil.rmtree(path)
    for path in list(folder.rglob("*")):
        if path.suffix in {".log", ".lock"}:
            path.unlink()


def _slim(folder: Path) -> None:
    """Figures of one pixel; no checkpoints but those that are read, and one run's lists of images."""
    for path in folder.rglob("*.png"):
        Image.new("L", (1, 1), 255).save(path)
    for checkpoints in list(folder.rglob("checkpoints")):
        for path in _steps(checkpoints)[: None if checkpoints.parent.name in CELLS else -1]:
            shutil.rmtree(path)
    for path in list(folder.rglob("data.*.npz")):
        if path.parent.parent.name != LISTED:
            path.unlink()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
