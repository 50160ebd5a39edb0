"""Steps by hand beside those of the trainer: they have the network of the run, learn, and count what is theirs."""

from __future__ import annotations

import io
import math
import tarfile

import pytest
import torch
from PIL import Image

from sslkit.functional.info_nce import gathered, info_nce, similarity

CPU = torch.device("cpu")
NAMES = ("mae_vit_b", "simmim_vit_b", "dino_vit_s", "simclr_r50", "simclr_r18_cifar")


@pytest.fixture
def steps(scripts):
    return scripts("gpu_steps")


@pytest.fixture
def references(scripts):
    return scripts("gpu_references")


@pytest.fixture
def how(steps):
    return steps.How(CPU, True, 0.0, None)


@pytest.fixture
def shards(scripts):
    return scripts("gpu_shards")


def made(steps, references, how, name):
    torch.manual_seed(0)
    spec = steps.spec_of(name, "eager", how, 4)
    crops = steps.crops_of(spec, how)
    return spec, crops, references.MADE[name](spec, crops)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_by_hand_has_the_parameters_of_the_run_and_moves_them(
    steps, references, how, name, monkeypatch
):
    spec, crops, (model, loss) = made(steps, references, how, name)
    ours = sum(p.numel() for p in steps.built(spec, how)[0].system.parameters() if p.requires_grad)
    theirs = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert theirs == pytest.approx(ours, rel=0.1)
    assert math.isfinite(float(loss().detach()))
    before = [p.detach().clone() for p in model.parameters()]
    monkeypatch.setitem(references.MADE, name, lambda *_: (model, loss))
    references.reference_step(name, spec, crops, "float32")(0)
    moved = [not a.equal(b) for a, b in zip(before, model.parameters(), strict=True) if b.requires_grad]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("name", ["mae_vit_b", "simmim_vit_b"])
def test_masked_references_learn_noise_by_heart(steps, references, how, name):
    _, _, (model, loss) = made(steps, references, how, name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def value():
        torch.manual_seed(1)  # the same masks
        return loss()

    first = float(value().detach())
    for _ in range(20):
        value().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(value().detach()) < 0.98 * first


def test_simclr_by_hand_has_the_loss_of_the_run(steps, references, how):
    spec, crops, (model, loss) = made(steps, references, how, "simclr_r18_cifar")
    z = torch.nn.functional.normalize(model.head(model.net(crops["global"].flatten(0, 1))).detach(), dim=-1)
    one, two = (gathered(crop) for crop in z.chunk(2))
    both = [similarity(a.rows, b, within=a) for a, b in ((one, two), (two, one))]
    expected = sum(float(info_nce(similar, spec.objective.temperature)) for similar in both) / 2
    assert float(loss().detach()) == pytest.approx(expected, rel=1e-4)


def test_patches_are_cut_row_by_row_and_normalized(references):
    x = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    cut = references.patches_of(x, 2)
    assert cut.shape == (2, 4, 12)
    expected = x[0, :, :2, 2:].permute(1, 2, 0).flatten()
    expected = (expected - expected.mean()) / expected.std()
    assert torch.allclose(cut[0, 1], expected, atol=1e-5)


def test_gradients_are_clipped_one_by_one_or_as_a_whole(references):
    def gradients(by_tensor):
        pair = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        for parameter, value in zip(pair, (3.0, 4.0), strict=True):
            parameter.grad = torch.tensor([value])
        references.clipped(pair, 1.0, by_tensor)
        return [float(parameter.grad) for parameter in pair]

    assert gradients(True) == pytest.approx([1, 1], abs=1e-4)
    assert gradients(False) == pytest.approx([0.6, 0.8], abs=1e-4)


def test_shards_are_written_once_and_hold_jpeg_files(shards, tmp_path):
    folder = shards.write_shards(tmp_path / "shards", True)
    times = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*.tar"))}
    assert [path.name for path in times] == ["train-000000.tar", "train-000001.tar"]
    with tarfile.open(folder / "train-000001.tar") as tar:
        names = tar.getnames()
        picture = Image.open(io.BytesIO(tar.extractfile(names[0]).read()))
    assert names[:2] == ["00000008.jpg", "00000008.cls"]
    assert (picture.format, picture.size) == ("JPEG", shards.TINY[2:])
    assert {
        path: path.stat().st_mtime_ns for path in sorted(shards.write_shards(folder, True).glob("*.tar"))
    } == times


@pytest.mark.parametrize("mode", ["feed", "step"])
def test_images_come_from_shards_alone_and_before_a_step(shards, how, tmp_path, mode):
    pytest.importorskip("sslkit_shards", reason="sslkit-shards is not installed")
    folder = shards.write_shards(tmp_path / "shards", True)
    line = shards.measured_shards("simclr_r50", mode, how, folder)
    assert line["images"] == 16
    assert line["images_per_s"] == pytest.approx(1e3 * line["batch"] / line["step_ms"])


def test_the_part_of_shards_writes_them_and_measures_every_method(scripts, tmp_path, monkeypatch):
    gpu = scripts("gpu")
    monkeypatch.setattr(
        gpu, "measured_shards", lambda name, mode, how, shards: {"shards": len(list(shards.glob("*.tar")))}
    )
    number = next(n for n, part in enumerate(gpu.PARTS, 1) if part.kind == "shards")
    assert gpu.main(["--tiny", "--out", str(tmp_path), "--part", str(number)]) == 0
    lines = gpu.read(tmp_path)
    assert [line["mode"] for line in lines] == ["feed", "step"] * 3
    assert all(line["done"] and line["shards"] == 2 for line in lines)
