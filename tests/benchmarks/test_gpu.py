"""What is measured on a GPU, at tiny sizes on a CPU: lines that last, and parts that go on where they stopped."""

from __future__ import annotations

import json

import pytest
import torch


@pytest.fixture
def gpu(scripts):
    return scripts("gpu")


@pytest.fixture
def steps(scripts):
    return scripts("gpu_steps")


def call(gpu, out, *words):
    return gpu.main(["--tiny", "--out", str(out), *words])


def test_a_part_measures_every_method_eager_and_compiled_and_then_has_nothing_to_do(gpu, tmp_path, capsys):
    assert call(gpu, tmp_path, "--part", "1") == 0
    lines = gpu.read(tmp_path)
    modes = ("eager", "compiled", "reference")
    assert [(line["name"], line["mode"]) for line in lines] == [
        (name, mode) for name in ("mae_vit_b", "mae_vit_l") for mode in modes
    ]
    for line in lines:
        assert line["done"], line
        assert line["device"] == "cpu"
        assert line["tiny"]
        assert line["images_per_s"] == pytest.approx(1e3 * line["batch"] / line["step_ms"])
        flops = line["gflop_per_image"] * line["batch"] / 1e3
        assert line["tflop_per_s"] == pytest.approx(1e3 * flops / line["step_ms"])
        assert line["mfu"] is None
    assert lines[0]["gflop_per_image"] == lines[1]["gflop_per_image"], "counted, not timed"
    assert call(gpu, tmp_path, "--part", "1") == 0
    assert gpu.read(tmp_path) == lines
    capsys.readouterr()
    assert gpu.main(["--list", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("1  6/6  steps of MAE")
    assert gpu.main(["--table", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count(" images/s | ") == 6
    assert out.count(" x the reference | ") == 4


def test_images_from_memory_are_cropped_alone_and_before_a_step(steps):
    how = steps.How(torch.device("cpu"), True, 0.0, None)
    feed, step = (steps.measured_feed("simclr_r18_cifar", mode, how) for mode in ("feed", "step"))
    assert feed["image_size"] == step["image_size"] == 32
    assert min(feed["images_per_s"], step["images_per_s"]) > 0


@pytest.mark.parametrize(
    "name",
    ["mae_vit_b", "dino_vit_s", "ibot_vit_s", "simmim_vit_b", "simclr_r50", "hybrid_mae_infonce_vit_b"],
)
def test_specs_of_methods_are_valid_in_full_size(steps, name):
    how = steps.How(torch.device("cpu"), False, 0.0, None)
    spec = steps.spec_of(name, "eager", how, steps.METHODS[name].batch)
    assert spec.views["global"].size == 224
    assert spec.batch_size >= 128


@pytest.mark.parametrize("name", ["hybrid_mae_infonce_vit_b", "ibot_vit_s"])
def test_methods_have_a_tiny_step(steps, name):
    how = steps.How(torch.device("cpu"), True, 0.0, 1e12)
    line = steps.measured_step(name, "eager", how)
    assert line["mfu"] == pytest.approx(line["tflop_per_s"])


def test_mfu_is_of_counted_operations_over_time_and_peak(steps, monkeypatch):
    how = steps.How(torch.device("cpu"), True, 0.0, 2e9)
    monkeypatch.setattr(steps, "timed", lambda step, how: ([0.5, 0.25, 1.0], 9.0))
    line = steps.measured_step("mae_vit_b", "eager", how)
    assert (line["step_ms"], line["fastest_ms"], line["first_step_s"]) == (500, 250, 9)
    assert line["mfu"] == pytest.approx(line["gflop_per_image"] * line["batch"] / 0.5 / 2)


def test_batches_that_do_not_fit_are_halved(steps):
    tried = []

    def measure(batch):
        tried.append(batch)
        if batch > 1:
            raise torch.OutOfMemoryError("too large")
        return {"batch": batch}

    how = steps.How(torch.device("cpu"), True, 0.0, None)
    assert steps.fitting(measure, "mae_vit_b", how) == {"batch": 1}
    assert tried == [4, 2, 1]


def test_what_fails_is_a_line_and_is_given_up_after_two_tries(gpu, tmp_path, monkeypatch, capsys):
    def measured(name, mode, how):
        if mode == "compiled":
            raise RuntimeError("no compiler")
        return {"batch": 1, "step_ms": 1.0}

    monkeypatch.setattr(gpu, "measured_step", measured)
    assert call(gpu, tmp_path, "--part", "1") == gpu.UNFINISHED
    assert [line["done"] for line in gpu.read(tmp_path)] == [True, False, True] * 2
    assert "failed: RuntimeError: no compiler" in capsys.readouterr().out
    assert call(gpu, tmp_path, "--part", "1") == 0, "given up"
    assert len(gpu.read(tmp_path)) == 8, "only what had failed was tried again"


def test_a_measurement_does_not_begin_when_time_is_up(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "measured_step", lambda *_: pytest.fail("began"))
    assert call(gpu, tmp_path, "--part", "1", "--minutes", "0") == gpu.UNFINISHED


def test_a_line_that_was_cut_short_costs_no_other(gpu, tmp_path):
    gpu.append(tmp_path, {"n": 1})
    with (tmp_path / gpu.RESULTS).open("a") as file:
        file.write('{"n": 2, "re')
    gpu.append(tmp_path, {"n": 3})
    assert [line["n"] for line in gpu.read(tmp_path)] == [1, 3]


def test_a_published_row_goes_on_until_it_is_finished(gpu, tmp_path, monkeypatch):
    metric = gpu.cifar10_table.METRIC
    calls = []

    def go_on(name, args, deadline):
        calls.append(args)
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        now = {
            "finished": len(calls) == 2, "epoch": 100.0 * len(calls), "seconds": 500.0, "peak_memory_mib": 1.0,
            "metrics": {metric: 0.8, "images_per_s": 10.0}, "best": {metric: {"value": 0.81}},
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(now))

    monkeypatch.setattr(gpu.cifar10_table, "go_on", go_on)
    words = ("--part", "6")
    assert [call(gpu, tmp_path, *words) for _ in range(3)] == [gpu.UNFINISHED, 0, 0]
    assert [(line["done"], line["epoch"], line["best"]) for line in gpu.read(tmp_path)] == [
        (False, 100.0, 0.81), (True, 200.0, 0.81),
    ]  # fmt: skip
    assert calls[0].root.joinpath("cifar-10-batches-py", "test_batch").is_file()


def test_without_a_part_all_are_made_as_far_as_time_goes(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "measure", lambda *_: {"done": True, "batch": 1})
    assert call(gpu, tmp_path, "--minutes", "0") == gpu.UNFINISHED
    assert gpu.read(tmp_path) == []
    assert call(gpu, tmp_path) == 0
    lines = gpu.read(tmp_path)
    assert [line["part"] for line in lines] == sorted(line["part"] for line in lines)
    assert {line["part"] for line in lines} == set(range(1, 1 + len(gpu.PARTS)))
    assert {line["name"] for line in lines if line["kind"] == "row"} == {"simclr", "moco"}
    assert call(gpu, tmp_path) == 0
    assert gpu.read(tmp_path) == lines


def test_the_peak_is_that_of_the_device(gpu, monkeypatch):
    args = gpu.arguments([])
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert gpu._peak(args) == 989e12
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "NVIDIA L40S")
    assert gpu._peak(args) == 362e12
    assert gpu._peak(gpu.arguments(["--peak-tflops", "2"])) == 2e12
    assert gpu._peak(gpu.arguments(["--tiny"])) is None


def test_without_a_gpu_or_without_images_it_says_what_to_do(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU here"):
        gpu.main(["--out", str(tmp_path)])
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match="part 6 trains on CIFAR-10: give its folder with --root"):
        gpu.main(["--out", str(tmp_path), "--part", "6"])
