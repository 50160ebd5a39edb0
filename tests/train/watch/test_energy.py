"""Counters of energy: files of a Linux machine, and NVML."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest
import torch

from sslkit.train.watch import energy
from sslkit.train.watch.energy import Counter, Energy, Meter, counters, energy_of, resumed_meter
from tests.train.fake_powercap import domain, use

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Dial:
    """A counter that tests turn."""

    def __init__(self, of="CPU", wraps=math.inf):
        self.now, self.counter = 0.0, Counter(lambda: self.now, wraps, of)


def test_what_is_used_between_looks_adds_up_on_what_was():
    dial = Dial()
    dial.now = 1000.0
    meter = Meter([dial.counter], joules=5.0)
    assert meter.joules == 5.0, "what the counter said before is of others"
    dial.now += 2
    meter.poll()
    dial.now += 3
    meter.poll()
    assert meter.joules == 10.0


def test_what_is_skipped_is_left_out():
    dial = Dial()
    meter = Meter([dial.counter])
    dial.now = 7.0
    meter.skip()
    dial.now = 9.0
    meter.poll()
    assert meter.joules == 2.0


def test_a_counter_that_wraps_goes_on():
    dial = Dial(wraps=100.0)
    dial.now = 90.0
    meter = Meter([dial.counter])
    dial.now = 15.0
    meter.poll()
    assert meter.joules == 25.0


def test_a_counter_that_goes_away_leaves_nothing_known():
    dial = Dial()

    def read():
        if dial.now > 5:
            raise OSError("gone")
        return dial.now

    meter = Meter([Counter(read, math.inf, "GPU"), Dial().counter])
    assert energy_of(meter.values(CPU).tolist()) == Energy(0.0, "1 GPU and 1 CPU")
    dial.now = 6.0
    meter.poll()
    assert energy_of(meter.values(CPU).tolist()) is None
    meter.poll()


@pytest.mark.parametrize(
    ("kinds", "of"),
    [
        (["CPU"], "1 CPU"),
        (["CPU", "memory", "CPU", "memory"], "2 CPUs and memory"),
        (["GPU"] * 4 + ["CPU"], "4 GPUs and 1 CPU"),
        (["GPU"], "1 GPU"),
    ],
)
def test_what_the_energy_is_of(kinds, of):
    found = energy_of(Meter([Dial(kind).counter for kind in kinds], 2.5).values(CPU).tolist())
    assert found == Energy(2.5, of)


def test_ranks_add_up():
    first, second = Meter([Dial("GPU").counter, Dial().counter], 3.0), Meter([Dial("GPU").counter], 4.0)
    assert energy_of((first.values(CPU) + second.values(CPU)).tolist()) == Energy(7.0, "2 GPUs and 1 CPU")
    assert energy_of(Meter(()).values(CPU).tolist()) is None


def test_sockets_and_their_memory_are_read_once(tmp_path):
    """Cores are part of a socket and `psys` is all of it, so both would count twice."""
    for folder, name in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }.items():
        domain(tmp_path / folder, name, 3_000_000)
    (tmp_path / "intel-rapl").mkdir()
    found = counters(CPU, tmp_path)
    assert [one.of for one in found] == ["CPU", "memory", "CPU"]
    meter = Meter(found)
    use(tmp_path / "intel-rapl:0", 1_500_000)
    use(tmp_path / "intel-rapl:0:0", 1_400_000)
    use(tmp_path / "intel-rapl:0:1", 250_000)
    use(tmp_path / "intel-rapl:1", 1_000_000)
    meter.poll()
    assert meter.joules == pytest.approx(2.75)


def test_a_file_that_wraps(tmp_path):
    folder = domain(tmp_path / "intel-rapl:0", "package-0", 262_000_000, wraps=262_143_328)
    meter = Meter(counters(CPU, tmp_path))
    (folder / "energy_uj").write_text("1000000\n")
    meter.poll()
    assert meter.joules == pytest.approx(1.143328)


@pytest.mark.parametrize("damage", ["energy_uj", "name", "max_energy_range_uj"])
def test_what_cannot_be_read_is_not_known(tmp_path, damage):
    folder = domain(tmp_path / "intel-rapl:0", "package-0", 1)
    (folder / damage).unlink()
    assert counters(CPU, tmp_path) == []
    assert counters(CPU, tmp_path / "nowhere") == []


def test_only_one_rank_of_a_machine_reads_its_cpus(tmp_path, monkeypatch):
    domain(tmp_path / "intel-rapl:0", "package-0", 1)
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert counters(CPU, tmp_path) == []
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert [one.of for one in counters(CPU, tmp_path)] == ["CPU"]


def nvml(monkeypatch, read):
    """NVML with one GPU, of 2.5 J so far."""
    asked = []
    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or "handle",
        nvmlDeviceGetTotalEnergyConsumption=read,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(
        energy.torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"a-{device.index}")
    )
    return asked


def test_a_gpu_tells_millijoules(tmp_path, monkeypatch):
    told = iter([0, 2500, 4000])
    asked = nvml(monkeypatch, lambda handle: next(told) if handle == "handle" else 1 / 0)
    (found,) = counters(GPU, tmp_path)
    meter = Meter([found])
    meter.poll()
    assert (found.of, meter.joules) == ("GPU", 1.5)
    assert asked == ["GPU-a-0"]


def test_a_gpu_that_tells_nothing(tmp_path, monkeypatch):
    def refuse(handle):
        raise RuntimeError("Not Supported")

    nvml(monkeypatch, refuse)
    assert counters(GPU, tmp_path) == []
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    assert counters(GPU, tmp_path) == []


@pytest.mark.parametrize(
    ("joules", "first", "expected"), [(5.0, True, 5.0), (5.0, False, 0.0), (0.0, True, 0.0)]
)
def test_the_first_rank_goes_on_from_what_was_used(monkeypatch, joules, first, expected):
    monkeypatch.setattr(energy, "counters", lambda device: [Dial().counter])
    meter = resumed_meter(CPU, joules, first=first)
    assert meter.values(CPU).tolist() == [expected, 0.0, 1.0, 0.0]


def test_where_earlier_parts_are_not_known_the_whole_is_not_either(monkeypatch):
    monkeypatch.setattr(energy, "counters", lambda device: [Dial().counter])
    assert energy_of(resumed_meter(CPU, None, first=True).values(CPU).tolist()) is None
