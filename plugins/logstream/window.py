"""Windows: half-open intervals `[start, end)` of `recorded_at`, in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from logstream.errors import InputError


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open interval `[start, end)` of `recorded_at`. Both ends are plain datetimes, aware and in UTC.

    Airflow's own times are of pendulum, whose arithmetic loses the offset of times in `datetime.UTC`: they end here.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value: datetime = getattr(self, name)
            if value.tzinfo is None:
                raise InputError(f"window {name} {value.isoformat()} has no UTC offset")
            object.__setattr__(self, name, _plain(value.astimezone(UTC)))
        if self.end <= self.start:
            raise InputError(f"the window ends at {iso(self.end)}, not after its start {iso(self.start)}")

    def __str__(self) -> str:
        return f"{iso(self.start)} to {iso(self.end)}"

    def as_json(self) -> dict[str, str]:
        """Return `{"start": ..., "end": ...}` in ISO 8601."""
        return {"start": iso(self.start), "end": iso(self.end)}

    @property
    def slug(self) -> str:
        """A name for object keys: `20261124T000000Z_20261124T000500Z`, with microseconds only where there are any."""
        return f"{_compact(self.start)}_{_compact(self.end)}"


def parse_time(text: str, name: str = "time") -> datetime:
    """Read an ISO 8601 time with an offset (`Z` included); a time without one is refused, it would mean a guess."""
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{name}: {text!r} is not an ISO 8601 time; write it like 2026-11-24T00:00:00Z") from None
    if value.tzinfo is None:
        raise InputError(f"{name}: {text!r} has no UTC offset; add Z or one like +02:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InputError(f"{name}: {text!r} is out of range") from None


def _plain(value: datetime) -> datetime:
    if type(value) is datetime:
        return value
    return datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo
    )


def iso(value: datetime) -> str:
    """A moment as commands and files write it: ISO 8601 in UTC, with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def formatted(value: datetime, form: str) -> str:
    """`strftime`, with four digits of the year on every platform: some C libraries write the year 900 as `900`."""
    return value.strftime(form.replace("%Y", f"{value.year:04d}"))


def _compact(value: datetime) -> str:
    return formatted(value, "%Y%m%dT%H%M%S") + (f".{value.microsecond:06d}" if value.microsecond else "") + "Z"
