"""What an object store said when it refused: its own code and words, read from the text of an obstore error.

obstore gives status and body of an answer as text only, and no headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from obstore import exceptions as refused

CLOCK = "the clock of this machine is wrong: set it by NTP"
WRONG_REGION = "PermanentRedirect"
"""S3's code for a bucket in another region. Its answer has no `Location`, of which obstore tells without the body."""

LONGEST_WORDS = 400

_STATUS = re.compile(r"(?:status|Status)[^0-9]{0,40}(\d{3})")
_PASSING_STATUS = frozenset({408, 409, 423, 425, 429})
"""Of the 4xx. 409 is two who write at once, or a container that is on its way out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success. `code` and `message` are the vendor's; empty where it sent none."""

    status: int | None
    code: str
    message: str
    text: str
    """All that obstore says of it."""
    denied: bool
    missing: bool
    """There is no such object, or nothing in which it could be."""

    @property
    def permanent(self) -> bool:
        """Whether a status means that the same request would be refused again. `None` is a connection that broke."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in _PASSING_STATUS

    def element(self, name: str) -> str:
        """The text of another element of the answer."""
        found = re.search(rf"<{name}>([^<]*)</{name}>", self.text)
        return found.group(1).strip() if found else ""

    def says(self, *words: str) -> bool:
        """Whether its message holds one of these."""
        return any(word.lower() in self.message.lower() for word in words)

    @property
    def words(self) -> str:
        """The vendor's code and message, in one line, without what it quotes at length: signatures are among that."""
        said = ": ".join(part for part in (self.code, self.message) if part)
        said = re.sub(r"'[^']{16,}'", "'...'", said)
        return re.sub(r"\s+", " ", said).strip()[:LONGEST_WORDS]


def refusal_of(error: Exception) -> Refusal:
    """Read an obstore error."""
    text = str(error).split("\n\nDebug source:")[0]
    status = status_of(error)
    code = _element(text, "Code") or _member(text, "reason") or _member(text, "status")
    message = _element(text, "Message") or _member(text, "message") or _member(text, "error_description")
    details = _element(text, "Details") or _element(text, "AuthenticationErrorDetail")
    if "redirect without LOCATION" in text:
        code, status = WRONG_REGION, 301
    denied = isinstance(error, refused.PermissionDeniedError | refused.UnauthenticatedError) or status in (401, 403)
    missing = isinstance(error, FileNotFoundError) or status == 404
    return Refusal(status, code, " ".join(part for part in (message, details) if part), text, denied, missing)


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)", text)
    return found.group(1).strip() if found else ""


def _member(text: str, name: str) -> str:
    found = re.search(rf'"{name}"\s*:\s*"([^"]*)"', text)
    return found.group(1).strip() if found else ""


def status_of(error: Exception) -> int | None:
    """The HTTP status in an obstore error's text, if it names one."""
    found = _STATUS.search(str(error))
    return int(found.group(1)) if found else None


def is_denied(error: Exception) -> bool:
    """Whether the credentials were refused."""
    return refusal_of(error).denied


def summary(error: Exception) -> str:
    """One line of an obstore error: its texts run over many, and repeat themselves.

    It is not cut: the frame masks secrets first.
    """
    found = refusal_of(error)
    text = re.sub(r"<\?xml.*|<Error>.*", found.words.replace("\\", r"\\"), found.text, flags=re.DOTALL)
    text = re.sub(r"https?://\S+", lambda match: match.group().split("?")[0], text)
    return re.sub(r"\s+", " ", text).strip()
