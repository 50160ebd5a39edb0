"""The list of drills."""

from __future__ import annotations

from tests.drills.disks import FullDisk
from tests.drills.drill import Drill
from tests.drills.endurance import Endurance
from tests.drills.flips import Flips
from tests.drills.inputs import Inputs
from tests.drills.kills import EveryCall, Kill
from tests.drills.mutated_specs import Specs
from tests.drills.owners import Owners
from tests.drills.permissions import Permissions
from tests.drills.stop_signals import Signals

DRILLS: tuple[type[Drill], ...] = (
    Kill, EveryCall, Signals, FullDisk, Permissions, Owners, Flips, Specs, Inputs, Endurance,
)  # fmt: skip
