"""Steps: what a check of something outside (a destination, the log store) says, one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check. `remedy` says what to do where it failed.

    A step with `advice` is fine as far as correctness goes; its remedy is worth having all the same.
    """

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""
    advice: bool = False

    @property
    def mark(self) -> str:
        """How a list of steps begins its line: `ok`, `note` or `FAIL`, four characters wide."""
        return "FAIL" if not self.ok else "note" if self.advice else "ok  "

    def __str__(self) -> str:
        text = f"{self.name}: {'yes' if self.ok and not self.advice else 'no'}"
        text += f" ({self.detail})" if self.detail else ""
        return f"{text}. {self.remedy}" if self.remedy and (self.advice or not self.ok) else text
