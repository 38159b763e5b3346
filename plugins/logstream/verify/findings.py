"""What a verification looked at, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field

from logstream.ledger.losses import Loss
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, in words."""

    window: Window
    destination: str
    what: str

    def __str__(self) -> str:
        return f"window {self.window}, {self.destination}: {self.what}"

    def as_json(self) -> dict[str, object]:
        """Plain data for `verify --json`."""
        return {"window": self.window.as_json(), "destination": self.destination, "what": self.what}


@dataclass(slots=True)
class Verification:
    """What was looked at, and what was found."""

    windows: int = 0
    deliveries: int = 0
    events: int = 0
    rejected: int = 0
    objects: int = 0
    superseded: int = 0
    """Objects that newer exports have replaced under other names, and that are still there."""
    unlisted: int = 0
    """Deliveries whose objects are not known any more: they were pruned, and no manifest is beside the data."""
    findings: list[Finding] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    """What the ledger knows to be lost, acknowledged or not."""
    not_due: list[Window] = field(default_factory=list)
    """Time in no window that is not to be exported by now: it is not over, or the schedule does not demand it yet."""
    nothing_due: bool = False
    """Whether that is all of the time that was asked for: then nothing was verified."""

    @property
    def verified(self) -> bool:
        """Whether something was looked at and is as it should be."""
        return not self.findings and not self.nothing_due
