"""Damaged inputs of every reader: each is read right, or refused in words."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, final

import yaml

from sslkit.cli.main import main
from tests import tiny
from tests.damage import KINDS_OF_BYTES, KINDS_OF_JSON
from tests.drills.bench import CHANGES, CUT, STEPS, Bench
from tests.drills.drill import Drill, Result, judged
from tests.drills.forks import Child, call, command, fault

SECONDS, MIB = 20.0, 1024.0
"""Of processor time and memory that a command may take which runs for a second or two otherwise."""

Damage = Callable[[bytes, random.Random, int], tuple[str, bytes]]
"""(content, dice, number of the kind) -> what was done, and the damaged content."""


def any_bytes(content: bytes, dice: random.Random, kind: int) -> tuple[str, bytes]:
    return KINDS_OF_BYTES[kind % len(KINDS_OF_BYTES)](content, dice)


def structure(content: bytes, dice: random.Random, kind: int) -> tuple[str, bytes]:
    """Of JSON or YAML."""
    kinds = len(KINDS_OF_JSON) + 1
    if kind % kinds == len(KINDS_OF_JSON):
        return any_bytes(content, dice, kind // kinds)
    return KINDS_OF_JSON[kind % kinds](yaml.safe_load(content), dice)


def one_line(content: bytes, dice: random.Random, kind: int) -> tuple[str, bytes]:
    """Of JSON lines: one damaged, missing or doubled."""
    lines = content.splitlines()
    at = dice.randrange(len(lines))
    if kind % 4 == 3:
        changed = lines[:at] + lines[at + 1 :] if dice.random() < 0.5 else lines[: at + 1] + lines[at:]
        return f"line {at + 1} missing or doubled", b"\n".join(changed) + b"\n"
    name, data = structure(lines[at], dice, kind)
    lines[at] = data.replace(b"\n", b" ")
    return f"line {at + 1}: {name}", b"\n".join(lines) + b"\n"


def header(content: bytes, dice: random.Random, kind: int) -> tuple[str, bytes]:
    """Of safetensors: what its metadata or its header says, or any bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    said = json.loads(content[8 : 8 + length])
    if kind % 3 == 2:
        return any_bytes(content, dice, kind)
    texts = [key for key, value in said["__metadata__"].items() if value.startswith("{")]
    if kind % 3 == 0 and texts:
        key = dice.choice(texts)
        name, data = structure(said["__metadata__"][key].encode(), dice, kind // 3)
        said["__metadata__"][key] = data.decode(errors="replace")
        name, text = f"{key}: {name}", json.dumps(said).encode()
    else:
        name, text = structure(json.dumps(said).encode(), dice, kind // 3)
    return f"header, {name}", struct.pack("<Q", len(text)) + text + content[8 + length :]


class Reader(NamedTuple):
    """A file, and the command that reads it; both in a folder of their own."""

    file: str
    damage: Damage
    words: str
    needs: str = "run"
    """What is laid out of the store."""


_HALF, _STEP = f"half/checkpoints/step-{CUT:08d}", f"run/evaluations/step-{STEPS:08d}"
READERS = (
    Reader("spec.yaml", structure, "validate spec.yaml", "spec.yaml"),
    Reader("spec.yaml", structure, "run spec.yaml --out new", "spec.yaml"),
    Reader("of-run.yaml", structure, "evaluate of-run.yaml", "run of-run.yaml"),
    Reader("of-file.yaml", structure, "evaluate of-file.yaml", "weights.safetensors of-file.yaml"),
    Reader("sweep.yaml", structure, "sweep sweep.yaml --list", "spec.yaml sweep.yaml"),
    Reader("run/spec.lock.yaml", structure, "report run --fast"),
    Reader("run/spec.lock.yaml", structure, "evaluate run"),
    Reader("half/spec.lock.yaml", structure, "resume half", "half"),
    Reader("run/spec.yaml", structure, "report run --fast"),
    Reader("run/summary.json", structure, "report run --fast"),
    Reader("run/summary.json", structure, "resume run"),
    Reader("run/summary.json", structure, "evaluate run"),
    Reader("run/metrics.jsonl", one_line, "report run --fast"),
    Reader("half/metrics.jsonl", one_line, "resume half", "half"),
    Reader(f"{_HALF}/meta.json", structure, "resume half", "half"),
    Reader(f"{_HALF}/state.pt", any_bytes, "resume half", "half"),
    Reader("run/data/data.train.npz", any_bytes, "resume run"),
    Reader("half/data/data.test.npz", any_bytes, "resume half", "half"),
    Reader(f"{_STEP}/knn.json", structure, "report run --fast"),
    Reader(f"{_STEP}/knn.json", structure, "compare run run2", "run run2"),
    Reader(f"{_STEP}/knn.npz", any_bytes, "report run --fast"),
    Reader(f"{_STEP}/knn.npz", any_bytes, "compare run run2 --html page.html", "run run2"),
    Reader("run/figures/reconstruction.png", any_bytes, "report run --fast"),
    Reader("weights.safetensors", header, "evaluate of-file.yaml", "weights.safetensors of-file.yaml"),
    Reader("weights.safetensors", header, "explain from-file.yaml", "weights.safetensors from-file.yaml"),
    Reader("weights.pt", any_bytes, "explain from-pt.yaml", "weights.pt from-pt.yaml"),
    Reader("images/train/one/3.png", any_bytes, "run folder.yaml --out new", "images folder.yaml"),
    Reader("images/test/two/3.jpg", any_bytes, "run folder.yaml --out new", "images folder.yaml"),
    Reader("train.parquet", any_bytes, "validate parquet.yaml --data", "train.parquet parquet.yaml"),
    Reader(
        "features.json", structure, "validate parquet.yaml --data", "features.json train.parquet parquet.yaml"
    ),
    Reader("tokenizer.safetensors", header, "explain tokens.yaml", "tokenizer.safetensors tokens.yaml"),
    Reader("table.json", structure, "scaling table.json --resamples 100", "table.json"),
    Reader("table.csv", any_bytes, "scaling table.csv --resamples 100", "table.csv"),
)


@final
class Inputs(Drill):
    name: ClassVar[str] = "inputs"
    title = "a damaged file of any kind that a command reads: it is read right, or an error says what is wrong with it"
    tries, sample = 660, len(READERS)

    _whole_too = True

    def shorten(self) -> None:
        self._whole_too = False

    @cached_property
    def store(self) -> Path:
        return stored(self.bench)

    def attempt(self, index: int, folder: Path) -> Result:
        reader, dice = READERS[index % len(READERS)], self.dice(index)
        for name in reader.needs.split():
            source = self.store / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        path = folder / reader.file
        before = path.read_bytes()
        if self._whole_too and index < len(READERS):  # or the damage would prove nothing
            whole = self.bench.copy(folder, folder.with_name("undamaged"))
            wrong = fault(call(command(*reader.words.split()), whole), allowed=(0,))
            shutil.rmtree(whole)
            if wrong:
                return judged(f"{reader.words}, undamaged: {wrong}")
        done, data = reader.damage(before, dice, index // len(READERS))
        path.write_bytes(data)

        def reading() -> int:
            if reader.file == "features.json":
                _with_features(folder / "train.parquet", data)
            return main(reader.words.split())

        ended = Child(reading, folder).wait(mib=2 * MIB)
        wrong = fault(ended)
        if wrong is None and ended.seconds > SECONDS:
            wrong = f"took {ended.seconds:.1f} s of processor time"
        if wrong is None and ended.mib > MIB:
            wrong = f"took {ended.mib:.0f} MiB"
        return judged(f"{reader.words}, {reader.file}, {done}: {wrong}" if wrong else None)


def stored(bench: Bench) -> Path:
    """The undamaged files, each read without an error."""
    store = bench.folder / "inputs"
    store.mkdir()
    for name, template in (("run", bench.whole), ("run2", bench.other_whole), ("half", bench.half)):
        bench.copy(template, store / name)
    for name, fields in specs().items():
        (store / f"{name}.yaml").write_text(json.dumps(fields))
    rows = [{"parameters": 10.0**i, "loss": 1.0 + 3.0 / 1.5**i} for i in range(1, 8)]
    (store / "table.json").write_text(json.dumps(rows))
    lines = ["parameters,loss", *(f"{row['parameters']},{row['loss']}" for row in rows)]
    (store / "table.csv").write_text("\n".join(lines) + "\n")
    (store / "features.json").write_text(json.dumps(FEATURES))
    bench.done(partial(_pictures, store))
    bench.done(partial(_exported, store))
    return store


def specs() -> dict[str, Any]:
    """Specs that read files beside them."""
    knn: dict[str, Any] = {
        "data": {"kind": "digits"},
        "evaluate": [{"kind": "knn"}],
        "workers": 0,
        "device": "cpu",
    }
    token = {"kind": "vq_token", "tokenizer": "tokenizer.safetensors"}
    beit = {"kind": "beit", "masker": {"kind": "random", "ratio": 0.5}, "target": token}
    small = {**CHANGES, "steps": 2, "evaluate": []}
    colored = {"views": {"global": {"size": 8, "augment": tiny.AUGMENT}}, **small, "batch_size": 4}
    return {
        "spec": tiny.fields(**{**CHANGES, "steps": 1}),
        "of-run": {"run": "run", "evaluate": [{"kind": "knn", "k": 3}], "device": "cpu", "workers": 0},
        "of-file": {"file": "weights.safetensors", "out": "evaluated", **knn},
        "sweep": {
            "name": "s",
            "base": "spec.yaml",
            "rows": {"a": {"optimizer.lr": 0.1}},
            "axes": {"seed": [0, 1]},
        },
        "from-file": tiny.fields(**small, backbone={**tiny.VIT, "checkpoint": "weights.safetensors"}),
        "from-pt": tiny.fields(**small, backbone={**tiny.VIT, "checkpoint": "weights.pt"}),
        "folder": tiny.fields(
            **colored, data={"kind": "folder", "root": "images/train", "test": "images/test"}
        ),
        "parquet": tiny.fields(**colored, data={"kind": "parquet", "files": "train.parquet"}),
        "tokens": tiny.fields(**small, objective=beit),
    }


FEATURES = {"info": {"features": {"label": {"names": ["one", "two"], "_type": "ClassLabel"}}}}
"""What the `datasets` library notes in parquet files."""


def _pictures(store: Path) -> int:
    """Two classes of small images, as files and as rows."""
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    draw, rows = np.random.default_rng(0), []
    for split in ("train", "test"):
        for label, name in enumerate(("one", "two")):
            folder = store / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(8):
                image = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
                image.save(folder / f"{i}.{'png' if label == 0 else 'jpg'}")
                file = io.BytesIO()
                image.save(file, "PNG")
                rows.append({"image": {"bytes": file.getvalue()}, "label": label})
    pq.write_table(pa.Table.from_pylist(rows), store / "train.parquet")
    _with_features(store / "train.parquet", (store / "features.json").read_bytes())
    return 0


def _with_features(path: Path, text: bytes) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"huggingface": text}), path)


def _exported(store: Path) -> int:
    codes = {"size": 8, "dim": 4}
    fields = tiny.fields(
        **{**CHANGES, "steps": 1}, objective={"kind": "vq_vae", "codebook": codes, "decoder": tiny.DECODER}
    )
    (store / "vq.yaml").write_text(json.dumps(fields))
    run, out = str(store / "vq"), str(store / "tokenizer.safetensors")
    return (
        main(["run", str(store / "vq.yaml"), "--out", run])
        or main(["export", run, "--part", "tokenizer", "--out", out])
        or main(["export", str(store / "run"), "--out", str(store / "weights.safetensors")])
        or main(["export", str(store / "run"), "--out", str(store / "weights.pt")])
    )
