"""Completion of the command's words, by a real shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
eval "$(logstream completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_WORDS=($1) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_python_argcomplete logstream
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(line: str) -> set[str]:
    """What bash offers after a line."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", line], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return {word.strip() for word in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("logstream sta", {"status"}),
        ("logstream settings ap", {"apply"}),
        ("logstream export --fr", {"--from"}),
        ("logstream completion z", {"zsh"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(line: str, words: set[str]) -> None:
    assert completed(line) == words


def test_nothing_is_offered_where_no_command_begins_so() -> None:
    assert completed("logstream nonsense") == {""}
