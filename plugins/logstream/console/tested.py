"""Whether a destination was tested as a form describes it: a signed note that the test leaves in the form.

A note is only good for exactly the options that were tested, so changing a field afterwards makes it worthless.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum

from itsdangerous import BadSignature, URLSafeTimedSerializer

from logstream.settings.edits import Data

NOTE_SECONDS = 24 * 3600


class Tested(StrEnum):
    """What is known of a destination as it is in a form."""

    PASSED = "passed"
    FAILED = "failed"
    UNTESTED = "untested"


class TestNotes:
    """Writes and reads the notes, signed with the key of this deployment."""

    __test__ = False  # no test of pytest's

    def __init__(self, key: str) -> None:
        self._signer = URLSafeTimedSerializer(key, salt="logstream tested destination")

    def write(self, destination: Data, *, passed: bool) -> str:
        """A note that a destination passed its test, or failed it."""
        return self._signer.dumps([_digest(destination), passed])

    def read(self, note: str, destination: Data) -> Tested:
        """What a note says of a destination."""
        try:
            digest, passed = self._signer.loads(note, max_age=NOTE_SECONDS)
        except (BadSignature, ValueError, TypeError):
            return Tested.UNTESTED
        if digest != _digest(destination):
            return Tested.UNTESTED
        return Tested.PASSED if passed else Tested.FAILED


def _digest(destination: Data) -> str:
    return hashlib.sha256(json.dumps(destination, sort_keys=True, default=str).encode()).hexdigest()
