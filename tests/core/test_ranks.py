"""Which rank a process is, as whatever started it says."""

from __future__ import annotations

import pytest

from sslkit.core.ranks import PORTS, VARIABLES, Ranks, meeting, ranks
from sslkit.errors import SpecError

STEP = {
    "SLURM_JOB_ID": "77",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NODELIST": "gpu7",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
"""What a task of `srun -n 4` has."""
BATCH = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
"""What the script of a job with four tasks has."""
MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
TORCHRUN = {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks(0, 1, 0)),
        (TORCHRUN, Ranks(5, 8, 1)),
        (STEP, Ranks(3, 4, 1)),
        (MPI, Ranks(1, 2, 1)),
        (BATCH, Ranks(0, 1, 0)),
        ({**BATCH, "RANK": "3"}, Ranks(0, 1, 0)),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Ranks(0, 1, 0)),
        ({**STEP, **TORCHRUN}, Ranks(5, 8, 1)),
        ({**STEP, "WORLD_SIZE": "1"}, Ranks(0, 1, 0)),
        ({**STEP, **MPI}, Ranks(1, 2, 1)),
    ],
    ids=[
        "nothing", "torchrun", "srun", "mpirun", "batch script", "RANK of something else", "srun -n 1 --pty bash",
        "torchrun under srun", "kept alone", "mpirun in a job",
    ],
)  # fmt: skip
def test_the_place_of_a_process(environment, expected):
    assert ranks(environment) == expected


def test_torchrun_arranges_where_its_ranks_meet():
    assert meeting(TORCHRUN) is None


@pytest.mark.parametrize("environment", [STEP, {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}])
def test_ranks_of_one_machine_meet_on_it(environment):
    host, port = meeting(environment)
    assert host == "127.0.0.1"
    assert port in PORTS
    assert meeting({**environment, "SLURM_PROCID": "0", "OMPI_COMM_WORLD_RANK": "0"}) == (host, port)
    assert meeting({**environment, "MASTER_ADDR": "b", "MASTER_PORT": "5"}) == ("b", 5)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu9", "gpu7"),
        ("gpu[03-04,7],login1", "gpu03"),
        ("rack1-gpu[3,5]-ib,x", "rack1-gpu3-ib"),
    ],
)
def test_ranks_of_several_machines_meet_on_the_first(nodes, first):
    assert meeting({**STEP, "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": nodes})[0] == first


def test_jobs_and_steps_have_ports_of_their_own():
    jobs = [
        {**STEP, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)} for job in range(9) for step in (0, 1)
    ]
    assert len({meeting(job)[1] for job in jobs}) == len(jobs)


def test_ranks_of_several_machines_without_a_place_to_meet_are_told():
    with pytest.raises(SpecError, match="set MASTER_ADDR to the host of the first, and MASTER_PORT"):
        meeting({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"})


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"])
def test_what_is_no_number_is_named(name):
    with pytest.raises(SpecError, match=rf"^environment: {name} must be a whole number, found 'x'$"):
        ranks({**STEP, name: "x"})


def test_a_cell_of_a_sweep_sees_none_of_it():
    for environment in (STEP, MPI, TORCHRUN):
        alone = {name: value for name, value in environment.items() if not VARIABLES.fullmatch(name)}
        assert ranks(alone) == Ranks()
        assert alone.keys() <= {"SLURM_JOB_ID"}
