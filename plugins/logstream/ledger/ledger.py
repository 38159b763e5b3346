"""The ledger: what was planned, how far each lane has come, what was delivered or rejected. In the control database.

A lane's checkpoint and its counts are one row, written in one statement, so they cannot disagree. All writing of a lane
names the attempt that its lease was taken with (`leases`): an attempt that has lost its lease writes nothing.
"""

from __future__ import annotations

from logstream.ledger.lane_names import LaneNames
from logstream.ledger.leases import Leases
from logstream.ledger.losses import Losses
from logstream.ledger.manifests import Manifests
from logstream.ledger.outcomes import Outcomes
from logstream.ledger.parts import Parts
from logstream.ledger.plans import Plans
from logstream.ledger.pruning import Pruning
from logstream.ledger.rejections import Rejections
from logstream.ledger.standing import Standing
from logstream.ledger.windows import Windows
from logstream.ledger.write_offs import WriteOffs


class Ledger(
    Windows, Plans, Leases, LaneNames, Standing, Losses, WriteOffs, Rejections, Parts, Pruning, Outcomes, Manifests
):
    """All of the ledger, each part in a module of its own."""
