"""The errors a person meets. Every message names the place and, where there is one, the remedy.

The command line turns them into one line `error: ...` and an exit code: `InputError` is 2 (bad usage, settings or
input: nothing was done), `DeliveryError` is 1 (something was not delivered or verified).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar


class LogstreamError(Exception):
    """Base of all errors Logstream raises on purpose."""


class InputError(LogstreamError):
    """What the user gave cannot be used; nothing was changed."""


class SettingsError(InputError):
    """The settings do not hold together; `problems` are lines of `path: what is wrong`."""

    def __init__(self, problems: list[str], source: str = "settings") -> None:
        self.problems = problems
        super().__init__(f"{source}: " + "; ".join(problems))


class TemplateError(InputError):
    """A message template is not usable; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        self.reason, self.line, self.column = message, line, column
        super().__init__(f"line {line}, column {column}: {message}")


class NotThere(InputError, LookupError):
    """Something that was asked for by its name or number does not exist."""


class DatabaseError(InputError):
    """A database cannot be reached, or lacks what Logstream needs in it."""


class NotSetUp(DatabaseError):
    """A database answers, and lacks what Logstream needs in it: a table, a right, a column. Trying again cannot help."""


class DatabaseAway(DatabaseError):
    """A database cannot be reached, or does not answer in time: nothing that needs it can be done now."""


class ConnectionNotFound(InputError):
    """An Airflow connection that a destination names does not exist or lacks a field."""


class AirflowAway(InputError):
    """Airflow cannot say whether it has a connection or a Variable: the api-server, its database or a secrets backend fails.

    That is no missing one, for which something else would be taken: another database, no signature. Trying again may help.
    """


class BadEvent(LogstreamError):
    """One event cannot be delivered as it is; the others go on. The message is kept beside it in the ledger."""


class BadForSetting(BadEvent):
    """One event cannot be delivered by the setting of its workspace; by another setting it might be."""


class DeliveryError(LogstreamError):
    """Something was not delivered, or could not be proved delivered."""


class LaneBusy(DeliveryError):
    """Another run is delivering this lane right now."""


class ChangedMeanwhile(DeliveryError):
    """What this worked on has been changed meanwhile, by another run or by pruning: the next attempt goes by what is there."""


class LeaseLost(ChangedMeanwhile):
    """Another attempt has the lane, or it was planned anew: this attempt stops at once, and writes nothing more."""


class EventsPassedBy(ChangedMeanwhile):
    """A lane was read to its end, and the log store holds events of it that were not read: they came before its checkpoint."""


class WindowNotClosed(DeliveryError):
    """A writer of the log store may still add rows to the window."""


class WindowTaken(DeliveryError):
    """Another run has made a window of this time first."""


_E = TypeVar("_E", bound=BaseException)

_OURS = "_logstream_ours"
"""The attribute of an error that was raised where none of a destination's code runs."""


@contextmanager
def ours() -> Iterator[None]:
    """What is done in this context is ours alone: reading the log store, the ledger. None of a destination's code runs in it.

    What is raised there, of whatever type, is no fault of a destination's: a disk that is full looks the same in its code.
    """
    try:
        yield
    except Exception as error:
        excuse(error)
        raise


def excuse(error: _E) -> _E:
    """Mark an error as no fault of a destination's, whatever its type; see `ours`."""
    # not as attributes are set and got: a plug-in's or a driver's error may allow none, or answer to any name
    vars(error)[_OURS] = True
    return error


def is_blameless(error: BaseException) -> bool:
    """Whether what stopped a delivery is no fault of its destination: the log store, the ledger or Airflow was away, or lacks
    something, or something else of ours has come in between, or it was raised by what is `ours`. The one place that decides it
    for errors; `Delivery.is_blamed` goes by it."""
    return isinstance(error, DatabaseError | AirflowAway | ChangedMeanwhile) or _OURS in vars(error)


def is_permanent(error: BaseException) -> bool:
    """Whether a person must act before what an error has stopped can go on: trying again cannot help."""
    return isinstance(error, InputError) and not isinstance(error, DatabaseError | AirflowAway)
