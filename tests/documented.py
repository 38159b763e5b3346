"""The commands that README and docs show, taken from their text."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .stage import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(logstream [a-z][^`]*)`")
# what stands before a command that runs elsewhere
ELSEWHERE = re.compile(r"^(docker compose run --rm (-T )?(?=logstream )|kubectl .* -- |eval \"\$\(|\.venv/bin/)")
PLACES = {
    "T": "2026-11-24T00:00:00Z", "DSN": "postgresql://db/events", "postgresql://...": "postgresql://db/events",
}  # fmt: skip
"""What stands for the words that a reader replaces."""


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, in a block or in a sentence."""

    page: Path
    text: str
    in_block: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(PROJECT)}: {self.text}"

    @property
    def words(self) -> list[str]:
        """Its words, with something for those that a reader replaces; of `[--json]` and `bash|zsh` the first choice."""
        text = re.sub(r"[\[\]]|\)\"$", "", self.text)
        words = [PLACES.get(word, word) for word in shlex.split(text, comments=True)]
        ends = [place for place, word in enumerate(words) if word in ("<", ">", "|", "&&")]
        return [re.sub(r"^(\w+)(\|\w+)+$", r"\1", word) for word in words[: min(ends, default=len(words))]]


@cache
def commands() -> str:
    """A folder with the commands of others that the pages show, for where the machine has none."""
    done = subprocess.run(
        ["bash", str(PROJECT / "deploy/commands.sh")], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def blocks(page: Path, language: str = "") -> list[str]:
    """The blocks of a page in one language; those without one are for the shell."""
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def lines_of(block: str) -> Iterator[str]:
    """The commands of a block for the shell, each on one line."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        yield from (part.strip() for part in line.split(" && "))


def shown(program: str) -> list[Shown]:
    """Every command of a program that the pages show."""
    found: dict[str, Shown] = {}
    for page in PAGES:
        for block in blocks(page):
            for line in lines_of(block):
                text = ELSEWHERE.sub("", line)
                if text.startswith(f"{program} "):
                    found.setdefault(text, Shown(page, text, in_block=True))
        for text in INLINE.findall(BLOCK.sub("", page.read_text())):
            words = " ".join(text.split())
            if words.startswith(f"{program} "):
                found.setdefault(words, Shown(page, words, in_block=False))
    return list(found.values())
